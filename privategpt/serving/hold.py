"""Who uses a data folder: every server process shares a hold on it, a restore wants it alone.

The kernel lets go of it when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from privategpt import rundir
from privategpt.rundir import Lock

NAME = ".in_use"
_held: dict[Path, IO[bytes]] = {}


class Held(Exception):
    """Somebody else has the folder. Says what to do."""


def share(folder: Path) -> None:
    """For as long as this process lives no restore may begin. Raises Held while one runs."""
    if folder in _held:
        return
    file = _opened(folder)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Held(f"A restore into {folder} is under way; start again when it is done.") from None
    except OSError:  # a file system without locks: the server is more important than the guard
        file.close()
        return
    _held[folder] = file


def serve(folder: Path) -> Lock:
    """For as long as this process lives, or until the lock is released, no second whole server begins on the folder.
    Raises Held."""
    lock = Lock(rundir.place(folder) / "server")
    if not lock.take():
        who = f" (process {lock.said()})" if lock.said() else ""
        raise Held(
            f"A server{who} runs on {folder} already; stop it, name another folder by DATA_DIR, "
            "or start a part beside it (`manage.py serve --only worker`)."
        )
    lock.note(str(os.getpid()))
    return lock


class Alone:
    """`with Alone(folder):` nobody else uses it. Raises Held while a server runs on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None

    def __enter__(self) -> None:
        self._file = _opened(self._folder)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise Held(f"A server runs on {self._folder}; stop it first.") from None

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()


def _opened(folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return (folder / NAME).open("ab")
