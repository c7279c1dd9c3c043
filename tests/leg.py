"""The database that the whole suite runs on: SQLite, or with TEST_DATABASE=postgres a real PostgreSQL.

pytest loads this before Django's settings are read (pyproject.toml)."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.postgres import Postgres

DATABASES = ("sqlite", "postgres")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # "gw0", "gw1", ...; "" in the process that was started
FOLDER, SHARED_FOLDER = "TEST_POSTGRES_FOLDER", "TEST_SHARED_FOLDER"


def _chosen() -> str:
    name = os.environ.get("TEST_DATABASE", "") or "sqlite"
    if name not in DATABASES:
        raise SystemExit(f"TEST_DATABASE is {name!r}; known: {', '.join(DATABASES)}.")
    return name


def _shared() -> Path:
    """A folder for all of pytest-xdist's processes (tests/once.py)."""
    if WORKER:
        return Path(os.environ[SHARED_FOLDER])
    folder = tempfile.mkdtemp(prefix="switchboard-shared-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[SHARED_FOLDER] = folder
    return Path(folder)


def _started() -> Postgres:
    """One server for all of pytest-xdist's processes: the first starts it, the others find it here."""
    from tests.postgres import Postgres

    if WORKER:
        return Postgres(Path(os.environ[FOLDER]))
    folder = Path(tempfile.mkdtemp(prefix="switchboard-postgres-"))
    server = Postgres(folder / "data")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.end)
    os.environ[FOLDER] = str(folder / "data")
    return server


# What the second leg leaves out: tests that never meet a database; those of the built-in model; the walks in a browser
# over every page, where chats and sources are used; and those of ports, frames, headers and proxies, where a row is at
# most read along the way. The storms of chaos/ bring a PostgreSQL of their own. Everything else that reads or writes a
# row runs on both. The walks and ports pass on PostgreSQL as well: it is their minute that is saved.
WITHOUT_DATABASE = [
    "chaos",
    "test_agent_client.py",
    "test_analyse.py",
    "test_arrows.py",
    "test_ask_json.py",
    "test_bench*.py",
    "test_blocks.py",
    "test_browser_admin.py",
    "test_browser_all_pages.py",
    "test_browser_keeping.py",
    "test_browser_reading.py",
    "test_browser_sessions.py",
    "test_browser_stream.py",
    "test_browser_look.py",
    "test_browser_trap.py",
    "test_citing.py",
    "test_cors.py",
    "test_daphne.py",
    "test_embedders.py",
    "test_engines.py",
    "test_hostile_text.py",
    "test_http_limits.py",
    "test_isolation.py",
    "test_listener.py",
    "test_llm_embedded.py",
    "test_llm_openai.py",
    "test_logfile.py",
    "test_page_languages.py",
    "test_passages.py",
    "test_pool.py",
    "test_prompts.py",
    "test_proxy.py",
    "test_restore_lies.py",
    "test_readme.py",
    "test_rendering.py",
    "test_rights_door.py",
    "test_rolling.py",
    "test_runagent.py",
    "test_safe_defaults.py",
    "test_sentences.py",
    "test_shots.py",
    "test_signs_of_life.py",
    "test_socket_floods.py",
    "test_socket_handshake.py",
    "test_static.py",
    "test_structure.py",
    "test_stream_threads.py",
    "test_supervisor.py",
    "test_tracing.py",
    "test_translations.py",
    "test_watching.py",
]
# Files that take longest go first where several processes share them out, or one would be at work alone in the end.
LONGEST = [
    "test_storm.py",
    "test_rolling.py",
    "test_signs_of_life.py",
    "test_start_in_order.py",
    "test_hostile_text.py",
    "test_move.py",
    "test_serve.py",
    "test_backup.py",
    "test_rehearse.py",
    "test_scaling.py",
    "test_serve_database.py",
    "test_serve_several.py",
    "test_serve_agent.py",
    "test_parts.py",
    "test_drain.py",
    "test_runagent.py",
    "test_browser_chat.py",
    "test_browser_stream.py",
    "test_browser_keeping.py",
    "test_browser_reading.py",
    "test_revocation.py",
    "test_leaving.py",
    "test_browser_pages.py",
    "test_browser_all_pages.py",
    "test_browser_admin.py",
    "test_browser_look.py",
    "test_browser_trap.py",
    "test_browser_line.py",
    "test_shots.py",
    "test_engines.py",
    "test_database_restart.py",
    "test_safe_defaults.py",
    "test_bench.py",
    "test_bench_retrieval.py",
]
NAME = _chosen()
SHARED = _shared()
os.environ.pop("DATABASE_URL", None)  # whose ever that is, the tests leave it alone
SERVER: Postgres | None = None
if NAME == "postgres":
    SERVER = _started()
    os.environ["DATABASE_URL"] = SERVER.url("switchboard" + WORKER)  # each process its own


# Who empties the tables after a test fills these again at once, which took half the time of a short test.
# No test changes them.
FILLED_BY_MIGRATING = {"django_content_type", "auth_permission"}


def empty_quickly() -> None:
    """Between tests only rows of tests are deleted; in PostgreSQL in a tenth of the time of TRUNCATE's new files."""
    from django.db import connection

    def sql_flush(self: Any, style: Any, tables: list[str], **options: Any) -> list[str]:
        # In any order: the foreign keys are looked at when the transaction ends.
        emptied = [self.quote_name(table) for table in tables if table not in FILLED_BY_MIGRATING]
        deletions = [f"DELETE FROM {table}" for table in emptied]  # noqa: S608
        return ["; ".join(deletions)] if NAME == "postgres" else deletions  # one journey for all

    type(connection.ops).sql_flush = sql_flush  # type: ignore[method-assign,assignment]


def leave_what_is_filled() -> None:
    """From now on no emptying fills what was not emptied."""
    from django.contrib.contenttypes.management import create_contenttypes
    from django.db.models.signals import post_migrate

    assert post_migrate.disconnect(create_contenttypes)
    assert post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
