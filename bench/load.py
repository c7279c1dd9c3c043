"""What a run is to do, and what came of it."""

import statistics
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Load:
    """One run: so many closed-loop clients against so many agents, for a time or for a number of asks."""

    port: int
    agent_port: int = 0  # where the agents dial in; 0: at the same port
    clients: int = 64
    agents: int = 64
    think: float = 0.0  # seconds an agent takes for an answer
    seconds: float = 3.0  # of measuring; without meaning when `asks` is given
    warmup: float = 0.3  # seconds before the clock starts
    asks: int = 0  # in all; 0: as many as the time allows
    sticky: float = 0.0  # share of the clients that open a conversation beforehand and stay in it
    tokens: tuple[str, ...] = ()  # the clients take them in turn
    agent_token: str = ""
    content_size: int = 64  # bytes of a question
    declared: int = 0  # concurrency the agents declare; 0: they say nothing about themselves
    several: bool = False  # an agent may get more at once than it declared, as from the bare round trip
    timeout: float = 30.0  # seconds a client waits for an answer

    @property
    def door(self) -> int:
        """The port of the agents."""
        return self.agent_port or self.port


@dataclass
class Tally:
    """What came of the asks of one run."""

    ok: int = 0
    wrong: int = 0  # a 200 with another text, other ids or an error text
    failed: Counter[str] = field(default_factory=Counter)  # refused with a reason: status and text
    lost: Counter[str] = field(default_factory=Counter)  # no answer, or one without a reason
    faults: Counter[str] = field(default_factory=Counter)  # misdeeds of agents that are faulty on purpose
    overloads: int = 0  # questions that came to an agent beyond what it declared
    measured: int = 0  # right answers within the window
    seconds: float = 0.0  # the window
    longest: float = 0.0  # seconds the slowest ask took, whatever came of it
    waits: list[list[float]] = field(default_factory=list)  # seconds, of each client's right answers in the window
    failovers: list[float] = field(default_factory=list)  # seconds from an agent's death to the answer by another
    driver_cpu: float = 0.0  # seconds in the window
    server_cpu: float = 0.0

    @property
    def asks(self) -> int:
        return self.ok + self.wrong + self.failed.total() + self.lost.total()

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.measured / self.seconds if self.seconds else 0.0

    @property
    def driver_us(self) -> float:
        return 1e6 * self.driver_cpu / max(1, self.measured)

    @property
    def server_us(self) -> float:
        return 1e6 * self.server_cpu / max(1, self.measured)

    @property
    def clean(self) -> bool:
        """Every ask was answered rightly, and no agent got more than it declared."""
        return not (self.wrong or self.failed or self.lost or self.overloads)

    def wait(self, share: float) -> float:
        """The quantile of all waits, in seconds."""
        return quantile([wait for waits in self.waits for wait in waits], share)

    def unfairness(self) -> float:
        """The largest deviation of a client's mean wait from the mean of all, as a share of that."""
        means = [statistics.fmean(waits) for waits in self.waits if waits]
        if len(means) < len(self.waits) or not means:
            return 1.0
        middle = statistics.fmean(means)
        return max(abs(mean - middle) for mean in means) / middle

    def trouble(self) -> str:
        """What went wrong, in one line; empty when nothing did."""
        parts = [f"{self.wrong} wrong"] if self.wrong else []
        parts += [f"{count} x {reason}" for reason, count in (self.failed + self.lost).most_common(4)]
        parts += [f"{self.overloads} overloads"] if self.overloads else []
        return ", ".join(parts)


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed; 0 for none."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
