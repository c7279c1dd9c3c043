"""The rows of the second factor: the app's secret, which no copy of the database gives away, and the recovery codes."""

from __future__ import annotations

import hmac
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth.hashers import check_password
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_otp.oath import hotp
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import keys

LONGEST_PAUSE = timedelta(minutes=10)  # or whoever knows the password keeps the owner out for days

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
        throttling_failure_timestamp: datetime | None
        step: int
        t0: int
        digits: int
        last_t: int
        recovery_codes: models.Manager[RecoveryCode]

        def throttle_increment(self, commit: bool = True) -> None: ...
        def throttle_reset(self, commit: bool = True) -> None: ...
        def set_last_used_timestamp(self, commit: bool = True) -> None: ...

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

    @property
    def is_paused(self) -> bool:
        """Whether the pause after the last wrong code goes on: it doubles with each one, up to the longest."""
        if not self.throttling_failure_count or self.throttling_failure_timestamp is None:
            return False
        pause = min(timedelta(seconds=2 ** min(self.throttling_failure_count - 1, 30)), LONGEST_PAUSE)
        return timedelta(0) <= timezone.now() - self.throttling_failure_timestamp < pause

    def opens(self, code: str) -> bool:
        """Whether the app shows this code, or showed it just before. It counts once: the caller has locked the row.

        By our own clock alone: django-otp's drift would let codes of the future in, and follow a guesser's.
        """
        secret, now = self.secret, (int(time.time()) - self.t0) // self.step
        if secret is None or not code:
            return False
        for step in (now, now - 1):
            shown = f"{hotp(secret, step, self.digits):0{self.digits}d}"
            if step > self.last_t and hmac.compare_digest(shown, code):
                self.last_t = step
                self.set_last_used_timestamp(commit=False)
                self.save(update_fields=["last_t", "last_used_at"])
                return True
        return False

    def verify_token(self, token: str) -> bool:
        """Whether the code is right and was not used before, and no pause goes on. Wrong ones make the pause longer."""
        if self.secret is None or self.is_paused:
            return False
        if self.opens(token):
            self.throttle_reset()
            return True
        self.throttle_increment()
        return False


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
