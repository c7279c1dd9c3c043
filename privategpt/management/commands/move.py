"""`manage.py move`: the SQLite database into PostgreSQL, compared row by row."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from privategpt.operations import move
from privategpt.serving.hold import Alone, Held


class Command(BaseCommand):
    help = (
        "Move everything from the SQLite database to the PostgreSQL that DATABASE_URL names. The server must not run."
    )
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        say = parser.add_argument
        say("file", nargs="?", type=Path, help="the SQLite database; default: the one in DATA_DIR")
        say("--replace", action="store_true", help="delete what is in the new database")

    def handle(self, *, file: Path | None, replace: bool, **options: Any) -> None:
        old = (file or Path(settings.DATA_DIR) / "switchboard.sqlite3").absolute()
        began = time.monotonic()
        try:
            move.open_source(old)
            with Alone(old.parent):
                rows = move.move(replace=replace, say=self._say)
        except (move.CannotMove, Held) as reason:
            raise CommandError(str(reason)) from reason
        seconds = time.monotonic() - began
        self._say(
            f"Moved: {sum(rows.values())} rows in {len(rows)} tables, {seconds:.1f} s. The old database is as it was."
        )

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
