"""The admin site's pages for sources, chats, scenarios, and groups as far as sources hang on them.

Messages have none: a chat's text is a page of its own."""

from django.contrib import admin

from privategpt.admin import chats, groups, scenarios, sources

__all__ = ["chats", "groups", "scenarios", "sources"]

admin.site.enable_nav_sidebar = False  # the tabs lead everywhere
