"""Where text waits until it is known that its asker may still read what it rests on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from channels.db import database_sync_to_async
from django.db import DatabaseError

# Seconds from one look at the rights to the next, for each answer under way, and at most: a single answer is shown as
# if nobody looked, and all of them together do not keep the database busy.
PAUSE, LONGEST_PAUSE = 0.02, 0.2
SLICE = 8_000  # characters that are written in one go
AWAY = 0.5  # seconds until a database that is away is asked again


class ForbiddenError(Exception):
    """The asker's rights ended under the answer."""


async def slices(text: str) -> AsyncIterator[str]:
    """Others have their turn in between: a piece may be megabytes long."""
    for at in range(0, len(text), SLICE):
        if at:
            await asyncio.sleep(0)
        yield text[at : at + SLICE]


class Gate:
    """Bound to the running event loop. Text passes in the order in which it came, after a look that began later."""

    def __init__(self, is_allowed: Callable[[], bool], count: Callable[[], int], write: Callable[[str], None]) -> None:
        """`is_allowed` is called in a thread; `count` says how many answers share the time."""
        self._is_allowed, self._count, self._write = is_allowed, count, write
        self._held: list[str] = []
        self._looked_at = float("-inf")  # monotonic
        self._work: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Raises ForbiddenError. A database that is away is waited for: nothing goes on unseen, and nothing is lost."""
        while True:
            with contextlib.suppress(DatabaseError):
                is_allowed = await database_sync_to_async(self._is_allowed, thread_sensitive=False)()
                break
            await asyncio.sleep(AWAY)
        if not is_allowed:
            raise ForbiddenError
        self._looked_at = time.monotonic()

    def feed(self, text: str) -> None:
        """Raises what went wrong with text before."""
        if self._work and self._work.done():
            self._work.result()
        self._held.append(text)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._pass())

    async def settle(self) -> None:
        """Returns when all has passed. Raises ForbiddenError, and whatever `write` raises."""
        if self._work:
            await self._work

    def close(self) -> None:
        """What has not passed never does."""
        if self._work and not self._work.cancel() and not self._work.cancelled():
            self._work.exception()  # it is told elsewhere, or comes too late

    async def _pass(self) -> None:
        while self._held:
            pause = min(LONGEST_PAUSE, PAUSE * self._count())
            await asyncio.sleep(max(0.0, self._looked_at + pause - time.monotonic()))
            held, self._held = self._held, []
            await self.look()
            async for part in slices("".join(held)):
                self._write(part)
