"""Who is connected to the relay, through any process, and how busy they are, for people to look at."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Sum

from privategpt.llm.relay import BUILT_IN
from relay import exchange
from relay.models import Agent as Row

QUIET = 10.0  # seconds without a frame, pings' echoes included, after which an agent counts as silent


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """`state` is "ready", "silent", "cooling" (failed too often lately) or "resting" (by an administrator)."""

    name: str
    model: str
    is_built_in: bool
    state: str
    busy: int
    lines: int
    served: int
    connected_at: datetime | None


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """Agents by name; `waiting` counts the questions that wait for one."""

    agents: list[AgentStatus]
    waiting: int


@dataclass(frozen=True, slots=True)
class Line:
    """The queue, and whether this process reaches the others."""

    waiting: int  # in every process
    oldest: float  # seconds that the one has waited here that waits longest
    is_cut_off: bool


def status() -> RelayStatus:
    """May be called from any thread. What other processes hold is as they told it last, at most a second ago."""
    found = exchange.peek()
    if found is None:
        return RelayStatus([], 0)
    pool = found.dispatcher.pool
    agents = list(pool.agents.values())
    since = dict(Row.objects.filter(pk__in=[agent.id for agent in agents]).values_list("pk", "connected_at"))
    listed = [
        AgentStatus(
            name=agent.said.name or agent.id,
            model=agent.said.model,
            is_built_in=agent.said.name == BUILT_IN,
            state=_state(agent.at_rest, agent.rests_until, agent.heard),
            busy=min(agent.load + agent.foreign, agent.said.concurrency),
            lines=agent.said.concurrency,
            served=agent.served,
            connected_at=since.get(agent.id),
        )
        for agent in agents
    ]
    waiting = pool.waiting.total() + (found.nodes.waiting if found.nodes else 0)
    return RelayStatus(sorted(listed, key=lambda agent: (agent.is_built_in, agent.name)), waiting)


def line() -> Line:
    """As `status`, without a look at the database."""
    found = exchange.peek()
    if found is None:
        return Line(0, 0.0, is_cut_off=False)
    since = min((waiter.since for waiter in list(found.dispatcher.waiters)), default=None)
    waiting = found.dispatcher.pool.waiting.total() + (found.nodes.waiting if found.nodes else 0)
    oldest = 0.0 if since is None else time.monotonic() - since
    return Line(waiting, oldest, is_cut_off=found.nodes is not None and found.dispatcher.is_cut_off)


def totals() -> tuple[int, int]:
    """How many asks all agents that are remembered have answered, and failed, in every process."""
    found = Row.objects.aggregate(served=Sum("served"), failed=Sum("failed"))
    return found["served"] or 0, found["failed"] or 0


def was_agent_here() -> bool:
    """Whether an agent other than the built-in one has ever dialled in, and is remembered."""
    return Row.objects.exclude(name=BUILT_IN).exists()


def _state(at_rest: bool, rests_until: float, heard: float) -> str:
    if at_rest:
        return "resting"
    if rests_until:
        return "cooling"
    return "silent" if time.monotonic() - heard > QUIET else "ready"
