"""The web server program: uvicorn with our limits, and an end that loses no ask."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from types import FrameType

import uvicorn
from django.conf import settings

from privategpt import desk, orphan
from privategpt.pulse import Pulse
from project import files
from project.protocols import HttpProtocol, WebSocketProtocol
from relay import exchange

logger = logging.getLogger(__name__)
LEAVE = signal.SIGUSR1  # from the supervisor: others go on with the work
CLOSED_WITHIN = 0.02  # seconds in which the event loop has closed its own copy of a listening socket
LAST_REQUESTS = 1.0  # seconds in which a client that keeps its connection learns that this one will be closed
STUCK = 60.0  # seconds in which the event loop makes a step
ONE_SIGNAL = 1.0  # seconds; a supervisor and a service manager may each pass on the same signal


class DrainingServer(uvicorn.Server):
    """At SIGTERM, as at LEAVE, nobody is refused: no connection is accepted any more; what still comes on the open ones
    is answered and told to close; agents are sent to the other processes, if there are any; what is under way may end.

    At SIGTERM where another machine goes on, connections are accepted a moment longer, and served: a proxy that looks
    at `/ready` notices by then, and some lose a question that they send to a port where nobody listens.
    """

    _leave_until: float | None = None
    _told_at = 0.0
    _is_ending = False  # by SIGTERM
    _deaf_since: float | None = None  # monotonic: takes no connections any more

    def __init__(self, program: uvicorn.Config) -> None:
        super().__init__(program)
        self._pulse = Pulse(STUCK)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a later one ends at once."""
        if self._is_ending and time.monotonic() - self._told_at > ONE_SIGNAL:
            self._leave_until = 0.0
            return
        self.handle_leave(sig, frame)
        if not self._is_ending:
            self._is_ending, self._told_at = True, time.monotonic()

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
        self._pulse.go_on()
        if self._leave_until is not None:
            if not HttpProtocol.is_leaving:
                self._begin_to_leave()
            if self._deaf_since is None and not self._is_to_listen():
                self._deaf_since = time.monotonic()
                await self._stop_listening()
            self.should_exit = self._left(self._leave_until)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers that are still growing end first, and their streams with them: no reader's line just breaks."""
        ending = asyncio.create_task(desk.close())
        await super().shutdown(sockets)
        await ending

    def _begin_to_leave(self) -> None:
        HttpProtocol.is_leaving = exchange.current().is_leaving = True
        for line in self._lines():
            line.close_behind()

    def _is_to_listen(self) -> bool:
        """Whether a proxy in front is still to hear that others go on. At LEAVE they listen at the same socket."""
        told = time.monotonic() - self._told_at
        return self._is_ending and told < settings.LEAVE_NOTICE and exchange.current().has_others

    async def _stop_listening(self) -> None:
        """Closes this process's listening sockets, but takes over first whoever has reached them already: the kernel
        would break their connections, and a proxy does not send a question a second time."""
        own = [socket.socket(fileno=os.dup(each.fileno())) for server in self.servers for each in server.sockets]
        for server in self.servers:
            server.close()
        await asyncio.sleep(CLOSED_WITHIN)
        for listener in own:
            with listener:
                await self._take_over(listener)

    async def _take_over(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        taken = []
        with contextlib.suppress(OSError):  # until there is none, or no file is left for it
            while True:
                taken.append(listener.accept()[0])
        listener.close()
        for accepted in taken:
            with contextlib.suppress(OSError):  # gone meanwhile
                await loop.connect_accepted_socket(self._protocol, accepted)

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _left(self, until: float) -> bool:
        is_idle = exchange.current().leave()
        answers, now = desk.peek(), time.monotonic()
        is_idle = is_idle and not (answers and answers.running) and not self._answers_somebody()
        is_deaf = self._deaf_since is not None and now - self._deaf_since > LAST_REQUESTS
        if not (is_idle and is_deaf) and now < until:
            return False
        exchange.current().hang_up()
        return True

    def _lines(self) -> list[HttpProtocol]:
        return [line for line in self.server_state.connections if isinstance(line, HttpProtocol)]

    def _answers_somebody(self) -> bool:
        return any(line.cycle is not None and not line.cycle.response_complete for line in self._lines())


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
    files.allow_many()
    program = config(host, port)
    program.load()
    # What is loaded by now never dies. Without this, each full collection walks all of Django
    # again and every ask of that moment waits for it.
    gc.collect()
    gc.freeze()
    server = DrainingServer(program)
    signal.signal(LEAVE, server.handle_leave)
    server.run(sockets=[listener] if listener else None)
