"""`manage.py serve [PORT] [ADMIN_KEY]`: the whole server, with everything that a first start needs."""

from __future__ import annotations

import asyncio
import os
import signal
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.module_loading import import_string

from privategpt import orphan
from privategpt.serving import database, firststart, redis, secrets
from privategpt.serving.children import CLOSING, PARTS, Crew, children
from privategpt.serving.hold import Held, share
from privategpt.serving.hold import serve as serve_alone
from privategpt.serving.listener import SOCKET, CannotListen, Site, inherited, listen_after
from privategpt.serving.run import DoesNotStart, Run
from privategpt.serving.screen import Welcome

MOST = 64  # processes of a part
CONNECTIONS = 80  # of the hundred that PostgreSQL takes by itself; the others are for whoever looks after it
LEAST_POOL = 4
USUAL = 4  # processes, with which the default of 20 for each is no more than that
NEEDS_REDIS = (
    "Several web processes reach each other's agents through Redis: set REDIS_URL (redis://HOST:6379), "
    "or leave --web at 1."
)


class Command(BaseCommand):
    help = "Run the server: web server, ingest worker, embedder and built-in agent, watched over."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        say = parser.add_argument
        say("port", nargs="?", help="default: PORT, else 8080")
        say("admin_key", nargs="?", default="", help="better: ADMIN_KEY, since arguments show in the list of processes")
        say("rest", nargs="*", help="ignored, as by the reference server")
        say("--only", choices=PARTS, default="", help="run this part alone")
        say("--web", type=count, default=1, metavar="N", help="so many web processes; more than one need REDIS_URL")
        say("--worker", type=count, default=1, metavar="N", help="so many ingest workers")

    def handle(self, *, port: str | None, admin_key: str, only: str, web: int, worker: int, **options: Any) -> None:
        crew = Crew(web, worker, only)
        number = port_number(port)
        if SOCKET not in os.environ:  # the supervisor has said it for its children
            firststart.warn_of_weak_key(admin_key.strip() or settings.ADMIN_KEY)
        try:
            if only == "web" and web == 1:
                web_server(number)
            elif only and (only, web, worker) != (only, 1, 1) and only in {"web", "worker"}:
                self._run(number, admin_key.strip(), crew)
            elif only:
                part(number, crew)
            else:
                self._run(number, admin_key.strip(), crew)
        except (CannotListen, Held, database.NotReady, firststart.BadSetting, DoesNotStart) as error:
            raise CommandError(str(error)) from error

    def _run(self, number: int, admin_key: str, crew: Crew) -> None:
        if crew.web > 1 and not settings.REDIS_URL:
            raise CommandError(NEEDS_REDIS)
        os.umask(0o077)  # the database and its copies are nobody else's
        if crew.web + crew.workers > USUAL:  # for the children, unless it is set
            fair = max(LEAST_POOL, CONNECTIONS // (crew.web + crew.workers))
            os.environ["DATABASE_POOL"] = os.environ.get("DATABASE_POOL", "").strip() or str(fair)
        # A renewal that is asked for before there is anything to renew must not end the start.
        signal.signal(signal.SIGUSR1, lambda *_: None)
        secrets.warn()
        folder = Path(settings.DATA_DIR)
        with ExitStack() as held:
            if not crew.only:
                held.callback(serve_alone(folder).release)
            redis.check(settings.REDIS_URL)
            # A worker's port is not its own but the web server's.
            listener, site, port = listen_after(folder, settings.HOST, 0 if crew.only == "worker" else number)
            held.callback(port.release)
            share(folder)
            was_empty = database.prepare()
            firststart.check_administrator()
            if crew.only != "worker":
                firststart.begin()
            connections.close_all()  # from here on the database is the children's
            run = Run(listener, site, admin_key, was_empty=was_empty, crew=crew)
            asyncio.run(run.until_told(self._show))

    def _show(self, welcome: Welcome) -> None:
        self.stdout.write(welcome.text(colours=self.stdout.isatty() and "NO_COLOR" not in os.environ))
        self.stdout.flush()


def count(text: str) -> int:
    """How many processes."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= MOST):
        raise ArgumentTypeError(f"{text!r} is no number from 1 to {MOST}")
    return int(text)


def port_number(text: str | None) -> int:
    """The port to listen at. Raises CommandError."""
    value = text or str(settings.PORT)
    if not (value.isascii() and value.isdecimal() and int(value) < 1 << 16):
        raise CommandError(f"The port is {value!r}; it must be a number up to 65535.")
    return int(value)


def web_server(port: int) -> None:
    """The web server in this process, until a signal ends it. Raises BadSetting, Held, NotReady."""
    orphan.end_with_parent(settings.DRAIN_SECONDS + CLOSING)  # first: until then nobody notices that it was killed
    listener = inherited()
    share(Path(settings.DATA_DIR))
    if listener is None:  # whoever opened it has looked, and what it starts again comes up while others are away
        redis.check(settings.REDIS_URL)
        database.check()
        connections.close_all()
    import_string(settings.WEB_SERVER)(settings.HOST, port, listener)


def part(port: int, crew: Crew) -> None:
    """A part other than the web server becomes this process. Raises BadSetting."""
    rows = children(Site(settings.HOST, port), -1, "", crew)
    if not rows:
        raise firststart.BadSetting("The embedder cannot run here; what was said above tells why.")
    connections.close_all()
    program = list(rows[0].command)
    os.execve(program[0], program, dict(rows[0].environment))  # noqa: S606 - our own program
