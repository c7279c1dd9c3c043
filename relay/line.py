"""Where an ask stands in line, and how long it may still wait, judged by what answers took lately. Reads only."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.pool import Pool, Waiter

REMEMBERED = 32  # answers whose times are kept


@dataclass(frozen=True, slots=True)
class Standing:
    """`place` 1 is next. `seconds` until an agent is free, None while no answer has shown how long one takes."""

    place: int
    seconds: float | None
    at_work: int  # agents


class Pace:
    """How long agents took lately, from the ask to the whole answer."""

    def __init__(self) -> None:
        self._took: deque[float] = deque(maxlen=REMEMBERED)

    def note(self, seconds: float) -> None:
        self._took.append(seconds)

    def standing(self, pool: Pool, waiter: Waiter) -> Standing:
        """Of an ask that waits for any agent. Costs a look at each user who waits and each ask under way."""
        agents = [agent for agent in pool.agents.values() if agent.load]
        now = time.monotonic()
        ages = [now - pending.given for agent in agents for pending in agent.pending.values()]
        place = pool.queue.place(waiter)
        return Standing(place, self._wait(place, ages), len(agents))

    def _wait(self, place: int, ages: list[float]) -> float | None:
        """When the `place`-th line comes free, if every answer takes as long as one usually does."""
        if not (self._took and ages):
            return None
        usual = median(self._took)
        left = sorted(max(usual - age, 0.0) for age in ages)
        rounds, turn = divmod(place - 1, len(left))
        return left[turn] + rounds * usual
