"""What takes seconds to make is made once, by the first of pytest-xdist's processes that wants it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

from tests import leg


def made_once(name: str, fill: Callable[[Path], object]) -> Path:
    """A folder that `fill` has filled, to be copied by all. Who comes while it is being filled waits."""
    folder, done = leg.SHARED / name, leg.SHARED / f"{name}.done"
    with (leg.SHARED / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            fill(folder)
            done.touch()
    return folder
