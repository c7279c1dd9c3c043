"""The second factor: six digits from an app, by django-otp. Wrong codes slow the next try down, none counts twice."""

from __future__ import annotations

from base64 import b32encode
from typing import Any

from django.db import transaction
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.models import User

NAME = "app"


def is_on(user: User) -> bool:
    """Whether signing in takes a code."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def begin(user: User) -> Any:
    """The device that waits for its first code; the same one until it is confirmed or given up."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        device, _ = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": NAME})
    return device


def secret(device: Any) -> str:
    """What one types into the app where there is no camera, in groups of four."""
    text = b32encode(device.bin_key).decode().rstrip("=")
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def confirm(user: User, code: str) -> bool:
    """Turns the second factor on if the code is right."""
    with transaction.atomic():
        device = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=False).first()
        if device is None or not device.verify_token(_digits(code)):
            return False
        TOTPDevice.objects.filter(user=user, confirmed=True).delete()
        device.confirmed = True
        device.save(update_fields=["confirmed"])
    return True


def matches(user: User, code: str) -> bool:
    """Whether the code is right and was not used before."""
    with transaction.atomic():
        device = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=True).first()
        return device is not None and bool(device.verify_token(_digits(code)))


def turn_off(user: User) -> None:
    """From now on the password alone signs in."""
    TOTPDevice.objects.filter(user=user).delete()


def _digits(code: str) -> str:
    """Apps show codes in two groups."""
    found = code.replace(" ", "")
    return found if len(found) == 6 and found.isascii() and found.isdigit() else ""
