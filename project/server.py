"""The web server program: uvicorn with our limits, and an end that loses no ask."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import time
from types import FrameType

import uvicorn
from django.conf import settings

from privategpt import desk, orphan
from project.protocols import HttpProtocol, WebSocketProtocol
from relay import exchange

logger = logging.getLogger(__name__)
LEAVE = signal.SIGUSR1  # from the supervisor: others go on with the work
LAST_REQUESTS = 1.0  # seconds in which a client that keeps its connection learns that this one will be closed
ONE_SIGNAL = 1.0  # seconds; a supervisor and a service manager may each pass on the same signal


class DrainingServer(uvicorn.Server):
    """At SIGTERM: no new asks, `/ready` says 503, those under way may end, then the sockets are closed.

    At LEAVE nobody is refused: no connections are accepted any more, which others do from the same socket;
    each answer closes its connection, agents are sent to the others, and what is under way may end.
    """

    _drain_until: float | None = None
    _leave_until: float | None = None
    _told_at = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a later one ends at once."""
        now = time.monotonic()
        if self._drain_until is None:
            self._told_at, self._drain_until = now, now + settings.DRAIN_SECONDS
        elif now - self._told_at > ONE_SIGNAL:
            self._drain_until = 0.0

    def handle_leave(self, sig: int, frame: FrameType | None) -> None:
        """Begins to leave, once."""
        if self._leave_until is None:
            self._told_at = time.monotonic()
            self._leave_until = self._told_at + settings.DRAIN_SECONDS

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells the supervisor when it serves."""
        await super().startup(sockets)
        if orphan.is_renewed():
            exchange.current().dispatcher.pool.expect()  # those that the process before has sent away
        orphan.say_ready()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the main loop."""
        if self._drain_until is not None:
            if self._drained(self._drain_until):
                if relay := exchange.peek():
                    relay.hang_up()
                self.should_exit = True
        elif self._leave_until is not None:
            self.should_exit = self._left(self._leave_until)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers that are still growing end first, and their streams with them: no reader's line just breaks."""
        ending = asyncio.create_task(desk.close())
        await super().shutdown(sockets)
        await ending

    def _drained(self, until: float) -> bool:
        relay, answers = exchange.peek(), desk.peek()
        if relay:
            relay.drain()
        is_idle = not (relay and (relay.dispatcher.asks or relay.dispatcher.lending.under_way))
        return (is_idle and not (answers and answers.running)) or time.monotonic() >= until

    def _left(self, until: float) -> bool:
        for server in self.servers:
            server.close()  # of this process; the socket stays open in the others
        HttpProtocol.is_leaving = True
        is_idle = exchange.current().leave()
        answers, now = desk.peek(), time.monotonic()
        is_idle = is_idle and not (answers and answers.running) and not self._answers_somebody()
        return (is_idle and now - self._told_at > LAST_REQUESTS) or now >= until

    def _answers_somebody(self) -> bool:
        open_now = (line for line in self.server_state.connections if isinstance(line, HttpProtocol))
        return any(line.cycle is not None and not line.cycle.response_complete for line in open_now)


def config(host: str, port: int) -> uvicorn.Config:
    """uvicorn's settings for the whole application."""
    return uvicorn.Config(
        "project.asgi:application",
        host=host,
        port=port,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,  # contract 1 offers none, and it costs 40 KiB a socket
        ws_max_size=settings.RELAY["max_frame_bytes"],
        ws_ping_interval=None,  # liveness is the relay's own ping
        lifespan="on",
        access_log=False,  # the admin key stands in a query of contract 1
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        backlog=2048,
    )


def run(host: str, port: int, listener: socket.socket | None = None) -> None:
    """Serves until a signal comes; returns when everything is written and closed. `listener` is open already."""
    _allow_many_files()
    program = config(host, port)
    program.load()
    # What is loaded by now never dies. Without this, each full collection walks all of Django
    # again and every ask of that moment waits for it.
    gc.collect()
    gc.freeze()
    server = DrainingServer(program)
    signal.signal(LEAVE, server.handle_leave)
    server.run(sockets=[listener] if listener else None)


def _allow_many_files() -> None:
    """Every agent and every asker is an open file, and many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.RELAY["max_agents"] + 4096
    within = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < within:
        resource.setrlimit(resource.RLIMIT_NOFILE, (within, hard))
