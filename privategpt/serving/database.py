"""The database before the start: not newer than the code, copied, migrated."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from privategpt.operations import stores
from privategpt.serving.patience import Away, patiently
from privategpt.serving.workplace import sweep, workplace

logger = logging.getLogger(__name__)

MIGRATING = 0x5377_6974_6368_626F  # the advisory lock's number: "Switchbo"
PASSING = (  # what PostgreSQL says when it refuses only for now
    "is starting up",
    "is shutting down",
    "in recovery mode",
    "not yet accepting connections",
    "too many clients",
    "too many connections",
    "connection slots",
    "administrator command",
)
COPIES = 5  # kept of those made before migrating


class NotReady(Exception):
    """The server must not start on this database. Says why, and what to do."""


def prepare() -> bool:
    """Brings the database to the code's state, after a copy of it; True when it was empty. Raises NotReady."""
    sweep()
    connection = connections[DEFAULT_DB_ALIAS]
    executor, applied = _look(connection)
    if _is_pending(executor):
        with _alone(connection):
            executor, _ = _look(connection)  # another start may have done it meanwhile
            if _is_pending(executor):
                _migrate(copy(connection) if applied else None)
    return not applied


def check() -> None:
    """That the database is there and in the code's state; nothing is changed. Raises NotReady."""
    executor, _ = _look(connections[DEFAULT_DB_ALIAS])
    _refuse_pending(executor)


def check_if_there() -> None:
    """The same for who copes with a database that is away: that is no reason to end. Raises NotReady."""
    try:
        executor, _ = _seen(connections[DEFAULT_DB_ALIAS])
    except DatabaseError:
        return
    _refuse_pending(executor)


def check_not_newer() -> None:
    """That this program knows every migration that was applied. Raises NotReady."""
    _look(connections[DEFAULT_DB_ALIAS])


def _refuse_pending(executor: MigrationExecutor) -> None:
    if _is_pending(executor):
        raise NotReady("Migrations are pending: run `manage.py migrate`, or `manage.py serve`, which does it itself.")


def _look(connection: BaseDatabaseWrapper) -> tuple[MigrationExecutor, set[tuple[str, str]]]:
    """What is to be migrated and what has been; waits a little for a database that is away. Raises NotReady."""
    try:
        return patiently(lambda: _look_once(connection))
    except Away as reason:
        raise NotReady(f"{str(reason).rstrip('.')}; nothing was started.") from reason.__cause__


def _look_once(connection: BaseDatabaseWrapper) -> tuple[MigrationExecutor, set[tuple[str, str]]]:
    """Raises NotReady, Away."""
    try:
        return _seen(connection)
    except DatabaseError as error:
        connection.close()
        reason = f"{_which(connection)} cannot be opened ({_line(error)})"
        if is_away(error):
            raise Away(f"{reason}.") from error
        raise NotReady(f"{reason}; nothing was started.") from error


def _seen(connection: BaseDatabaseWrapper) -> tuple[MigrationExecutor, set[tuple[str, str]]]:
    """Raises DatabaseError, NotReady."""
    _reach(connection)
    executor = MigrationExecutor(connection)
    applied = set(executor.loader.applied_migrations)
    if strangers := unknown(executor.loader, applied):
        raise NotReady(
            f"The database is newer than this program (it knows {', '.join(strangers)}): "
            "start the version that was used last, or restore a copy from before."
        )
    return executor, applied


def is_away(error: Exception) -> bool:
    """Whether the server itself may be there in a moment: it does not answer, or says that it starts, stops or is full.
    What else it says (a wrong password, an unknown database) stays as it is."""
    said = str(error)
    if not isinstance(error, OperationalError) or connections[DEFAULT_DB_ALIAS].vendor != "postgresql":
        return False
    return "FATAL" not in said or any(sign in said for sign in PASSING)


def _is_pending(executor: MigrationExecutor) -> bool:
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _reach(connection: BaseDatabaseWrapper) -> None:
    """Raises DatabaseError with the server's own reason, which a pool would keep to itself."""
    if connection.vendor == "postgresql":
        with connection.wrap_database_errors:
            connection.Database.connect(**connection.get_connection_params()).close()  # type: ignore[attr-defined]


def _which(connection: BaseDatabaseWrapper) -> str:
    if connection.vendor == "sqlite":
        return "The database"
    where = connection.settings_dict
    place = f"{where['HOST']}:{where['PORT'] or 5432}"
    return f"The PostgreSQL database {where['NAME']} at {place}, which DATABASE_URL names,"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@contextlib.contextmanager
def _alone(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Several starts on one PostgreSQL migrate one after the other; the lock ends with its connection."""
    if connection.vendor != "postgresql":
        yield
        return
    holder = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATING])
        yield
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATING])
    finally:
        holder.close()


def unknown(loader: MigrationLoader, applied: set[tuple[str, str]]) -> list[str]:
    """Applied migrations of our apps that this code does not have."""
    replaced = {old for migration in loader.disk_migrations.values() for old in migration.replaces}
    known = set(loader.disk_migrations) | replaced
    return sorted(f"{app}.{name}" for app, name in applied - known if app in loader.migrated_apps)


def _migrate(before: Path | None) -> None:
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except Exception as error:  # a migration is anybody's code
        remains = f"a copy from before is {before}" if before else "the database is as the last whole migration left it"
        raise NotReady(f"Migrating the database failed ({error}); nothing was started, and {remains}.") from error


def copy(connection: BaseDatabaseWrapper) -> Path | None:
    """A complete copy of the database, also while others write; None where that takes programs that are not here.

    Raises NotReady.
    """
    if connection.vendor == "postgresql":
        return _dumped(connection)
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


def _dumped(connection: BaseDatabaseWrapper) -> Path | None:
    """By pg_dump. Where that is missing or of another version the log says so, and migrating goes on."""
    folder = Path(settings.DATA_DIR) / "backups"
    target = folder / f"before-migrating-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.dump"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with workplace(folder) as drafts:
            stores.dump(connection, drafts / target.name)
            (drafts / target.name).rename(target)
        for old in sorted(folder.glob("before-migrating-*.dump"))[:-COPIES]:
            old.unlink()
    except stores.NoTool as lack:
        logger.warning("The database is migrated without a copy from before: %s", lack)
        return None
    except (OSError, DatabaseError, stores.CannotStore) as error:
        reason = _line(error)
        raise NotReady(f"The database could not be copied to {target} before migrating ({reason}).") from error
    return target


def _copy(connection: BaseDatabaseWrapper, target: Path) -> None:
    connection.ensure_connection()
    with workplace(target.parent) as folder:
        draft = folder / target.name
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(draft)) as destination:
            connection.connection.backup(destination)
        draft.rename(target)


def others() -> list[Path]:
    """Databases in the data folder that are not the one in use, copies included."""
    folder, used = Path(settings.DATA_DIR), Path(str(settings.DATABASES[DEFAULT_DB_ALIAS]["NAME"]))
    return sorted({*folder.glob("*.sqlite3"), *folder.glob("*.db"), *folder.glob("backups/*.sqlite3")} - {used})
