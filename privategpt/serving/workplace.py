"""Folders for drafts: private, and cleared away also when the process that made them was killed.

A draft holds the whole database and the secrets. Each folder is noted in the data folder, under a lock that the kernel
lets go of with its process: whoever finds the note and gets the lock knows that nobody needs the folder any more."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from privategpt import rundir
from privategpt.rundir import Lock

PREFIX = ".work-"
UNNOTED = 24 * 3600.0  # seconds after which a folder that no note knows (of an older version) is nobody's


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """A folder on the file system where the result will be; gone at the end. Those of killed processes go first."""
    sweep()
    name, lock = _taken()
    lock.note(str((parent / name).absolute()))  # first: what is made is known from then on
    folder = parent / name
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        _clear(folder, lock)


def _taken() -> tuple[str, Lock]:
    """A name of our own. Another process that sweeps just now may be quicker with a new note's lock: then another."""
    while True:
        name = f"{PREFIX}{secrets.token_hex(8)}"
        lock = Lock(_notes() / name)
        if lock.take():
            return name, lock


def sweep() -> None:
    """Clears away what killed processes have left behind."""
    for note in _notes().iterdir():
        lock = Lock(note)
        with suppress(OSError):
            if lock.take():
                _clear(Path(lock.said()), lock)
    data = Path(settings.DATA_DIR)
    for folder in [*data.glob(f"{PREFIX}*"), *(data / "backups").glob(f"{PREFIX}*")]:
        with suppress(OSError):
            if not (_notes() / folder.name).exists() and time.time() - folder.stat().st_mtime > UNNOTED:
                _remove(folder)


def _clear(folder: Path, lock: Lock) -> None:
    _remove(folder)
    if not folder.exists():  # else it is tried again: the medium may be away
        lock.path.unlink(missing_ok=True)
    lock.release()


def _remove(folder: Path) -> None:
    """Only what this module has made: the name says so."""
    if folder.name.startswith(PREFIX) and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def _notes() -> Path:
    found = rundir.place(Path(settings.DATA_DIR)) / "drafts"
    found.mkdir(exist_ok=True, mode=0o700)
    return found
