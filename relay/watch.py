"""The relay's clock: pings, deadlines, administrators' wishes, and what is written now and then.

One task for the whole process, on the monotonic clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable
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
GOING_AWAY = 1001
POLICY = 1008


class Watch:
    """Looks after one dispatcher."""

    def __init__(self, dispatcher: Dispatcher, rings: list[KeyRing]) -> None:
        self._dispatcher = dispatcher
        self._rings = rings
        self._due = {self._wishes: 0.0, self._counts: 0.0, self._uses: USES_EVERY, self._tidy: 5.0}
        self._every = {
            self._wishes: WISHES_EVERY,
            self._counts: COUNTS_EVERY,
            self._uses: USES_EVERY,
            self._tidy: TIDY_EVERY,
        }
        self._new: list[Agent] = []
        self._counted: dict[Agent, tuple[int, int]] = {}
        self._task: asyncio.Task[None] | None = None
        self._chores: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look; a second call does nothing."""
        if self._task is None:
            now = time.monotonic()
            self._due = {chore: now + wait for chore, wait in self._due.items()}
            self._task = asyncio.get_running_loop().create_task(self._run())

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
        self._new.append(agent)
        self._due[self._counts] = 0.0

    async def _run(self) -> None:
        expected = time.monotonic() + TICK
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            if now - expected > LONGEST_STALL:
                logger.warning("The event loop stood still for %.0f ms.", (now - expected) * 1000)
            expected = now + TICK
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
        agents = self._dispatcher.pool.agents
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
        for agent in list(agents.values()):
            if agent.at_rest != (agent.id in wishes.resting):
                agent.at_rest = not agent.at_rest
                self._dispatcher.pool.settle(agent)

    async def _counts(self) -> None:
        new, self._new = self._new, []
        if new:
            await registry.joined({agent.id: agent for agent in new}.values())
        for agent in new:
            self._counted.setdefault(agent, (0, 0))
        counts, gone = [], []
        for agent, (served, failed) in self._counted.items():
            counts.append(registry.Counts(agent.id, agent.served - served, agent.failed - failed))
            self._counted[agent] = (agent.served, agent.failed)
            if agent.gone:
                gone.append(agent)
        if counts:
            await registry.write_counts(counts)
        for agent in gone:
            del self._counted[agent]

    async def _uses(self) -> None:
        await self._dispatcher.conversations.write_uses()
        for ring in self._rings:
            await ring.write_uses()

    async def _tidy(self) -> None:
        await registry.tidy(self._dispatcher.limits.conversation_days)


def ping(agent: Agent, now: float) -> None:
    """Asks an agent for a sign of life; any frame of its counts as one."""
    agent.pinged = now
    agent.tell(frames.encode(fresh_id(), frames.PING))
