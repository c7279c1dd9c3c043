"""`manage.py setup`: what `serve` does before its first start, for places where the parts run apart."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from privategpt import manual
from privategpt.serving import database, firststart
from privategpt.serving.hold import Held, share

PAUSE = 1.0  # seconds between two looks


class Command(BaseCommand):
    help = "Migrate the database, make the first administrator and load the manual; running it again does no harm."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        say = parser.add_argument
        say(
            "--patience",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="so long it waits for a database that is away",
        )

    def handle(self, *, patience: float, **options: Any) -> None:
        os.umask(0o077)  # the database and its copies are nobody else's
        try:
            share(Path(settings.DATA_DIR))
            self._wait(patience)
            database.prepare()
            firststart.check_administrator()
            firststart.begin()
        except (Held, database.NotReady, firststart.BadSetting) as error:
            raise CommandError(str(error)) from error
        administrator = firststart.first_administrator()
        for name, value in self._rows(administrator):  # at once: nobody else knows the password
            self.stdout.write(f"  {name:<12} {value}")
        self.stdout.flush()
        manual.load_if_possible()
        firststart.done()

    def _wait(self, patience: float) -> None:
        """Until the database takes a connection, or the time is over; what is wrong then is said by who uses it."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                connection.ensure_connection()
            except DatabaseError as fault:
                self.stderr.write(f"The database is not there yet ({' '.join(str(fault).split())}).")
                time.sleep(PAUSE)
            else:
                return

    def _rows(self, administrator: firststart.Administrator | None) -> Iterator[tuple[str, str]]:
        yield "Database", "migrated"
        if administrator:
            yield "E-mail", administrator.email
            password = administrator.password
            yield "Password", f"{password}   (shown only now)" if password else "the one in ADMIN_PASSWORD"
        key = firststart.KeyFile()
        if os.environ.get("ADMIN_KEY", "").strip():
            yield "Admin key", "the one you set"
        elif key.is_new():
            yield "Admin key", f"{settings.ADMIN_KEY}   (shown only now; kept in {key.path})"
            key.note_shown()
        else:
            yield "Admin key", f"in {key.path}"
