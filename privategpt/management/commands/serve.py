"""`manage.py serve [PORT] [ADMIN_KEY]`: the whole server, with everything that a first start needs."""

from __future__ import annotations

import asyncio
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.module_loading import import_string

from privategpt import orphan
from privategpt.serving import database, firststart
from privategpt.serving.children import CLOSING
from privategpt.serving.hold import Held, share
from privategpt.serving.listener import CannotListen, inherited, listen
from privategpt.serving.run import DoesNotStart, Run
from privategpt.serving.screen import Welcome


class Command(BaseCommand):
    help = "Run the server: the web server and the built-in agent, watched over."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        say = parser.add_argument
        say("port", nargs="?", help="default: PORT, else 8080")
        say("admin_key", nargs="?", default="", help="better: ADMIN_KEY, since arguments show in the list of processes")
        say("rest", nargs="*", help="ignored, as by the reference server")
        say("--only", choices=["web"], help="run this part alone, in this process")

    def handle(self, *, port: str | None, admin_key: str, only: str | None, **options: Any) -> None:
        number = port_number(port)
        if only:
            web_server(number)
            return
        os.umask(0o077)  # the database and its copies are nobody else's
        try:
            listener, site = listen(settings.HOST, number)
            share(Path(settings.DATA_DIR))
            was_empty = database.prepare()
            firststart.check_administrator()
            connections.close_all()  # from here on the database is the children's
            run = Run(listener, site, admin_key.strip(), was_empty=was_empty)
            asyncio.run(run.until_told(self._show))
        except (CannotListen, Held, database.NotReady, firststart.BadSetting, DoesNotStart) as error:
            raise CommandError(str(error)) from error

    def _show(self, welcome: Welcome) -> None:
        self.stdout.write(welcome.text(colours=self.stdout.isatty() and "NO_COLOR" not in os.environ))
        self.stdout.flush()


def port_number(text: str | None) -> int:
    """The port to listen at. Raises CommandError."""
    value = text or str(settings.PORT)
    if not (value.isascii() and value.isdecimal() and int(value) < 1 << 16):
        raise CommandError(f"The port is {value!r}; it must be a number up to 65535.")
    return int(value)


def web_server(port: int) -> None:
    """The web server in this process, until a signal ends it. Raises CommandError."""
    listener = inherited()
    try:
        share(Path(settings.DATA_DIR))
        if listener is None:  # else whoever opened it has looked
            database.check()
    except (Held, database.NotReady) as error:
        raise CommandError(str(error)) from error
    connections.close_all()
    orphan.end_with_parent(settings.DRAIN_SECONDS + CLOSING)
    import_string(settings.WEB_SERVER)(settings.HOST, port, listener)
