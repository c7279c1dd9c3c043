"""The second factor: six digits from an app, by django-otp, or one of ten recovery codes when the app is lost.

Wrong codes of either kind slow the next try down, twice as long each time; none counts twice."""

from __future__ import annotations

import secrets
from base64 import b32encode

from django.contrib.auth.hashers import make_password
from django.db import transaction

from accounts import audit, keys
from accounts.authenticators import Authenticator, RecoveryCode
from accounts.models import User
from accounts.units import unit

NAME = "app"
APP, RECOVERY = "app", "recovery code"  # what opened
CODES = 10  # of recovery: the first digit tells them apart
CODE_DIGITS = 12  # the first says which one it is; eleven are random, 36 bits, and tries are slowed down
ALARM = 5  # wrong codes in a row that leave a row in the audit log


def is_on(user: User) -> bool:
    """Whether signing in takes a code."""
    return Authenticator.objects.filter(user=user, confirmed=True).exists()


@unit
def begin(user: User) -> Authenticator:
    """The device that waits for its first code; the same one until it is confirmed or given up."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        device = Authenticator.objects.filter(user=user, confirmed=False).first()
        if device is None or device.secret is None:
            Authenticator.objects.filter(user=user, confirmed=False).delete()
            sealed = keys.seal_for(str(user.pk), secrets.token_bytes(20))
            device = Authenticator.objects.create(user=user, confirmed=False, name=NAME, key=sealed)
    return device


def secret(device: Authenticator) -> str:
    """What one types into the app where there is no camera, in groups of four."""
    return _grouped(b32encode(device.bin_key).decode().rstrip("="))


@unit
def confirm(user: User, code: str) -> list[str]:
    """Turns the second factor on if the code is right, and makes its recovery codes; none: the code was wrong."""
    with transaction.atomic():
        device = Authenticator.objects.select_for_update().filter(user=user, confirmed=False).first()
        if device is None or not device.verify_token(_digits(code, 6)):
            return []
        Authenticator.objects.filter(user=user, confirmed=True).delete()
        device.confirmed = True
        device.save(update_fields=["confirmed"])
        return _fresh_codes(device)


@unit
def new_codes(user: User) -> list[str]:
    """Ten recovery codes, to be shown once; those from before are void. None without a second factor."""
    with transaction.atomic():
        device = Authenticator.objects.select_for_update().filter(user=user, confirmed=True).first()
        return _fresh_codes(device) if device else []


def codes_left(user: User) -> int:
    """How many recovery codes were not used yet."""
    return RecoveryCode.objects.filter(device__user=user, device__confirmed=True).count()


@unit
def matches(user: User, code: str, address: str = "") -> str:
    """What the code is, APP or RECOVERY, if it is right and was not used before; else "".

    Five wrong ones in a row and the use of a recovery code leave a row in the audit log.
    """
    with transaction.atomic():
        device = Authenticator.objects.select_for_update().filter(user=user, confirmed=True).first()
        if device is None:
            return ""
        failures = device.throttling_failure_count
        opened_by = _tried(device, code)
        if failures < ALARM <= device.throttling_failure_count:
            audit.record("wrong codes in a row", user, way="sign-in", address=address)
        if opened_by == RECOVERY:
            audit.record("use recovery code", user, by=user, way="sign-in", address=address)
    return opened_by


def _tried(device: Authenticator, code: str) -> str:
    if long := _digits(code, CODE_DIGITS):
        return RECOVERY if _use(device, long) else ""
    return APP if device.verify_token(_digits(code, 6)) else ""


def turn_off(user: User) -> None:
    """From now on the password alone signs in."""
    Authenticator.objects.filter(user=user).delete()


def _use(device: Authenticator, code: str) -> bool:
    """A code is deleted by its use."""
    if not device.verify_is_allowed()[0]:
        return False
    row = RecoveryCode.objects.filter(device_id=device.pk, slot=int(code[0])).first()
    if row is None or not row.matches(code):
        device.throttle_increment()
        return False
    row.delete()
    device.throttle_reset()
    return True


def _fresh_codes(device: Authenticator) -> list[str]:
    RecoveryCode.objects.filter(device_id=device.pk).delete()
    codes = [f"{slot}{secrets.randbelow(10 ** (CODE_DIGITS - 1)):0{CODE_DIGITS - 1}}" for slot in range(CODES)]
    RecoveryCode.objects.bulk_create(
        RecoveryCode(device_id=device.pk, slot=slot, digest=make_password(code)) for slot, code in enumerate(codes)
    )
    return [_grouped(code) for code in codes]


def _grouped(text: str) -> str:
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def _digits(code: str, length: int) -> str:
    """Apps show codes in two groups, and recovery codes are written in three."""
    found = code.replace(" ", "").replace("-", "")
    return found if len(found) == length and found.isascii() and found.isdigit() else ""
