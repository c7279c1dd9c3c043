"""Wrong admin keys, counted by where they came from: after too many, no key of that place is compared for a while.

In memory, and in each process by itself: a guess at this key costs its guesser nothing, so a count must not cost us a
write. What is worth it is noted as failed sign-ins are, and a flood of it from many places makes few rows."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError

from accounts import signlog
from accounts.addresses import network

logger = logging.getLogger(__name__)

MOST_PLACES = 10_000
ASKS = 10  # so many times as many where programs show keys of their own, which may have ended


@dataclass(slots=True)
class _Count:
    failures: int
    until: float  # monotonic
    last: bytes = b""  # the digest of the last wrong key


class Guesses:
    """One door's."""

    def __init__(self, door: str, times: int = 1, *, only_locks: bool = False) -> None:
        """With `only_locks` a wrong key by itself is not noted: there it is mostly a mistyped key of another kind."""
        self._door, self._times, self._only_locks = door, times, only_locks
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._lock = threading.Lock()  # views run in threads

    def locked(self, address: str) -> int:
        """Seconds for which no key from there is compared; 0 when one is."""
        with self._lock:
            return self._seconds(self._counts.get(network(address)), time.monotonic())

    def wrong(self, address: str, key: bytes = b"") -> bool:
        """Counts a wrong key; True when that is one to write down.

        One that is given here and is the same as before is no further guess. Nor does anything count that is shown
        while its place is locked: nothing is compared, and the lock must end though a program goes on by itself.
        """
        place, now = network(address), time.monotonic()
        shown = hashlib.sha256(key).digest() if key else b""
        with self._lock:
            count = self._counts.get(place)
            if count is None or count.until <= now:
                self._counts.pop(place, None)
                count = self._counts[place] = _Count(0, 0.0)
            elif self._seconds(count, now) or (shown and shown == count.last):
                return False
            self._counts.move_to_end(place)
            count.failures, count.last = count.failures + 1, shown
            count.until = now + settings.SIGN_IN["minutes"] * 60
            if len(self._counts) > MOST_PLACES:
                self._counts.popitem(last=False)
            return count.failures == self._limit or (count.failures == 1 and not self._only_locks)

    def write_down(self, address: str) -> None:
        """A line in the log and a row in the audit log; to be called in a thread."""
        action = signlog.KEY_LOCKED if self.locked(address) else signlog.WRONG_KEY
        try:
            signlog.note(action, self._door, way="admin key", address=address)
        except DatabaseError as fault:
            logger.warning("%s by %s; the audit log did not take it: %s", action.capitalize(), address, fault)

    def _seconds(self, count: _Count | None, now: float) -> int:
        if count is None or count.failures < self._limit or count.until <= now:
            return 0
        return int(count.until - now) + 1

    @property
    def _limit(self) -> int:
        return int(settings.ADMIN_KEY_FAILURES) * self._times


admin_routes = Guesses(signlog.ADMIN_ROUTES)
asks = Guesses(signlog.ASKS, ASKS, only_locks=True)
