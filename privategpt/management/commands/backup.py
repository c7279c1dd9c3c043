"""`manage.py backup [FILE]`: the database and the secrets in one file, while the server answers."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from privategpt.operations import backup
from privategpt.operations.archive import BadArchive
from privategpt.operations.stores import CannotStore


class Command(BaseCommand):
    help = "Write the database and the secrets into one file. Whoever has it has everything: keep it safe."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="default: a new one in DATA_DIR/backups")

        parser.add_argument("--verify", action="store_true", help="look whether FILE could be restored, and end")

    def handle(self, *, file: Path | None, verify: bool, **options: Any) -> None:
        if verify:
            self._verify(file)
            return
        target = file or backup.default_target()
        if target.exists():
            raise CommandError(f"{target} is there already; name another file.")
        began = time.monotonic()
        try:
            manifest = backup.make(target)
        except (CannotStore, BadArchive, backup.CannotRestore, DatabaseError, OSError) as fault:
            raise CommandError(f"No backup was made. {fault}") from fault
        size = target.stat().st_size / (1 << 20)
        rows = sum(manifest.rows.values())
        if "admin_key" not in manifest.files:
            self.stderr.write("The admin key is not in it: only the server was told. Keep it apart, or set ADMIN_KEY.")
        self.stdout.write(f"{target}: {rows} rows, {size:.1f} MiB, {time.monotonic() - began:.1f} s")

    def _verify(self, file: Path | None) -> None:
        if file is None:
            raise CommandError("Name the file that is to be verified.")
        try:
            manifest = backup.verify(file)
        except (BadArchive, backup.CannotRestore, CannotStore, OSError) as fault:
            raise CommandError(f"{file} cannot be restored. {fault}") from fault
        rows = sum(manifest.rows.values())
        self.stdout.write(f"{file} is whole: {manifest.vendor}, {rows} rows, made {manifest.made_at}.")
