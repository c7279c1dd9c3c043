"""`manage.py restore FILE`: a backup into the data folder and the database that are configured."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from privategpt.operations import backup
from privategpt.operations.archive import BadArchive
from privategpt.operations.stores import CannotStore
from privategpt.serving.hold import Held


class Command(BaseCommand):
    help = "Make the data folder and the database what a backup holds. The server must not run."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="as `manage.py backup` wrote it")
        parser.add_argument("--replace", action="store_true", help="move aside what is there")

    def handle(self, *, file: Path, replace: bool, **options: Any) -> None:
        try:
            restored = backup.restore(file, replace=replace)
        except (backup.CannotRestore, BadArchive, CannotStore, Held, DatabaseError, OSError) as fault:
            raise CommandError(str(fault)) from fault
        manifest = restored.manifest
        self.stdout.write(
            f"Restored: {sum(manifest.rows.values())} rows in {len(manifest.rows)} tables, as of {manifest.made_at}."
        )
        if restored.aside:
            self.stdout.write(f"What was there before is in {restored.aside}.")
        self.stdout.write("Start the server: `make run` migrates the database if this program is newer.")
