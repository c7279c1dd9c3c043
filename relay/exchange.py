"""The relay of this process: dispatcher, clock and key rings, made on the loop that first needs them."""

from __future__ import annotations

import asyncio
import time

from django.conf import settings

from accounts import revocation
from accounts.keyring import KeyRing
from accounts.models import Token
from relay.dispatch import Dispatcher
from relay.limits import Limits
from relay.nodes import Nodes
from relay.pool import Agent
from relay.repeats import Repeats
from relay.watch import GOING_AWAY, POLICY, Watch

# Seconds in which the other processes say that they leave too (the whole house goes down): then nobody's agents go.
HEARS_WITHIN = 0.3
_exchange: Exchange | None = None


class Exchange:
    """Everything of the relay that lives as long as the process."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = Limits.from_settings()
        self.dispatcher = Dispatcher(self.limits)
        self.askers = KeyRing(Token.Kind.RELAY)
        self.agents = KeyRing(Token.Kind.AGENT)
        self.repeats = Repeats(self.dispatcher.commits)
        self.watch = Watch(self.dispatcher, [self.askers, self.agents])
        self.sockets = 0  # agents' sockets, those included that have not said who they are
        self.is_leaving = False
        self._leaving_since = 0.0  # monotonic
        self._has_told = False
        self.nodes = Nodes(self.dispatcher, settings.REDIS_URL) if settings.REDIS_URL else None
        self.watch.start()
        if self.nodes:
            self.nodes.on_revoked = self._forget_keys
            self.nodes.start()

    def joined(self, agent: Agent) -> None:
        """Lists an agent that has dialled in here."""
        self.dispatcher.pool.join(agent)
        self.watch.joined(agent)
        if self.nodes:
            self.nodes.joined(agent)

    def forget(self, owner: str) -> None:
        """Drops a user's conversations from memory, in every process that can be reached."""
        self.dispatcher.conversations.forget(owner)
        if self.nodes:
            self.nodes.forget(owner)

    async def revoked(self, tokens: frozenset[int]) -> bool:
        """Takes these tokens no more, here and in every other process; False when not all of those have said so."""
        self._forget_keys(tokens)
        return await self.nodes.revoked(tokens) if self.nodes else True

    def _forget_keys(self, tokens: frozenset[int]) -> None:
        revocation.forget(tokens)
        self.dispatcher.admitted.end(tokens)
        for agent in list(self.dispatcher.pool.agents.values()):
            if agent.token in tokens and not agent.node:
                self.dispatcher.left(agent)
                agent.hang_up(POLICY)

    @property
    def has_others(self) -> bool:
        """Whether another process goes on when this one leaves."""
        return self.nodes is not None and self.nodes.has_others

    def leave(self) -> bool:
        """Sends idle agents away, to dial in with the other processes, and takes no new ones. To be called again
        until it returns True: nothing is under way any more. Asks are served until then."""
        now = time.monotonic()
        self._leaving_since = self._leaving_since or now
        self.is_leaving = True
        idle = not (self.dispatcher.asks or self.dispatcher.lending.under_way)
        own = [agent for agent in self.dispatcher.pool.agents.values() if not agent.node]
        if self.nodes is None or not self.nodes.has_others:
            self._keep(own)  # they have nobody else to go to
            return idle
        if any(not agent.is_leaving for agent in own) or not self._has_told:
            self._has_told = True
            for agent in own:
                agent.is_leaving = True
            self.nodes.leaving()
        if now - self._leaving_since < HEARS_WITHIN:
            return False
        for agent in own:
            if not agent.load:
                self.dispatcher.pool.expect()
                self.dispatcher.left(agent)
                agent.hang_up(GOING_AWAY)
        return idle and not own

    def _keep(self, agents: list[Agent]) -> None:
        """Nobody is left who could take them over."""
        for agent in agents:
            if agent.is_leaving:
                agent.is_leaving = False
                self.dispatcher.pool.settle(agent)

    def hang_up(self) -> None:
        """Ends the asks that are left and closes every agent's socket (1001): come back later."""
        self.dispatcher.end()
        for agent in [agent for agent in self.dispatcher.pool.agents.values() if not agent.node]:
            self.dispatcher.left(agent)
            agent.hang_up(GOING_AWAY)


def _tell_of(ended: frozenset[int]) -> revocation.Call | None:
    """The relay's courier, in the thread that has just committed."""
    relay = peek()
    if relay is None or not relay.loop.is_running():
        return None
    return asyncio.run_coroutine_threadsafe(relay.revoked(ended), relay.loop)


revocation.sends(_tell_of)


def current() -> Exchange:
    """The exchange of the running loop."""
    global _exchange
    if _exchange is None or _exchange.loop is not asyncio.get_running_loop():
        _exchange = Exchange()
    return _exchange


def peek() -> Exchange | None:
    """The exchange if there is one already; for other threads, which may read but not act."""
    return _exchange


async def ready() -> None:
    """Returns when the other processes have told of their agents, or do not in time."""
    if settings.REDIS_URL and (nodes := current().nodes):
        await nodes.ready()


async def close() -> None:
    """Writes what is still to be written; the next `current` begins anew. A loop that is gone took its own along."""
    global _exchange
    exchange, _exchange = _exchange, None
    if exchange and exchange.loop is asyncio.get_running_loop():
        exchange.hang_up()
        if exchange.nodes:
            await exchange.nodes.stop()
        await exchange.watch.stop()
