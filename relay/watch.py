"""The relay's clock: pings, deadlines, administrators' wishes, and what is written now and then.

One task for the whole process, on the monotonic clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable
from contextvars import Context
from typing import TYPE_CHECKING

from django.db import DatabaseError

from relay import frames, registry
from relay.ids import fresh_id
from relay.limits import TICK

if TYPE_CHECKING:
    from accounts.keyring import KeyRing
    from relay.dispatch import Dispatcher
    from relay.pool import Agent

logger = logging.getLogger(__name__)

WISHES_EVERY = 1.0  # seconds
COUNTS_EVERY = 5.0
USES_EVERY = 60.0
TIDY_EVERY = 3600.0
LONGEST_STALL = 0.2  # seconds that the loop may be late before it is logged
MOST_UNWRITTEN = 20_000  # agents, while the database takes nothing
GOING_AWAY = 1001
POLICY = 1008


class Watch:
    """Looks after one dispatcher."""

    def __init__(self, dispatcher: Dispatcher, rings: list[KeyRing]) -> None:
        self._dispatcher = dispatcher
        self._rings = rings
        self._due = {self._wishes: 0.0, self._keys: 0.0, self._counts: 0.0, self._uses: USES_EVERY, self._tidy: 5.0}
        self._every = {
            self._wishes: WISHES_EVERY,
            self._keys: WISHES_EVERY,
            self._counts: COUNTS_EVERY,
            self._uses: USES_EVERY,
            self._tidy: TIDY_EVERY,
        }
        self._unwritten: OrderedDict[str, Agent] = OrderedDict()
        self._counted: dict[Agent, tuple[int, int]] = {}
        self._task: asyncio.Task[None] | None = None
        self._chores: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look; a second call does nothing."""
        if self._task is None:
            now = time.monotonic()
            self._due = {chore: now + wait for chore, wait in self._due.items()}
            # In no request's context: what the clock logs is not about the one that happened to start it.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def stop(self) -> None:
        """Writes what is still to be written, and ends."""
        for task in (self._task, self._chores):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await self._kept(self._uses())
        await self._kept(self._counts())
        await self._dispatcher.commits.close()

    def joined(self, agent: Agent) -> None:
        """Has the agent written down soon, together with others that joined at the same time."""
        self._counted[agent] = (0, 0)
        self._unwritten[agent.id] = agent
        if len(self._unwritten) > MOST_UNWRITTEN:
            self._unwritten.popitem(last=False)
        self._due[self._counts] = 0.0

    def owned_by(self, agent_id: str, token: int | None) -> bool:
        """Whether nobody else has joined under this id whose row is not in the database yet."""
        agent = self._unwritten.get(agent_id)
        return agent is None or agent.token == token

    async def _run(self) -> None:
        expected = time.monotonic() + TICK
        waived = False
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            late, expected = now - expected, now + TICK
            if late > LONGEST_STALL:
                logger.warning("The event loop stood still for %.0f ms.", late * 1000)
            waived = late > TICK and not waived
            if waived:  # what came in meanwhile is heard first, else all agents would seem to be silent
                continue
            try:
                self._ping(now)
                self._dispatcher.look(now)
            except Exception:
                logger.exception("The relay's clock stumbled and goes on.")
            if self._chores is None or self._chores.done():
                self._chores = asyncio.get_running_loop().create_task(self._run_chores(now))

    def _ping(self, now: float) -> None:
        """Pings whoever was silent for a while, and drops whoever did not answer."""
        limits = self._dispatcher.limits
        for agent in list(self._dispatcher.pool.agents.values()):
            if agent.node:
                continue  # its own process looks after it
            if agent.pinged:
                if now - agent.pinged > limits.pong_within:
                    logger.info("Agent %s does not answer pings and is dropped.", agent.id)
                    self._dispatcher.left(agent)
                    agent.hang_up(GOING_AWAY)
            elif now - agent.heard >= limits.ping_every:
                ping(agent, now)

    # -- chores: each a short hop to the database, one after the other -----------------------------

    async def _run_chores(self, now: float) -> None:
        for chore, due in list(self._due.items()):
            if due <= now:
                self._due[chore] = now + self._every[chore]
                await self._kept(chore())

    async def _kept(self, chore: Awaitable[None]) -> None:
        try:
            await chore
        except DatabaseError as fault:
            logger.warning("The database did not take what the relay notes down: %s", fault)

    async def _wishes(self) -> None:
        agents = {agent.id: agent for agent in self._dispatcher.pool.agents.values() if not agent.node}
        if not agents:
            return
        wishes = await registry.wishes({agent.token for agent in agents.values() if agent.token})
        dropped = [
            agent for agent in agents.values() if agent.id in wishes.hang_up or agent.token in wishes.dead_tokens
        ]
        for agent in dropped:
            self._dispatcher.left(agent)
            agent.hang_up(POLICY)
        if wishes.hang_up & {agent.id for agent in dropped}:
            await registry.hung_up([agent.id for agent in dropped])
        for agent in agents.values():
            if agent.at_rest != (agent.id in wishes.resting):
                agent.at_rest = not agent.at_rest
                self._dispatcher.pool.settle(agent)

    async def _keys(self) -> None:
        """Ends what was asked with keys that have ended unheard: past the program, or while Redis was away."""
        admitted = self._dispatcher.admitted
        if tokens := admitted.tokens:
            admitted.end(await registry.ended(tokens))

    async def _counts(self) -> None:
        """Nothing is forgotten before it is written: a database that refuses is asked again next time."""
        if new := list(self._unwritten.values()):
            await registry.joined(new)
        for agent in new:
            if self._unwritten.get(agent.id) is agent:
                del self._unwritten[agent.id]
        seen = {agent: (agent.served, agent.failed, agent.gone) for agent in self._counted}
        if seen:
            await registry.write_counts([self._since(agent, *found) for agent, found in seen.items()])
        for agent, (served, failed, gone) in seen.items():
            self._counted[agent] = (served, failed)
            if gone:
                del self._counted[agent]

    def _since(self, agent: Agent, served: int, failed: int, gone: bool) -> registry.Counts:
        """What it has done since its figures were last written."""
        before = self._counted[agent]
        return registry.Counts(agent.id, served - before[0], failed - before[1])

    async def _uses(self) -> None:
        await self._dispatcher.conversations.write_uses()
        for ring in self._rings:
            await ring.write_uses()

    async def _tidy(self) -> None:
        await registry.tidy(self._dispatcher.limits.conversation_days)


def ping(agent: Agent, now: float) -> None:
    """Asks an agent for a sign of life; any frame of its counts as one."""
    agent.pinged = agent.pinged or now  # one that is unanswered already counts from its own time
    agent.tell(frames.encode(fresh_id(), frames.PING))
