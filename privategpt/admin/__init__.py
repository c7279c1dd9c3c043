"""The admin site's pages for sources, chats and scenarios. Messages have none: a chat's text is a page of its own."""

from django.contrib import admin

from privategpt.admin import chats, scenarios, sources

__all__ = ["chats", "scenarios", "sources"]

admin.site.enable_nav_sidebar = False  # the tabs lead everywhere
