"""The admin site's page for second factors: to be looked at, and deleted for somebody who lost the app. No secret."""

from __future__ import annotations

from datetime import datetime

from django.apps import apps
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp import admin as _of_django_otp  # noqa: F401 - registers the page taken away below
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import people
from accounts.admin_audit import AuditedAdmin, acting, allowed
from accounts.authenticators import Authenticator

# django-otp speaks English only. Said here, after its models were read, so it asks for no migration of theirs.
apps.get_app_config("otp_totp").verbose_name = _("Second factors")
TOTPDevice._meta.verbose_name, TOTPDevice._meta.verbose_name_plural = _("TOTP device"), _("TOTP devices")
admin.site.unregister(TOTPDevice)  # django-otp's own page shows the key, and leaves no row in the audit log


@admin.register(Authenticator)
class SecondFactorAdmin(AuditedAdmin[Authenticator]):
    """Deleting it lets its user in by the password alone; its recovery codes go along."""

    list_display = ("shown_user", "is_confirmed", "codes_left", "shown_created", "shown_used")  # named by us
    fields = list_display
    list_select_related = ("user",)
    search_fields = ("user__email", "user__name")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Authenticator]:
        return super().get_queryset(request).annotate(counted=Count("recovery_codes"))

    @admin.display(description=_("user"), ordering="user")
    def shown_user(self, device: Authenticator) -> str:
        return str(device.user)

    @admin.display(description=_("confirmed"), boolean=True, ordering="confirmed")
    def is_confirmed(self, device: Authenticator) -> bool:
        return device.confirmed

    @admin.display(description=_("created at"), ordering="created_at")
    def shown_created(self, device: Authenticator) -> datetime | None:
        return device.created_at

    @admin.display(description=_("last used at"), ordering="last_used_at")
    def shown_used(self, device: Authenticator) -> datetime | None:
        return device.last_used_at

    @admin.display(description=_("recovery codes left"), ordering="counted")
    def codes_left(self, device: Authenticator) -> int:
        return device.counted  # type: ignore[attr-defined, no-any-return]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Authenticator | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Authenticator | None = None) -> bool:
        """Of people whom the administrator may manage; for one's own there is the account's page and the password."""
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or allowed(people.allow_turning_off, acting(request), obj.user)
