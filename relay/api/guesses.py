"""Wrong admin keys, counted by where they came from: after too many, no key of that place is compared for a while.

In memory, and in each process by itself: a guess at this key costs its guesser nothing, so a count must not cost us a
write. The first wrong key of a place and the one that locks it are logged and leave a row in the audit log."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError

from accounts import audit
from accounts.addresses import network

logger = logging.getLogger(__name__)

MOST_PLACES = 10_000
ASKS = 10  # so many times as many where programs show keys of their own, which may have ended


@dataclass(slots=True)
class _Count:
    failures: int
    until: float  # monotonic


class Guesses:
    """One door's."""

    def __init__(self, door: str, times: int = 1) -> None:
        self._door, self._times = door, times
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._lock = threading.Lock()  # views run in threads

    def locked(self, address: str) -> int:
        """Seconds for which no key from there is compared; 0 when one is."""
        with self._lock:
            count = self._counts.get(network(address))
            if count is None or count.failures < self._limit:
                return 0
            return max(0, int(count.until - time.monotonic()) + 1) if count.until > time.monotonic() else 0

    def wrong(self, address: str) -> bool:
        """Counts a wrong key; True when that is one to write down."""
        place, now = network(address), time.monotonic()
        with self._lock:
            count = self._counts.pop(place, None)
            if count is None or count.until <= now:
                count = _Count(0, 0.0)
            count.failures, count.until = count.failures + 1, now + settings.SIGN_IN["minutes"] * 60
            self._counts[place] = count
            if len(self._counts) > MOST_PLACES:
                self._counts.popitem(last=False)
        return count.failures in {1, self._limit}

    def write_down(self, address: str) -> None:
        """Logs it and leaves a row; to be called in a thread."""
        locked = self.locked(address)
        logger.warning("A wrong admin key was shown by %s%s.", address, f": locked for {locked} s" if locked else "")
        try:
            audit.record(
                "lock admin key" if locked else "wrong admin key", self._door, way="admin key", address=address
            )
        except DatabaseError as fault:
            logger.warning("The audit log did not take it: %s", fault)

    @property
    def _limit(self) -> int:
        return int(settings.ADMIN_KEY_FAILURES) * self._times


admin_routes = Guesses("admin routes")
asks = Guesses("asks and connections", ASKS)
