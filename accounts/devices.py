"""Browsers and networks that an account was signed in from before: strangers' failures do not lock them out.

A browser is known by a signed cookie, a program, which keeps none, by its network address. Both are bound to the
account and end with its password, as its sessions do."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts import keys
from accounts.addresses import network
from accounts.models import KnownAddress, User

COOKIE: Final = "device"
KEPT = timedelta(days=180)
MOST_ACCOUNTS = 5  # of one browser
MOST_ADDRESSES = 50  # of one account
NOTED_EVERY = timedelta(days=1)
_signer = signing.Signer(salt="accounts.devices")


def known_device(cookie: str, user: User) -> str:
    """The id of the browser that shows this cookie if the account was signed in there; else ""."""
    for name, device, mark, at in _entries(cookie):
        if name == user.pk.hex and constant_time_compare(mark, _mark(user, device)):
            return device if abs(time.time() - at) < KEPT.total_seconds() else ""
    return ""


def remember_device(request: HttpRequest, response: HttpResponseBase, user: User) -> None:
    """From now on this browser is known to this account; to be called when somebody is signed in whole."""
    old = request.COOKIES.get(COOKIE, "")
    device = known_device(old, user) or secrets.token_urlsafe(12)
    entries = [[user.pk.hex, device, _mark(user, device), int(time.time())]]
    entries += [entry for entry in _entries(old) if entry[0] != user.pk.hex]
    response.set_cookie(
        COOKIE,
        _signer.sign_object(entries[:MOST_ACCOUNTS]),
        max_age=KEPT,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def is_known_address(address: str, user: User | None) -> bool:
    """Whether the account was signed in from this network; for no account it takes as long."""
    return bool(address) and KnownAddress.objects.filter(digest=_place(address, user)).exists()


def remember_address(address: str, user: User) -> None:
    """The account was signed in from there just now; the addresses longest unused are forgotten."""
    if not address:
        return
    now = timezone.now()
    row, is_new = KnownAddress.objects.get_or_create(
        digest=_place(address, user), defaults={"user": user, "used_at": now}
    )
    if is_new:
        own = KnownAddress.objects.filter(user=user)
        kept = own.order_by("-used_at").values_list("pk", flat=True)[:MOST_ADDRESSES]
        own.exclude(pk__in=list(kept)).delete()
        own.filter(used_at__lt=now - KEPT).delete()
    elif now - row.used_at > NOTED_EVERY:
        KnownAddress.objects.filter(pk=row.pk).update(used_at=now)


def _entries(cookie: str) -> list[Any]:
    try:
        found: list[Any] = _signer.unsign_object(cookie) if cookie else []
    except (signing.BadSignature, ValueError):
        return []
    return found


def _mark(user: User, device: str) -> str:
    return keys.digest(f"device {device} {user.pk} {user.get_session_auth_hash()}").hex()[:32]


def _place(address: str, user: User | None) -> bytes:
    owner = f"{user.pk} {user.get_session_auth_hash()}" if user else ""
    return keys.digest(f"address {network(address)} {owner}")
