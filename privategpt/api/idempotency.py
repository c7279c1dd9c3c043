"""`Idempotency-Key`: the same token, key, route and body make one thing, however often they are sent. Another token
of the same user may reach less, so its key is another one.

What is kept is not the reply but the id of what was made, in the transaction that makes it: so nothing is made
twice whenever the server dies, and a repeat while the answer is still under way joins the first in waiting for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

import msgspec
from django.db import IntegrityError
from django.http import HttpRequest
from django.utils import timezone

from accounts.units import unit
from privategpt.api.credentials import Caller
from privategpt.api.envelope import Refusal, invalid
from privategpt.models import StoredReply
from privategpt.writing import transaction_in_turn

KEPT = timedelta(hours=24)
LONGEST_KEY = 255
FORGOTTEN_AT_ONCE = 100
Made = dict[str, str]


@unit
def once(caller: Caller, request: HttpRequest, raw: bytes, make: Callable[[], Made]) -> Made:
    """What `make` returns, or returned when this request came first. Without a key it is made each time.

    Raises Refusal when the key was used with another request, and whatever `make` raises; then nothing is kept.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        with transaction_in_turn():
            return make()
    return kept(caller, request, raw) or _make(caller, _place(caller, key), _wanted(request, raw), make)


def kept(caller: Caller, request: HttpRequest, raw: bytes) -> Made | None:
    """What was made when this request came first, for who has work to do before the transaction of `once`.

    Raises Refusal.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise Refusal(400, f"An Idempotency-Key has 1 to {LONGEST_KEY} characters.")
    old = StoredReply.objects.filter(owner=caller.user, created_at__lte=timezone.now() - KEPT)
    StoredReply.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])).delete()
    return _kept(caller, _place(caller, key), _wanted(request, raw))


def _make(caller: Caller, place: bytes, wanted: bytes, make: Callable[[], Made]) -> Made:
    try:
        with transaction_in_turn():
            row = StoredReply.objects.create(owner=caller.user, key=place, request_digest=wanted)
            made = make()
            row.status, row.body = 200, msgspec.json.encode(made)
            row.save(update_fields=["status", "body"])
            return made
    except IntegrityError:
        # The other one was quicker by a moment; if it was not that, the failure is somebody else's to name.
        if found := _kept(caller, place, wanted):
            return found
        raise


def _kept(caller: Caller, place: bytes, wanted: bytes) -> Made | None:
    row = StoredReply.objects.filter(owner=caller.user, key=place).first()
    if row is None:
        return None
    if bytes(row.request_digest) != wanted:
        raise invalid({"Idempotency-Key": ["This key was used with another request."]})
    return msgspec.json.decode(bytes(row.body), type=Made)


def forget(caller: Caller, request: HttpRequest) -> None:
    """What failed for want of a model may be tried again under its key."""
    if key := request.headers.get("Idempotency-Key"):
        StoredReply.objects.filter(owner=caller.user, key=_place(caller, key)).delete()


def _place(caller: Caller, key: str) -> bytes:
    return _digest(f"{caller.token.pk}\n{key}".encode())


def _wanted(request: HttpRequest, raw: bytes) -> bytes:
    return _digest(f"{request.method} {request.path}\n".encode() + raw)


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()
