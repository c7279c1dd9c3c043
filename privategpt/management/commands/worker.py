"""`manage.py worker`: make the vectors of stored sources; `serve` runs one."""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from privategpt import orphan
from privategpt.operations import schedule
from privategpt.retrieval.embedding_process import Client, socket_path
from privategpt.serving import database
from privategpt.serving.hold import Held, share
from privategpt.worker import Worker

LAST_RESORT = 10.0  # seconds to end in order after the parent's death


class Command(BaseCommand):
    help = "Embed the passages of stored sources, with the embedder that listens in the data folder."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="end when nothing is left to do")

    def handle(self, *, once: bool, **options: Any) -> None:
        orphan.end_with_parent(LAST_RESORT)
        try:
            share(Path(settings.DATA_DIR))
            database.check_if_there()
        except (Held, database.NotReady) as reason:
            raise CommandError(str(reason)) from reason
        worker = Worker(Client(socket_path(settings.DATA_DIR)), alive=Path(settings.DATA_DIR) / "worker.alive")
        backups = schedule.Schedule()
        if settings.BACKUP_EVERY and not once:
            backups.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        if once:
            worker.drain()
        else:
            worker.run()
        backups.stop()
