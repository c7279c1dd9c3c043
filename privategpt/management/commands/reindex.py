"""`manage.py reindex`: make the vectors anew after a change of embedder. The server answers meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count, Q, Sum

from privategpt import ingest
from privategpt.models import Source
from privategpt.retrieval.embedders import EmbedderUnavailable
from privategpt.retrieval.embedding_process import Client, socket_path
from privategpt.serving import database
from privategpt.worker import PROBE, Worker, absence

LOOK = 0.5  # seconds between two looks at the progress
NOT_DONE = [Source.State.CREATION, Source.State.PROCESSING]


class Command(BaseCommand):
    help = "Have every passage embedded that the present embedder has not embedded yet, and show the progress."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-wait", action="store_true", help="leave the work to the server's worker and end")

    def handle(self, *, no_wait: bool, **options: Any) -> None:
        try:
            database.check()
        except database.NotReady as reason:
            raise CommandError(str(reason)) from reason
        try:
            client = Client(socket_path(settings.DATA_DIR))
            embedder = client.passages([PROBE]).identity
        except EmbedderUnavailable as reason:
            raise CommandError(f"{absence() or reason} Start the server first: its embedder does the work.") from None
        self.stdout.write(f"Embedder: {embedder}. Sources to do: {ingest.reindex(embedder)}.")
        if not no_wait:
            self._work(Worker(client))

    def _work(self, worker: Worker) -> None:
        """Works along with the server's worker, and shows how far both are."""
        done = threading.Event()
        showing = threading.Thread(target=self._show_until, args=(done,), daemon=True)
        showing.start()
        try:
            while ingest.is_unfinished():
                worker.drain()
                time.sleep(LOOK)
        except KeyboardInterrupt:
            self.stdout.write("\nThe server's worker goes on.")
        finally:
            done.set()
            showing.join()

    def _show_until(self, done: threading.Event) -> None:
        while not done.wait(LOOK if sys.stdout.isatty() else 10 * LOOK):
            self._show()
        self._show()
        self.stdout.write("")

    def _show(self) -> None:
        figures = Source.objects.not_deleted().aggregate(
            total=Sum("passages_total"),
            done=Sum("passages_done"),
            open=Count("pk", filter=Q(state__in=NOT_DONE)),
            failed=Count("pk", filter=Q(state=Source.State.ERROR)),
        )
        end = "\r" if sys.stdout.isatty() else "\n"
        text = f"{figures['done'] or 0} of {figures['total'] or 0} passages, {figures['open']} sources to do"
        self.stdout.write(f"{text}, {figures['failed']} failed", ending=end)
        self.stdout.flush()
