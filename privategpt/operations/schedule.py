"""Backups by themselves: BACKUP_EVERY hours, of which BACKUP_KEEP are kept.

Whoever makes one first writes into the database's one row of this that it does, so that of all workers on all machines
one does it, and says so again while it goes on. A maker that was killed has lost the row after LEASE."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections
from django.db.models import Q, QuerySet
from django.utils import timezone

from privategpt.models import BackupState
from privategpt.operations import backup
from privategpt.operations.archive import BadArchive
from privategpt.operations.stores import CannotStore

logger = logging.getLogger(__name__)

LOOK = 20.0  # seconds between two looks at the clock
LEASE = timedelta(minutes=5)
RENEWED_EVERY = 60.0  # seconds
AFTER_FAILURE = timedelta(minutes=15)
PREFIX = "scheduled-"  # those that were made by hand are nobody's to delete


class Schedule(threading.Thread):
    """A thread of the worker's: vectors are made meanwhile."""

    def __init__(self) -> None:
        super().__init__(name="backups", daemon=True)
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                make_if_due()
            except DatabaseError as fault:
                logger.warning("Whether a backup is due cannot be seen: %s", fault)
            except Exception:  # whatever it is, the next one is to be made
                logger.exception("The backup that was due ended in the middle.")
            finally:
                close_old_connections()
            self._over.wait(LOOK)
        connections.close_all()


class Claim:
    """The row is ours for as long as `with Claim(until):` lasts, but for a database that is away longer than LEASE."""

    def __init__(self, until: datetime) -> None:
        self._until = until
        self._over = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._renewing = threading.Thread(target=self._renew, name="backup's claim", daemon=True)

    def __enter__(self) -> Self:
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._renewing.join()
        with suppress(DatabaseError):  # it ends by itself then
            self.write(claimed_until=None)

    def write(self, **values: Any) -> None:
        """Into the row, unless it has become somebody else's."""
        with self._one_at_a_time:
            if _state().filter(claimed_until=self._until).update(**values):
                self._until = values.get("claimed_until", self._until)

    def _renew(self) -> None:
        try:
            while not self._over.wait(RENEWED_EVERY):
                try:
                    self.write(claimed_until=timezone.now() + LEASE)
                except DatabaseError as fault:
                    logger.warning("That a backup is being made cannot be said: %s", fault)
                    close_old_connections()
        finally:
            connections.close_all()


def make_if_due() -> Path | None:
    """Makes and checks a backup when it is time and nobody else does. Returns it."""
    until = _claimed() if settings.BACKUP_EVERY else None
    if until is None:
        return None
    folder = Path(settings.DATA_DIR) / "backups"
    target = folder / f"{PREFIX}{backup.stamp()}{backup.SUFFIX}"
    began = time.monotonic()
    with Claim(until) as claim:
        try:
            backup.make(target)
            size = target.stat().st_size
        except (CannotStore, BadArchive, backup.CannotRestore, DatabaseError, OSError) as fault:
            reason = " ".join(str(fault).split())
            logger.error("The backup that was due could not be made: %s", reason)  # noqa: TRY400 - said in one line
            claim.write(error=reason[:500], failed_at=timezone.now())
            return None
        made = {"made_at": timezone.now(), "file": str(target), "size": size, "host": _host()}
        _state().update(error="", failed_at=None, **made)
    gone = prune(folder)
    took = time.monotonic() - began
    logger.info("Backed up to %s: %d bytes in %.0f seconds; %d older ones deleted.", target, size, took, gone)
    return target


def prune(folder: Path) -> int:
    """Deletes the oldest scheduled backups beyond BACKUP_KEEP. Returns how many."""
    old = sorted(folder.glob(f"{PREFIX}*{backup.SUFFIX}"))[: -settings.BACKUP_KEEP]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def state() -> BackupState | None:
    """What is known of the last ones."""
    return _state().first()


def last_made() -> float | None:
    """When the last backup was made, here or by schedule on any machine, in seconds since 1970; None: there is none."""
    found, known = state(), [backup.last_made()]
    if found and found.made_at:
        known.append(found.made_at.timestamp())
    return max((moment for moment in known if moment is not None), default=None)


def _claimed() -> datetime | None:
    """One statement decides who makes it. Until when it is this process's to make; None: it is not."""
    now = timezone.now()
    BackupState.objects.get_or_create(pk=1)
    is_due = Q(made_at=None) | Q(made_at__lte=now - timedelta(hours=settings.BACKUP_EVERY))
    is_free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    has_rested = Q(failed_at=None) | Q(failed_at__lte=now - AFTER_FAILURE)
    until = now + LEASE
    return until if _state().filter(is_due, is_free, has_rested).update(claimed_until=until) else None


def _state() -> QuerySet[BackupState]:
    return BackupState.objects.filter(pk=1)


def _host() -> str:
    return socket.gethostname()[:200]
