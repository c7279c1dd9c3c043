"""What became of the asks of this process, counted: plain numbers on one event loop, without a lock.

Says nothing about anybody's text. Whoever shows the figures reads them from here."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from typing import ClassVar

SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
Told = Callable[[str, float, Mapping[str, str]], None]  # what has just ended, its seconds, and how


class Histogram:
    """How often a figure fell between two bounds; the last count is for what lies above all of them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tally:
    """The figures of one dispatcher, from its start on. `told` is called at each end, when somebody traces."""

    told: ClassVar[Told | None] = None

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()  # "answered", "abandoned", or what was raised
        self.replies: Counter[int] = Counter()  # statuses of `POST /api/ask`
        self.waits = Histogram()  # seconds in the queue, of asks that had to wait
        self.times = Histogram()  # seconds from an ask's arrival to its end

    def ended(self, outcome: str, waited: float, seconds: float) -> None:
        """An ask is over."""
        self.outcomes[outcome] += 1
        self.times.note(seconds)
        if waited:
            self.waits.note(waited)
        if Tally.told:
            Tally.told("ask", seconds, {"outcome": outcome})
