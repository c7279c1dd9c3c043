"""The pace at which a growing answer is drawn: as fast as it can be read, and never faster than it can be rendered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from privategpt.follow import Event

PAUSE = 0.1  # seconds between two drawings of one answer
SHARE = 5  # times as long as a drawing took, or waited for its turn, nothing is drawn again
PATIENCE = 2.0  # seconds after which a large block is drawn again, however little was added
LARGE = 8_000  # characters of an open block; a larger one is drawn again when it has grown by a sixteenth
GROWTH = 16

# One at a time: what is drawn holds the interpreter's lock, and whoever waits here waits longer before the next one.
DRAWING = ThreadPoolExecutor(1, thread_name_prefix="drawing")


class Pace:
    """Of one reader."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells seconds; the event loop's own."""
        self._clock = clock
        self._drawn_at = self._due = float("-inf")
        self._open = 0

    def told(self) -> None:
        """Something is given to be drawn."""
        self._due = self._clock() + PAUSE

    def drew(self, began: float, open_size: int) -> None:
        """A drawing that began then left so many characters open."""
        now = self._clock()
        self._drawn_at, self._open = now, open_size
        self._due = max(began + PAUSE, now + SHARE * (now - began))

    def wait(self, characters: int) -> float:
        """Seconds until so many new ones are due; 0 when they are."""
        is_enough = self._open < LARGE or characters >= self._open // GROWTH
        due = self._due if is_enough else max(self._due, self._drawn_at + PATIENCE)
        return max(0.0, due - self._clock())


async def paced(told: AsyncIterator[Event], pace: Pace) -> AsyncIterator[Event]:
    """The same events; text that comes before its time is told together with what follows it."""
    held: Event | None = None
    coming = asyncio.ensure_future(anext(told))
    try:
        while True:
            await asyncio.wait({coming}, timeout=pace.wait(len(held.data)) if held else None)
            if coming.done():
                event = coming.result()
                coming = asyncio.ensure_future(anext(told))
                if event.kind != "delta":
                    if held:
                        yield held
                    held = None
                    yield event
                    continue
                held = replace(event, data=held.data + event.data) if held else event
            if held and not pace.wait(len(held.data)):
                pace.told()
                due, held = held, None
                yield due
    except StopAsyncIteration:
        if held:
            yield held
    finally:
        coming.cancel()
        with contextlib.suppress(BaseException):
            await coming
        await told.aclose()  # type: ignore[attr-defined]
