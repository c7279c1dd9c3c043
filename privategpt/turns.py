"""Whose source is embedded next: a batch for each owner in turn, and of one owner's the shortest first.

So neither somebody's huge source nor the manual holds up a sentence of somebody else's; and every second turn of an
owner goes to the one that has waited longest, so that no short ones hold up a long one for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID

from django.db.models import F, QuerySet

from privategpt.models import Source

FRESH = 1.0  # seconds that the list of owners is believed: nobody waits longer for it to be read


class Turns:
    """One worker's memory of whose turn it was."""

    def __init__(self) -> None:
        self._turns = 0
        self._last: dict[UUID | None, int] = {}  # of those who wait: the number of their last turn
        self._counts: dict[UUID | None, int] = {}
        self._owners: set[UUID | None] = set()
        self._looked_at = float("-inf")

    def pick(self, waiting: QuerySet[Source], locked: QuerySet[Source]) -> Source | None:
        """The next of these; None when there are none. `locked`: the same, each row locked as it is read."""
        if time.monotonic() - self._looked_at > FRESH:
            self._look(waiting)
            return self._pick(locked)
        found = self._pick(locked)
        if found is None:
            self._look(waiting)
            found = self._pick(locked)
        return found

    def _pick(self, waiting: QuerySet[Source]) -> Source | None:
        for owner in self._in_turn():
            rows = waiting.filter(creator__isnull=True) if owner is None else waiting.filter(creator=owner)
            is_longest_waiting = self._counts.get(owner, 0) % 2 == 1
            left = F("passages_total") - F("passages_done")
            source = rows.order_by(*(() if is_longest_waiting else (left,)), "updated_at").first()
            if source:
                self._turns += 1
                self._last[owner], self._counts[owner] = self._turns, self._counts.get(owner, 0) + 1
                return source
        return None

    def _look(self, waiting: QuerySet[Source]) -> None:
        self._looked_at = time.monotonic()
        self._owners = set(waiting.order_by().values_list("creator", flat=True).distinct())
        self._last = {owner: turn for owner, turn in self._last.items() if owner in self._owners}
        self._counts = {owner: count for owner, count in self._counts.items() if owner in self._owners}

    def _in_turn(self) -> Iterator[UUID | None]:
        """Who has waited longest for a turn first; of those who had none, anybody."""
        yield from sorted(self._owners, key=lambda owner: self._last.get(owner, 0))
