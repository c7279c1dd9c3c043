"""Which process makes an answer. Its row names the process, which holds a lock as long as it lives, however it ends:
so others on this machine know at once that an answer is lost, and need not wait for its lease to run out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from django.conf import settings

from privategpt import rundir
from privategpt.models import Message

PREFIX = "answers-"
LOOK = 0.5  # seconds between two looks at the locks
_lock = threading.Lock()
_own: tuple[Path, UUID, int] | None = None  # where, under which name, and the open file that holds it
_looked = 0.0  # monotonic


def own() -> UUID | None:
    """This process's name, under its lock from the first call on; None where the data folder takes no lock."""
    global _own
    folder = Path(settings.DATA_DIR)
    with _lock:
        if _own is None or _own[0] != folder:
            found = _locked(folder)
            if found is None:
                return None
            _own = found
        return _own[1]


def _locked(folder: Path) -> tuple[Path, UUID, int] | None:
    for _ in range(3):
        name = uuid.uuid4()
        with contextlib.suppress(OSError):
            path = rundir.place(folder) / f"{PREFIX}{name}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():  # nobody has cleared it away before it was locked
                    return folder, name, descriptor
            except OSError:
                path.unlink(missing_ok=True)
            os.close(descriptor)
    return None


def fail_lost() -> None:
    """Ends the answers of processes of this data folder that have ended. Looks at the locks at most twice a second."""
    global _looked
    now = time.monotonic()
    if now - _looked < LOOK:
        return
    _looked = now
    for path, process in _ended(Path(settings.DATA_DIR)):
        while Message.objects.under_way().filter(claimed_by=process).fail():
            continue
        path.unlink(missing_ok=True)


def _ended(folder: Path) -> Iterator[tuple[Path, UUID]]:
    """The files of processes that hold no lock any more. A file system without locks tells of none."""
    for path in (folder / rundir.NAME).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            process = UUID(path.name.removeprefix(PREFIX))
            descriptor = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(descriptor)
            yield path, process
