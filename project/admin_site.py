"""The admin site and its app: its pages are loaded with the URLs, so by the web server alone."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


class Site(admin.AdminSite):
    """Django's, closed where it answers for more than our pages show."""

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """There is one way to change one's own password, and it asks for the present one."""
        return redirect("profile")

    password_change_done = password_change

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """For the fields that complete on a page of ours; Django names the rows behind any relation of any model."""
        asked = [request.GET.get(name, "") for name in ("app_label", "model_name", "field_name")]
        if asked not in self._completed(request):
            raise PermissionDenied
        return super().autocomplete_view(request)

    def _completed(self, request: HttpRequest) -> list[list[str]]:
        pages = self._registry.items()
        labels = [(model._meta, page.get_autocomplete_fields(request)) for model, page in pages]
        return [[opts.app_label, str(opts.model_name), name] for opts, names in labels for name in names]


class Admin(SimpleAdminConfig):
    """Django's own loads them in every process; with all they import that is half of what a command needs to start."""

    default_site = "project.admin_site.Site"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_pages, checks.Tags.admin)


def check_pages(**given: Any) -> list[checks.CheckMessage]:
    """As Django's, which comes after the pages are loaded."""
    admin.autodiscover()
    return check_admin_app(**given)
