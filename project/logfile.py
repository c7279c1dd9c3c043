"""The log in files: LOG_FILE, turned over by size and counted, by as many processes as there are.

Each line is one write at the file's end. Who finds the file full takes a lock and turns it over; the others notice that
the name means another file now and open that. So does a file that somebody else moved away or deleted."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from project.logs import Stderr

if TYPE_CHECKING:
    from collections.abc import Iterator


class LogFile(Stderr):
    """Lines that cannot be written are counted and dropped, as on standard error."""

    def __init__(self, path: str, most_bytes: int, kept: int) -> None:
        super().__init__()
        self._path, self._most, self._kept = Path(path), most_bytes, kept
        self._number = -1

    def close(self) -> None:
        if self._number >= 0:
            os.close(self._number)
            self._number = -1
        super().close()

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        if self._is_another():
            self._open()
        if self._size() + len(data) > self._most and self._size():
            self._turn_over(len(data))
        while data:
            data = data[os.write(self._number, data) :]

    def _is_another(self) -> bool:
        """Whether the name means another file than the one that is open."""
        if self._number < 0:
            return True
        try:
            there, mine = self._path.stat(), os.fstat(self._number)
        except FileNotFoundError:
            return True
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._number >= 0:
            os.close(self._number)
        self._number = number

    def _size(self) -> int:
        return os.fstat(self._number).st_size

    def _turn_over(self, coming: int) -> None:
        with self._alone():
            if self._is_another():
                self._open()  # somebody else was quicker
            if self._size() + coming <= self._most:
                return
            for place in range(self._kept, 0, -1):
                older = self._named(place - 1)
                if older.exists():
                    older.replace(self._named(place))
            if not self._kept:
                self._path.unlink()
            self._open()

    def _named(self, place: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{place}") if place else self._path

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The kernel lets go of it, however its holder ends."""
        number = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            os.close(number)
