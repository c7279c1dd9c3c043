"""The admin site's app: its pages are loaded with the URLs, so by the web server alone."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class Admin(SimpleAdminConfig):
    """Django's own loads them in every process; with all they import that is half of what a command needs to start."""

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_pages, checks.Tags.admin)


def check_pages(**given: Any) -> list[checks.CheckMessage]:
    """As Django's, which comes after the pages are loaded."""
    admin.autodiscover()
    return check_admin_app(**given)
