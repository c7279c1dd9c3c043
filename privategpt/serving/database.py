"""The database before the start: not newer than the code, copied, migrated."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

COPIES = 5  # kept of those made before migrating


class NotReady(Exception):
    """The server must not start on this database. Says why, and what to do."""


def prepare() -> bool:
    """Brings the database to the code's state, after a copy of it; True when it was empty. Raises NotReady."""
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        executor = MigrationExecutor(connection)
        applied = set(executor.loader.applied_migrations)
    except DatabaseError as error:
        raise NotReady(f"The database cannot be opened ({error}); nothing was started.") from error
    if strangers := unknown(executor.loader, applied):
        raise NotReady(
            f"The database is newer than this program (it knows {', '.join(strangers)}): "
            "start the version that was used last, or restore a copy from before."
        )
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        _migrate(copy(connection) if applied else None)
    return not applied


def check_migrated() -> None:
    """For a part that is started alone, and changes no database. Raises NotReady while migrations are pending."""
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise NotReady(f"The database cannot be opened ({error}); nothing was started.") from error
    if pending:
        raise NotReady(
            f"The database lacks {len(pending)} migrations (the first is {pending[0][0]}); nothing was started. "
            "`manage.py migrate` brings it up to date; `manage.py serve` does so too, after a copy."
        )


def unknown(loader: MigrationLoader, applied: set[tuple[str, str]]) -> list[str]:
    """Applied migrations of our apps that this code does not have."""
    replaced = {old for migration in loader.disk_migrations.values() for old in migration.replaces}
    known = set(loader.disk_migrations) | replaced
    return sorted(f"{app}.{name}" for app, name in applied - known if app in loader.migrated_apps)


def _migrate(before: Path | None) -> None:
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except Exception as error:  # a migration is anybody's code
        remains = f"a copy from before is {before}" if before else "the database was new"
        raise NotReady(f"Migrating the database failed ({error}); nothing was started, and {remains}.") from error


def copy(connection: BaseDatabaseWrapper) -> Path | None:
    """A complete copy of an SQLite database, also while others write; None for other databases. Raises NotReady."""
    if connection.vendor != "sqlite":
        return None  # its administrator has better means
    name = Path(connection.settings_dict["NAME"])
    folder = Path(settings.DATA_DIR) / "backups"
    target = folder / f"{name.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}{name.suffix}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _copy(connection, target)
        for old in sorted(folder.glob(f"{name.stem}-*{name.suffix}"))[:-COPIES]:
            old.unlink()
    except (OSError, sqlite3.Error) as error:
        raise NotReady(f"The database could not be copied to {target} before migrating ({error}).") from error
    return target


def _copy(connection: BaseDatabaseWrapper, target: Path) -> None:
    draft = target.with_suffix(".part")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection.ensure_connection()
    try:
        with contextlib.closing(sqlite3.connect(draft)) as destination:
            connection.connection.backup(destination)
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)


def others() -> list[Path]:
    """Databases in the data folder that are not the one in use, copies included."""
    folder, used = Path(settings.DATA_DIR), Path(str(settings.DATABASES[DEFAULT_DB_ALIAS]["NAME"]))
    return sorted({*folder.glob("*.sqlite3"), *folder.glob("*.db"), *folder.glob("backups/*.sqlite3")} - {used})
