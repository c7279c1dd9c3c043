"""How the parts of this server stand, as their supervisors know it: each notes it in the data folder every few seconds,
for the web processes to tell."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from privategpt import rundir

LOOKED_EVERY = 0.2  # seconds; less than a part that ended stays down
NOTED_EVERY = 5.0  # seconds, where nothing has changed
FRESH = 20.0  # seconds after which a note's supervisor counts as gone
UP, STARTING, DOWN, ENDED, SILENT, UNREACHABLE = "up", "starting", "down", "ended", "silent", "unreachable"
BROKEN = {DOWN, SILENT, UNREACHABLE}
LONGEST_NOTE = 1 << 16  # bytes


class Part(msgspec.Struct, frozen=True):
    """One process that a supervisor keeps. `ended`: it is not to run here, and has said why."""

    name: str
    state: str
    restarts: int = 0  # by itself, or for want of a sign of life


class Note(msgspec.Struct, frozen=True):
    """What one supervisor says."""

    at: float  # wall clock
    parts: list[Part]


def note(folder: Path, parts: Sequence[Part]) -> None:
    """Says how the parts of this process stand. A full disk keeps the note before."""
    path = _path(folder)
    draft = path.with_suffix(".part")
    with contextlib.suppress(OSError):
        if not path.exists():
            _sweep(folder)
        draft.write_bytes(msgspec.json.encode(Note(time.time(), list(parts))))
        draft.replace(path)


def forget(folder: Path) -> None:
    """This process keeps nothing any more; others that were killed do not either."""
    _path(folder).unlink(missing_ok=True)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """The notes of those that were killed."""
    for path in rundir.place(folder).glob("parts-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 10 * FRESH:
                path.unlink()


def known(folder: Path) -> list[Part]:
    """Every part of every supervisor that is there, in the order of names."""
    found: list[Part] = []
    for path in rundir.place(folder).glob("parts-*.json"):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            with path.open("rb") as file:
                said = msgspec.json.decode(file.read(LONGEST_NOTE), type=Note)
            if abs(time.time() - said.at) < FRESH:
                found += said.parts
    return sorted(found, key=lambda part: part.name)


def _path(folder: Path) -> Path:
    return rundir.place(folder) / f"parts-{_own_name()}.json"


@cache
def _own_name() -> str:
    """Of this process alone: in containers that share the folder each supervisor may have the same id."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"
