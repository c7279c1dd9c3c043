"""The relay of this process: dispatcher, clock and key rings, made on the loop that first needs them."""

from __future__ import annotations

import asyncio

from accounts.keyring import KeyRing
from accounts.models import Token
from relay.dispatch import Dispatcher
from relay.limits import Limits
from relay.repeats import Repeats
from relay.watch import GOING_AWAY, Watch

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
        self.watch.start()

    def drain(self) -> None:
        """No new asks from now on; those under way go on."""
        self.dispatcher.draining = True

    def hang_up(self) -> None:
        """Ends the asks that are left and closes every agent's socket (1001): come back later."""
        self.dispatcher.end()
        for agent in list(self.dispatcher.pool.agents.values()):
            self.dispatcher.left(agent)
            agent.hang_up(GOING_AWAY)


def current() -> Exchange:
    """The exchange of the running loop."""
    global _exchange
    if _exchange is None or _exchange.loop is not asyncio.get_running_loop():
        _exchange = Exchange()
    return _exchange


def peek() -> Exchange | None:
    """The exchange if there is one already; for other threads, which may read but not act."""
    return _exchange


async def close() -> None:
    """Writes what is still to be written; the next `current` begins anew."""
    global _exchange
    exchange, _exchange = _exchange, None
    if exchange:
        exchange.hang_up()
        await exchange.watch.stop()
