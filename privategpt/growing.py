"""An answer as one process knows it while it grows: text, sources, outcome, and who is to be woken.

Followers read from the one text by offset, so none of them has a buffer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privategpt.llm.base import InLine

COALESCE = 0.03  # seconds between two wake-ups: thirty a second look like a stream to anybody


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended: a `Message.State`, and the reason when it failed."""

    state: str
    error: str = ""


class Growing:
    """Bound to the running event loop; written by one, read by many."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: list[str] = []
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._woken_at = float("-inf")
        self.length = 0
        self.sources: Sequence[dict[str, Any]] | None = None  # None: not searched yet
        self.place: InLine | None = None  # None: it never had to wait for somebody who answers
        self.outcome: Outcome | None = None
        self.is_left = False  # nobody here tells its followers of it any more; it may go on elsewhere

    @property
    def text(self) -> str:
        """All that was written so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def append(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self.length += len(piece)
            self._wake_soon()

    def show_sources(self, sources: Sequence[dict[str, Any]]) -> None:
        """Wakes at once, and does not keep the first words waiting for it."""
        self.sources = sources
        before = self._woken_at
        self._wake()
        self._woken_at = before

    def stand(self, place: InLine) -> None:
        self.place = place
        self._wake()

    def end(self, outcome: Outcome) -> None:
        """A second end changes nothing."""
        if self.outcome is None:
            self.outcome = outcome
            self._wake()

    def leave(self) -> None:
        """Sends its followers away, who may ask another process."""
        self.is_left = True
        self._wake()

    def next_change(self) -> asyncio.Event:
        """Set at the next change. To be taken before reading, so that no change falls in between."""
        return self._changed

    def _wake_soon(self) -> None:
        """At once when it was quiet, else with all that comes until the next wake-up is due."""
        if self._timer is None:
            due = self._woken_at + COALESCE
            self._timer = self._loop.call_at(due, self._wake) if due > self._loop.time() else None
            if self._timer is None:
                self._wake()

    def _wake(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._woken_at = self._loop.time()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
