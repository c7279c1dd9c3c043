"""Backups by themselves: BACKUP_EVERY hours, of which BACKUP_KEEP are kept.

Whoever makes one first writes into the database's one row of this that it does, so that of all workers on all machines
one does it. A maker that was killed has lost the row after LEASE; what it left unfinished is cleared away."""

from __future__ import annotations

import logging
import shutil
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path

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
LEASE = timedelta(hours=2)
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
            finally:
                close_old_connections()
            self._over.wait(LOOK)
        connections.close_all()


def make_if_due() -> Path | None:
    """Makes and checks a backup when it is time and nobody else does. Returns it."""
    if not settings.BACKUP_EVERY or not _claimed():
        return None
    folder = Path(settings.DATA_DIR) / "backups"
    target = folder / f"{PREFIX}{backup.stamp()}{backup.SUFFIX}"
    began = time.monotonic()
    try:
        clear(folder)
        backup.back_up(target)
        backup.verify(target)
    except (CannotStore, BadArchive, backup.CannotRestore, DatabaseError, OSError) as fault:
        target.unlink(missing_ok=True)
        reason = " ".join(str(fault).split())
        logger.error("The backup that was due could not be made: %s", reason)  # noqa: TRY400 - said in one line
        _state().update(claimed_until=None, error=reason[:500], failed_at=timezone.now())
        return None
    size = target.stat().st_size
    _state().update(
        claimed_until=None, error="", failed_at=None, made_at=timezone.now(), file=str(target), size=size, host=_host()
    )
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


def clear(folder: Path) -> None:
    """What a backup left that was killed: drafts with the whole database and the secrets in them."""
    for path in folder.glob(f".{PREFIX}*.part"):
        path.unlink(missing_ok=True)
    for path in folder.glob(".work-*"):
        if time.time() - path.stat().st_mtime > LEASE.total_seconds():
            shutil.rmtree(path, ignore_errors=True)


def state() -> BackupState | None:
    """What is known of the last ones."""
    return _state().first()


def _claimed() -> bool:
    """One statement decides who makes it."""
    now = timezone.now()
    BackupState.objects.get_or_create(pk=1)
    is_due = Q(made_at=None) | Q(made_at__lte=now - timedelta(hours=settings.BACKUP_EVERY))
    is_free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    has_rested = Q(failed_at=None) | Q(failed_at__lte=now - AFTER_FAILURE)
    return bool(_state().filter(is_due, is_free, has_rested).update(claimed_until=now + LEASE))


def _state() -> QuerySet[BackupState]:
    return BackupState.objects.filter(pk=1)


def _host() -> str:
    return socket.gethostname()[:200]
