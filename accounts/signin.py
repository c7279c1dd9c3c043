"""Signing in with e-mail and password, for every door. Failures are counted; too many lock the door for a while.

The counts are in the database: memory would give each process its own, and a restart would forgive everything.
Each costs its guesser a password hash, and those that are over are swept, so the table stays small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from django.utils import timezone

from accounts import audit, keys
from accounts.addresses import network
from accounts.fields import canonical_email
from accounts.models import SignInFailures, User
from accounts.units import unit

FORGOTTEN_AT_ONCE = 200  # rows of former failures
LONGEST_PASSWORD = 1024  # characters; hashing must not cost what a stranger wishes


class WrongCredentials(Exception):
    """Unknown address, wrong password or retired user: nobody learns which."""


class Locked(Exception):
    """Too many failures. Even the right password does not open now."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many failed sign-ins; try again in {seconds} seconds.")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class _Place:
    """What failures are counted for."""

    name: str
    digest: bytes
    limit: int


@unit
def sign_in(email: str, password: str, address: str) -> User:
    """The user whom e-mail and password open. Raises WrongCredentials, Locked."""
    places = _places(email, address)
    _refuse_locked(places)
    user = _opened(email, password)
    with transaction.atomic():
        # Again: of guesses made at once, those that end after the limit must learn nothing.
        _take_turns(places)
        _refuse_locked(places)
        if user is None:
            _count(places, address)
        else:
            SignInFailures.objects.filter(place=places[0].digest).delete()
    if user is None:
        raise WrongCredentials
    return user


def _places(email: str, address: str) -> list[_Place]:
    account, host = canonical_email(email) or "", network(address)
    return [
        _Place(account, keys.digest(f"sign-in account {account}"), settings.SIGN_IN["failures"]),
        _Place(host, keys.digest(f"sign-in address {host}"), settings.SIGN_IN["failures_per_address"]),
    ]


def _opened(email: str, password: str) -> User | None:
    user = User.objects.filter(email=email).first() if canonical_email(email) else None
    if user is None or len(password) > LONGEST_PASSWORD:
        make_password(password[:LONGEST_PASSWORD])  # as long as for a user that there is
        return None
    return user if user.check_password(password) and user.is_active else None


def _refuse_locked(places: Sequence[_Place]) -> None:
    found = {bytes(row.place): row for row in SignInFailures.objects.filter(place__in=[p.digest for p in places])}
    for failed in found.values():
        _not_ahead(failed)
    for place in places:
        row = found.get(place.digest)
        if row and row.failures >= place.limit and (left := _left(row)) > 0:
            raise Locked(left)


def _not_ahead(row: SignInFailures) -> None:
    """A failure of the future was written before the clock was set back; it must not lock for so much longer."""
    now = timezone.now()
    if row.since > now:
        row.since = now
        SignInFailures.objects.filter(pk=row.pk, since__gt=now).update(since=now)


def _take_turns(places: Sequence[_Place]) -> None:
    """Until the transaction ends nobody else counts here. SQLite has one writer anyway; a row to lock may not exist."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for number in sorted(int.from_bytes(place.digest[:8], signed=True) for place in places):
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def _left(row: SignInFailures) -> int:
    """Seconds until the failures are forgotten."""
    left = row.since + _memory() - timezone.now()
    return int(left.total_seconds()) + 1 if left > timedelta(0) else 0


def _memory() -> timedelta:
    return timedelta(minutes=settings.SIGN_IN["minutes"])


def _count(places: Sequence[_Place], address: str) -> None:
    now = timezone.now()
    old = SignInFailures.objects.filter(since__lte=now - _memory()).values_list("pk", flat=True)
    SignInFailures.objects.filter(pk__in=list(old[:FORGOTTEN_AT_ONCE])).delete()
    for place in places:
        row, _ = SignInFailures.objects.select_for_update().get_or_create(place=place.digest, defaults={"since": now})
        row.failures += 1
        if row.failures == place.limit:
            row.since = now
            audit.record("lock sign-in", place.name, way="sign-in", address=address)
        row.save(update_fields=["failures", "since"])
