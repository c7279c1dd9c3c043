"""The second factor: six digits from an app, by django-otp, or one of ten recovery codes when the app is lost.

Wrong codes of either kind make a pause, twice as long each time up to some minutes; none counts twice. Whoever knows
the password can make the pause, so it holds neither the owner's known browsers up nor a recovery code."""

from __future__ import annotations

import secrets
import uuid
from base64 import b32encode
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from accounts import audit, keys, throttle
from accounts.addresses import network
from accounts.authenticators import Authenticator, RecoveryCode
from accounts.models import KnownAddress, User
from accounts.throttle import Place
from accounts.units import unit

NAME = "app"
APP, RECOVERY = "app", "recovery code"  # what opened
CODES = 10  # of recovery: the first digit tells them apart
CODE_DIGITS = 12  # the first says which one it is; eleven are random, 36 bits, and tries are slowed down
ALARM = 5  # wrong codes in a row that leave a row in the audit log
UNDER_WAY = timedelta(hours=1)  # that a secret waits for its first code; what was shown longer ago is not trusted


def is_on(user: User) -> bool:
    """Whether signing in takes a code."""
    return Authenticator.objects.filter(user=user, confirmed=True).exists()


@unit
def begin(user: User) -> Authenticator:
    """The device that waits for its first code; the same one until it is confirmed or given up."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        since = timezone.now() - UNDER_WAY
        device = Authenticator.objects.filter(user=user, confirmed=False, created_at__gt=since).first()
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
        # Without a pause: who sets it up was shown the secret, so there is nothing to guess.
        if device is None or not device.opens(_digits(code, 6)):
            return []
        Authenticator.objects.filter(user=user, confirmed=True).delete()
        device.confirmed = True
        device.throttle_reset(commit=False)
        device.save()
        return _fresh_codes(device)


@unit
def end_older(user: User, kept: Iterable[int] = ()) -> None:
    """What the password alone opened before ends: sessions, known browsers and networks, and tokens but those kept."""
    with transaction.atomic():
        user.session_salt = uuid.uuid4()
        user.save(update_fields=["session_salt"])
        KnownAddress.objects.filter(user=user).delete()
        user.tokens.live().exclude(pk__in=list(kept)).revoke()


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
def matches(user: User, code: str, address: str = "", known: str = "") -> str:
    """What the code is, APP or RECOVERY, if it is right and was not used before; else "".

    `known` is the id of a browser that this account was signed in from before. Five wrong ones in a row and the use of
    a recovery code leave a row in the audit log.
    """
    with transaction.atomic():
        device = Authenticator.objects.select_for_update().filter(user=user, confirmed=True).first()
        if device is None:
            return ""
        failures = device.throttling_failure_count
        opened_by, is_alarm = _tried(device, code, address, known)
        if is_alarm or failures < ALARM <= device.throttling_failure_count:
            audit.record("wrong codes in a row", user, way="sign-in", address=address)
        if opened_by == RECOVERY:
            audit.record("use recovery code", user, by=user, way="sign-in", address=address)
    return opened_by


def _tried(device: Authenticator, code: str, address: str, known: str) -> tuple[str, bool]:
    """What opened, and whether wrong codes have just locked a place of their own."""
    if long := _digits(code, CODE_DIGITS):
        many = settings.SIGN_IN["failures_per_address"]
        place = Place("", f"recovery codes of {device.user_id} from {network(address)}", many)
        return _apart(place, RECOVERY, _use(device, long)) if not throttle.is_locked(place) else ("", False)
    short = _digits(code, 6)
    place = Place("", f"codes of device {known}", ALARM)
    if known and not throttle.is_locked(place):
        return _apart(place, APP, device.opens(short))
    return (APP if device.verify_token(short) else ""), False


def _apart(place: Place, kind: str, is_right: bool) -> tuple[str, bool]:
    """Counts in a place that no pause reaches."""
    if is_right:
        throttle.forgive(place)
        return kind, False
    return "", bool(throttle.count([place]))


def turn_off(user: User) -> None:
    """From now on the password alone signs in."""
    Authenticator.objects.filter(user=user).delete()


def _use(device: Authenticator, code: str) -> bool:
    """A code is deleted by its use. It opens in the pause as well, having 36 bits; there it changes nothing else."""
    row = RecoveryCode.objects.filter(device_id=device.pk, slot=int(code[0])).first()
    is_right = row is not None and row.matches(code)
    if row is not None and is_right:
        row.delete()
    if not device.is_paused:
        device.throttle_reset() if is_right else device.throttle_increment()
    return is_right


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
