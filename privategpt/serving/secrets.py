"""Whether the data folder is as private as what lies in it."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS

logger = logging.getLogger(__name__)

SECRETS = ("secret_key", "admin_key", "built_in_agent")


def warn() -> None:
    """One line for each file that others may read or write, and what to do."""
    for path, harm in found():
        mode = "700" if path.is_dir() else "600"
        logger.warning("Others on this machine %s %s; `chmod %s %s` keeps it private.", harm, path, mode, path)


def found() -> Iterator[tuple[Path, str]]:
    """Each file and what others may do to it."""
    folder = Path(settings.DATA_DIR)
    if _mode(folder) & (stat.S_IWGRP | stat.S_IWOTH):
        yield folder, "may replace what is in"
    for path in [*(folder / name for name in SECRETS), *_databases()]:
        mode = _mode(path)
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield path, "may change"
        elif path.name in SECRETS and mode & (stat.S_IRGRP | stat.S_IROTH):
            yield path, "may read"


def _databases() -> list[Path]:
    known = settings.DATABASES[DEFAULT_DB_ALIAS]
    return [Path(str(known["NAME"]))] if str(known["ENGINE"]).endswith("sqlite3") else []


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0
