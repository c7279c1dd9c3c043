"""Sign-ins, failures, refusals, sign-outs, wrong admin keys: for each a line in the log and one in the audit log.

A flood makes few rows: what happens again within the hour is counted in its row, and beyond so many rows in one row for
all the rest. Rows end after some weeks (settings.SIGN_IN["log_days"])."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import F
from django.utils import timezone

from accounts.fields import canonical_email
from accounts.models import AuditEntry, User

logger = logging.getLogger(__name__)

SIGN_IN: Final = "sign in"
SIGN_OUT: Final = "sign out"
END_SESSION: Final = "end session"
FAILED: Final = "failed sign-in"
REFUSED: Final = "refused sign-in"
LOCKED: Final = "lock sign-in"
WRONG_CODE: Final = "wrong code"
WRONG_KEY: Final = "wrong admin key"
KEY_LOCKED: Final = "lock admin key"
ACTIONS: Final = (SIGN_IN, SIGN_OUT, END_SESSION, FAILED, REFUSED, LOCKED, WRONG_CODE, WRONG_KEY, KEY_LOCKED)
DONE: Final = (SIGN_IN, SIGN_OUT, END_SESSION)  # by the account's owner

TOGETHER = timedelta(hours=1)  # in which the same is counted in one row
NOTED_EVERY = timedelta(seconds=1)  # in which one write is enough of what costs its sender nothing
FREE: Final = (REFUSED, WRONG_KEY, KEY_LOCKED)  # no password was hashed for these
MOST_OF_ACCOUNT, MOST_UNKNOWN = 10, 100  # rows of one action in that time
UNKNOWN, NETWORK, MANY = "unknown:", "unknown: a network", "many"
ADMIN_ROUTES, ASKS = "admin routes", "asks and connections"  # where the admin key is shown
NO_ACCOUNTS: Final = (NETWORK, ADMIN_ROUTES, ASKS)
SWEPT = 500  # rows of one step


def note(action: str, who: User | str, *, way: str, address: str) -> None:
    """Writes both. `who` is the account, or the text that was typed where there is none; most of that is left out.

    One of NO_ACCOUNTS says where, when it is not about an account.
    """
    what = str(who)[:200] if isinstance(who, User) else who if who in NO_ACCOUNTS else shortened(who)
    address, now = safe(address)[:64], timezone.now()
    row = _row(action, what, way, address)
    if row is None:
        by = who if isinstance(who, User) and action in DONE else None
        name = what if by else way
        AuditEntry.objects.create(action=action, what=what, actor=by, actor_name=name, way=way, address=address)
    elif action in FREE and abs(now - (row.last_at or row.at)) < NOTED_EVERY:
        return
    else:
        AuditEntry.objects.filter(pk=row.pk).update(times=F("times") + 1, last_at=now)
    level = logging.INFO if action in DONE else logging.WARNING
    logger.log(level, "%s: %s, from %s, %s", action.capitalize(), safe(what), address or "here", way)


def _row(action: str, what: str, way: str, address: str) -> AuditEntry | None:
    """Where this one is counted; None: it gets a row of its own."""
    rows = AuditEntry.objects.filter(action=action, at__gt=timezone.now() - TOGETHER).order_by("-at")
    if same := rows.filter(what=what, way=way, address=address).first():
        return same
    if is_unknown := what.startswith(UNKNOWN):
        crowd, most = rows.filter(what__startswith=UNKNOWN), MOST_UNKNOWN
    else:
        crowd, most = rows.filter(what=what), MOST_OF_ACCOUNT
    if crowd[:most].count() < most:
        return None
    rest = f"{UNKNOWN} many" if is_unknown else what
    found = rows.filter(what=rest, way=MANY).first()
    return found or AuditEntry.objects.create(action=action, what=rest, actor_name=MANY, way=MANY, times=0)


def shortened(typed: str) -> str:
    """An unknown address so far that a typing error can be told: people type their password into the wrong field."""
    found = canonical_email(typed[:254]) or ""
    try:
        validate_email(found)
    except ValidationError:
        return f"{UNKNOWN} no address"
    local, _, domain = found.rpartition("@")
    return f"{UNKNOWN} {safe(local[:2])}…@{safe(domain)[:40]}"


def safe(text: str) -> str:
    """Neither line breaks nor characters that show as others."""
    return "".join(char if char.isascii() and char.isprintable() else ascii(char)[1:-1] for char in text)


def purge() -> int:
    """Some of the rows that are over; returns how many."""
    end = timezone.now() - timedelta(days=settings.SIGN_IN["log_days"])
    old = list(AuditEntry.objects.filter(at__lt=end, action__in=ACTIONS).values_list("pk", flat=True)[:SWEPT])
    return AuditEntry.objects.filter(pk__in=old).delete()[0] if old else 0
