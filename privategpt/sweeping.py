"""The rows of what was deleted: they carry a mark that takes them out of sight, and go here, in small steps.

The worker does it every few seconds. Whoever deletes does a first bit, so that little things go at once, and so that
they also go where no worker runs. Ended in the middle, the next one goes on: the marks are in the rows."""

from __future__ import annotations

import logging
import time

from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from accounts import steps
from accounts.models import Group, User
from accounts.units import unit
from privategpt.models import Chat, Source

logger = logging.getLogger(__name__)

BRIEF = 0.15  # seconds that whoever deletes gives to it
TIES = Source.groups.through


def soon() -> None:
    """A first bit of the work, when the transaction at hand has ended."""
    transaction.on_commit(_a_bit)


def _a_bit() -> None:
    if connection.in_atomic_block:
        return
    try:
        sweep(BRIEF)
    except DatabaseError as fault:  # the deletion itself has succeeded: nobody can see any more what is left of it
        logger.warning("What was deleted is not gone yet: %s", fault)


def sweep(seconds: float) -> bool:
    """Ends what carries a mark, for so long at most. True when nothing is left."""
    until, pace = time.monotonic() + seconds, steps.Pace()
    while _ties(pace):
        if time.monotonic() >= until:
            return False
    ended = Group.everything.exclude(deleted_at=None)
    retired = User.everything.exclude(deleted_at=None)
    marked: list[QuerySet[Source] | QuerySet[Chat] | QuerySet[Group] | QuerySet[User]]
    marked = [Source.objects.doomed(), Chat.objects.doomed(), ended, retired]
    return all(steps.end(rows, until=until, pace=pace) for rows in marked)


@unit
def _ties(pace: steps.Pace) -> int:
    """Takes sources off groups that were deleted; those that nobody else could read are marked. Returns how many."""
    with pace.step() as most:
        ended = TIES.objects.filter(group__deleted_at__isnull=False)
        some = list(ended.order_by("source").values_list("source", flat=True)[: max(1, most // steps.HEAVY)])
        # Locked, one after the other in one order: whoever is moving one of them ends before this looks at it.
        list(Source.objects.select_for_update().filter(pk__in=some).order_by("pk").values_list("pk"))
        held = TIES.objects.filter(source__in=some, group__deleted_at=None).values("source")
        orphans = Source.objects.filter(pk__in=some, is_public=False, deleted_at=None).exclude(pk__in=held)
        orphans.end()
        ended.filter(source__in=some).delete()
    return len(some)
