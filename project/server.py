"""The web server program: uvicorn with our limits, and an end that loses no ask."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import socket
import time
from types import FrameType

import uvicorn
from django.conf import settings

from privategpt import desk
from project.protocols import HttpProtocol, WebSocketProtocol
from relay import exchange

logger = logging.getLogger(__name__)
ONE_SIGNAL = 1.0  # seconds; a supervisor and a service manager may each pass on the same signal


class DrainingServer(uvicorn.Server):
    """At SIGTERM: no new asks, `/ready` says 503, those under way may end, then the sockets are closed."""

    _drain_until: float | None = None
    _told_at = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a later one ends at once."""
        now = time.monotonic()
        if self._drain_until is None:
            self._told_at, self._drain_until = now, now + settings.DRAIN_SECONDS
        elif now - self._told_at > ONE_SIGNAL:
            self._drain_until = 0.0

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the main loop."""
        if self._drain_until is not None and self._drained(self._drain_until):
            if relay := exchange.peek():
                relay.hang_up()
            self.should_exit = True
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
        is_idle = not (relay and relay.dispatcher.asks) and not (answers and answers.running)
        return is_idle or time.monotonic() >= until


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
    DrainingServer(program).run(sockets=[listener] if listener else None)


def _allow_many_files() -> None:
    """Every agent and every asker is an open file, and many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.RELAY["max_agents"] + 4096
    within = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < within:
        resource.setrlimit(resource.RLIMIT_NOFILE, (within, hard))
