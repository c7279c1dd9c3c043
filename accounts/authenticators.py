"""The rows of the second factor: the app's secret, which no copy of the database gives away, and the recovery codes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.auth.hashers import check_password
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import keys

if TYPE_CHECKING:
    Device = models.Model
else:
    Device = TOTPDevice


class Authenticator(Device):
    """django-otp's device, with its key sealed under our secret key and for its own user's row only."""

    if TYPE_CHECKING:  # of django-otp's, which has no types
        objects: models.Manager[Authenticator]
        key: str
        confirmed: bool
        created_at: datetime | None
        last_used_at: datetime | None
        user: Any
        user_id: Any
        config_url: str
        throttling_failure_count: int
        recovery_codes: models.Manager[RecoveryCode]

        def throttle_increment(self, commit: bool = True) -> None: ...
        def throttle_reset(self, commit: bool = True) -> None: ...
        def verify_is_allowed(self) -> tuple[bool, dict[str, Any] | None]: ...

    class Meta:
        proxy = True
        verbose_name = _("second factor")
        verbose_name_plural = _("second factors")

    @property
    def secret(self) -> bytes | None:
        """What the app holds; None when it was sealed under another secret key."""
        return keys.unseal_for(str(self.user_id), self.key)

    @property
    def bin_key(self) -> bytes:
        """As django-otp reads it."""
        found = self.secret
        if found is None:
            raise ValueError("This second factor was sealed under another SECRET_KEY; delete it and set up a new one.")
        return found

    def verify_token(self, token: str) -> bool:
        """Whether the code is right and was not used before. Wrong ones slow the next try down."""
        return self.secret is not None and bool(super().verify_token(token))  # type: ignore[misc]


class RecoveryCode(models.Model):
    """One of the codes that sign in once each when the app is lost. It goes with its authenticator."""

    device = models.ForeignKey(TOTPDevice, models.CASCADE, related_name="recovery_codes")
    slot = models.PositiveSmallIntegerField(help_text="The code's first digit: says which digest is to be compared.")
    digest = models.CharField(max_length=200, editable=False, help_text="A password's hash of the whole code.")

    class Meta:
        verbose_name = _("recovery code")
        verbose_name_plural = _("recovery codes")
        constraints = (models.UniqueConstraint(fields=("device", "slot"), name="one_code_a_slot"),)

    def __str__(self) -> str:
        return gettext("recovery code %(n)d") % {"n": self.slot}

    def matches(self, code: str) -> bool:
        return check_password(code, self.digest)
