"""Failures, counted by place: too many of them lock a place for a while.

The counts are in the database: memory would give each process its own, and a restart would forgive everything.
Each costs its guesser a password hash, and those that are over are swept, so the table stays small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts import keys
from accounts.models import SignInFailures

FORGOTTEN_AT_ONCE = 200  # rows of former failures


class Locked(Exception):
    """Too many failures. Even the right password does not open now."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many failed sign-ins; try again in {seconds} seconds.")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Place:
    """What failures are counted for. Its name is for people; stored is the digest of its key."""

    name: str
    key: str
    limit: int

    @property
    def digest(self) -> bytes:
        """What the table knows it by."""
        return keys.digest(self.key)


def refuse_locked(places: Sequence[Place]) -> None:
    """Raises Locked if one of them is."""
    found = {bytes(row.place): row for row in SignInFailures.objects.filter(place__in=[p.digest for p in places])}
    for failed in found.values():
        _not_ahead(failed)
    for place in places:
        row = found.get(place.digest)
        if row and row.failures >= place.limit and (left := _left(row)) > 0:
            raise Locked(left)


def is_locked(place: Place) -> bool:
    """Whether there were too many failures."""
    try:
        refuse_locked([place])
    except Locked:
        return True
    return False


def take_turns(places: Sequence[Place]) -> None:
    """Until the transaction ends nobody else counts here. SQLite has one writer anyway; a row to lock may not exist."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for number in sorted(int.from_bytes(place.digest[:8], signed=True) for place in places):
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def count(places: Sequence[Place]) -> list[Place]:
    """One more failure at each; returns those that are locked from now on."""
    now, locked = timezone.now(), []
    old = SignInFailures.objects.filter(since__lte=now - _memory()).values_list("pk", flat=True)
    SignInFailures.objects.filter(pk__in=list(old[:FORGOTTEN_AT_ONCE])).delete()
    for place in places:
        row, _ = SignInFailures.objects.select_for_update().get_or_create(place=place.digest, defaults={"since": now})
        row.failures += 1
        if row.failures == place.limit:
            row.since = now
            locked.append(place)
        row.save(update_fields=["failures", "since"])
    return locked


def forgive(place: Place) -> None:
    """What failed there before is forgotten."""
    SignInFailures.objects.filter(place=place.digest).delete()


def _not_ahead(row: SignInFailures) -> None:
    """A failure of the future was written before the clock was set back; it must not lock for so much longer."""
    now = timezone.now()
    if row.since > now:
        row.since = now
        SignInFailures.objects.filter(pk=row.pk, since__gt=now).update(since=now)


def _left(row: SignInFailures) -> int:
    """Seconds until the failures are forgotten."""
    left = row.since + _memory() - timezone.now()
    return int(left.total_seconds()) + 1 if left > timedelta(0) else 0


def _memory() -> timedelta:
    return timedelta(minutes=settings.SIGN_IN["minutes"])
