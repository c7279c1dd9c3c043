"""What running processes keep in the data folder about themselves: locks and notes. Nothing of it is kept.

The kernel lets go of a lock when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

NAME = ".run"


def place(folder: Path) -> Path:
    """For this user alone."""
    found = folder / NAME
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    return found


class Lock:
    """One process at a time holds it; in its file stands what the one that holds it, or held it last, noted there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """False when another process has it. A file system without locks says yes to everybody."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            pass  # the server is more important than the guard
        self._file = os.fdopen(descriptor, "r+")
        return True

    def is_held(self) -> bool:
        """Whether any process has it, this one included. Where there are no locks nobody has."""
        with suppress(OSError), self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def said(self) -> str:
        """What was noted last; "" when it was given back in order."""
        try:
            return self.path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def note(self, text: str) -> None:
        """Only for who holds it."""
        if self._file:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(text)
            self._file.flush()

    def release(self) -> None:
        """In order; a second call does nothing."""
        if self._file:
            self.note("")
            self._file.close()
            self._file = None
