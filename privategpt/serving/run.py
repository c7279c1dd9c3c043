"""One run of the whole server, from the first child's start to the last one's end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connections

from privategpt import manual
from privategpt.serving import database, firststart, parts, probe
from privategpt.serving.children import AGENT, WEB, Crew, children, names
from privategpt.serving.listener import Site
from privategpt.serving.screen import Key, Welcome
from privategpt.serving.supervisor import Supervisor

logger = logging.getLogger(__name__)

TRIES = 3  # starts of a web server that never answered
ONE_SIGNAL = 1.0  # seconds; a terminal, `make` and a service manager may each pass on the same signal


class DoesNotStart(Exception):
    """The web server ended again and again before it ever answered."""


class Run:
    """Starts, welcomes, waits for a signal, ends."""

    def __init__(self, listener: socket.socket, site: Site, admin_key: str, *, crew: Crew, was_empty: bool) -> None:
        self._listener = listener
        self._site = site
        self._given_key = admin_key or os.environ.get("ADMIN_KEY", "").strip()
        self._strangers = database.others() if was_empty else []
        self._supervisor = Supervisor(children(site, listener.fileno(), admin_key, crew))
        self._web = "" if crew.only == "worker" else names(WEB, crew.web)[0]
        self._renewal: asyncio.Task[None] | None = None
        self._is_to_renew = False
        self._told_at: float | None = None

    async def until_told(self, show: Callable[[Welcome], object]) -> None:
        """Returns when a signal has come and every child has ended. Raises DoesNotStart."""
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # else: `nohup` shields us
                asyncio.get_running_loop().add_signal_handler(number, self._signalled, told)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._renew)
        self._supervisor.start()
        noting = asyncio.create_task(self._note_parts())
        waiting = asyncio.create_task(told.wait())
        welcome = asyncio.create_task(self._welcome(show))
        try:
            await asyncio.wait({waiting, welcome}, return_when=asyncio.FIRST_COMPLETED)
            if welcome.done():
                welcome.result()
                await waiting
        finally:
            welcome.cancel()
            noting.cancel()
            if self._renewal:
                self._renewal.cancel()
            self._listener.close()
            await self._supervisor.stop()
            parts.forget(Path(settings.DATA_DIR))

    async def _note_parts(self) -> None:
        """For the web processes, which know of nobody but themselves."""
        told, told_at = None, 0.0
        while True:
            now = self._supervisor.parts()
            if now != told or time.monotonic() - told_at > parts.NOTED_EVERY:
                told, told_at = now, time.monotonic()
                await asyncio.to_thread(parts.note, Path(settings.DATA_DIR), now)
            await asyncio.sleep(parts.LOOKED_EVERY)

    def _signalled(self, told: asyncio.Event) -> None:
        """The first signal ends in order, a later one at once."""
        told.set()
        now = time.monotonic()
        self._told_at = self._told_at or now
        if now - self._told_at > ONE_SIGNAL:
            self._supervisor.kill()

    def _renew(self) -> None:
        """SIGUSR1: the web processes start again, one after the other. One more while they do so makes them do it once
        more: what it was sent for may have come too late for those that are new already."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().create_task(self._renewals())
        else:
            logger.info("The web processes are being renewed; they will be once more when that is done.")
            self._is_to_renew = True

    async def _renewals(self) -> None:
        self._is_to_renew = True
        while self._is_to_renew:
            self._is_to_renew = False
            logger.info("SIGUSR1: the web processes are renewed, one after the other.")
            if await self._supervisor.renew():
                logger.info("The web processes are renewed.")

    async def _welcome(self, show: Callable[[Welcome], object]) -> None:
        supervisor = self._supervisor
        if not self._web:
            return  # workers have nothing to show
        if not await probe.until_healthy(self._site, given_up=lambda: supervisor.ends(self._web) >= TRIES):
            raise DoesNotStart("The web server does not start; what it said above tells why.")
        key = self._given_key or settings.ADMIN_KEY
        agents = await probe.first_agents(self._site, key, coming=lambda: supervisor.is_coming(AGENT))
        await asyncio.to_thread(self._say, show, agents)

    def _say(self, show: Callable[[Welcome], object], agents: int) -> None:
        """The first administrator is made only here, when nothing lies between that and the password on the screen."""
        administrator = firststart.first_administrator()
        manual.load_if_possible()
        connections.close_all()  # this thread's
        show(Welcome(self._site, Path(settings.DATA_DIR), self._key(), administrator, agents, self._strangers))
        if not self._given_key:
            firststart.KeyFile().note_shown()
        firststart.done()

    def _key(self) -> Key:
        if self._given_key:
            return Key()
        file = firststart.KeyFile()
        return Key(settings.ADMIN_KEY if file.is_new() else "", file.path)
