"""The database that the whole suite runs on: SQLite, or with TEST_DATABASE=postgres a real PostgreSQL.

pytest loads this before Django's settings are read (pyproject.toml)."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.postgres import Postgres

DATABASES = ("sqlite", "postgres")


def _chosen() -> str:
    name = os.environ.get("TEST_DATABASE", "") or "sqlite"
    if name not in DATABASES:
        raise SystemExit(f"TEST_DATABASE is {name!r}; known: {', '.join(DATABASES)}.")
    return name


def _started() -> Postgres:
    from tests.postgres import Postgres

    folder = Path(tempfile.mkdtemp(prefix="switchboard-postgres-"))
    server = Postgres(folder / "data")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    return server


NAME = _chosen()
os.environ.pop("DATABASE_URL", None)  # whose ever that is, the tests leave it alone
SERVER: Postgres | None = None
if NAME == "postgres":
    SERVER = _started()
    os.environ["DATABASE_URL"] = SERVER.url("switchboard")
