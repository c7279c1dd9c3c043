"""The admin site's page for second factors: to be looked at, and deleted for somebody who lost the app. No secret."""

from __future__ import annotations

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.admin_audit import AuditedAdmin, actor

apps.get_app_config("otp_totp").verbose_name = _("Second factors")
admin.site.unregister(TOTPDevice)  # django-otp's own page shows the key, and leaves no row in the audit log


@admin.register(TOTPDevice)
class SecondFactorAdmin(AuditedAdmin[TOTPDevice]):
    """Deleting it lets its user in by the password alone."""

    list_display = ("user", "confirmed", "created_at", "last_used_at")
    fields = list_display
    list_select_related = ("user",)
    search_fields = ("user__email", "user__name")
    secret_fields = ("key",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: TOTPDevice | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TOTPDevice | None = None) -> bool:
        """Only of people whom the administrator may manage: it weakens their sign-in."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or actor(request).may_manage(obj.user))
