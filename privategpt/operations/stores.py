"""The database as one file and back: SQLite by its online backup, PostgreSQL by pg_dump and pg_restore."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

FILES = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
TOOLS = "install PostgreSQL's client programs (Debian, Ubuntu: apt install postgresql-client) and try again."
FITTING = (
    "; the client programs are of another version than the server: install those of the server's own "
    "(postgresql-client-15 for 15) and put their folder first in PATH."
)
# What the programs say when they do not fit, and what it means.
ADVICE = {
    "server version mismatch": FITTING,
    "unsupported version": FITTING,  # a dump that a newer pg_dump made
    "unrecognized configuration parameter": FITTING,  # a newer pg_restore sets what an older server does not know
}
OTHERS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
OWN_FUNCTIONS = """
    SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prokind = 'f'
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
"""
LEAVING = 2.0  # seconds in which the sessions of a server that was stopped are gone
Rows = dict[str, int]


class CannotStore(Exception):
    """The database cannot be dumped or loaded. Says why, and what to do."""


class NoTool(CannotStore):
    """PostgreSQL's client programs are missing, or of another version than the server."""


def file_name(connection: BaseDatabaseWrapper) -> str:
    """Under which the database stands in an archive. Raises CannotStore."""
    try:
        return FILES[connection.vendor]
    except KeyError:
        raise CannotStore(f"Backups know SQLite and PostgreSQL, not {connection.vendor}.") from None


def dump(connection: BaseDatabaseWrapper, target: Path) -> Rows:
    """A consistent copy while others write, and the rows of each table in it. Raises CannotStore."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return (_dump_sqlite if connection.vendor == "sqlite" else _dump_postgresql)(connection, target)


# -- SQLite ---------------------------------------------------------------------------------------


def _dump_sqlite(connection: BaseDatabaseWrapper, target: Path) -> Rows:
    connection.ensure_connection()
    try:
        with contextlib.closing(sqlite3.connect(target)) as destination:
            # In one step: a copy in several would begin again whenever somebody writes. Writers go on meanwhile.
            connection.connection.backup(destination)
            destination.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
    except sqlite3.Error as fault:
        raise CannotStore(f"The database could not be copied: {fault}.") from fault
    return sqlite_rows(target)


def sqlite_rows(path: Path) -> Rows:
    """The rows of each table of a sound database file. Raises CannotStore."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise CannotStore(f"The database is damaged: {verdict}.")
            names = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
                "AND sql NOT LIKE 'CREATE VIRTUAL%' AND name NOT LIKE 'privategpt_words_%' ORDER BY name"
            )
            return {name: _count(database, name) for (name,) in names.fetchall()}
    except sqlite3.Error as fault:
        raise CannotStore(f"The database cannot be read: {fault}.") from fault


def _count(database: sqlite3.Connection, table: str) -> int:
    found = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608 - from the schema itself
    return int(found[0])


# -- PostgreSQL -----------------------------------------------------------------------------------


def _dump_postgresql(connection: BaseDatabaseWrapper, target: Path) -> Rows:
    program = tool("pg_dump")
    with _snapshot(connection) as snapshot:
        where, environment = address(connection)
        arguments = ["--format=custom", "--compress=0", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
        run([program, *arguments, f"--file={target}", f"--dbname={where}"], environment)
        return postgresql_rows(connection)


@contextlib.contextmanager
def _snapshot(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """What pg_dump and the counting see alike, whatever is written meanwhile."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        yield cursor.fetchone()[0]


def postgresql_rows(connection: BaseDatabaseWrapper) -> Rows:
    """The rows of each table of ours."""
    with connection.cursor() as cursor:
        rows: Rows = {}
        for name in sorted(connection.introspection.table_names(cursor)):
            cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(name)}")  # noqa: S608 - from the catalogue
            rows[name] = cursor.fetchone()[0]
        return rows


def load_postgresql(connection: BaseDatabaseWrapper, source: Path) -> Rows:
    """Fills the database, whose own tables go. All in one transaction of pg_restore's. Raises CannotStore."""
    program = tool("pg_restore")
    where, environment = address(connection)
    listed = run([program, "--list", str(source)], environment)
    wanted = source.with_suffix(".list")
    wanted.write_text("\n".join(filter(_without(_extensions(connection)), listed.splitlines())))
    _empty(connection)
    connection.close()
    run(
        [
            *(program, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"),
            *(f"--use-list={wanted}", f"--dbname={where}", str(source)),
        ],
        environment,
    )
    return postgresql_rows(connection)


def _extensions(connection: BaseDatabaseWrapper) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extname FROM pg_extension")
        return {name for (name,) in cursor.fetchall()}


def _without(extensions: set[str]) -> Callable[[str], bool]:
    """Leaves out the making of extensions that are there: only a superuser may be allowed to."""

    def is_wanted(line: str) -> bool:
        words = line.split()
        return not ("EXTENSION" in words[3:6] and any(name in words[4:] for name in extensions))

    return is_wanted


def _empty(connection: BaseDatabaseWrapper) -> None:
    """Tables and functions go, but for an extension's."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for name in connection.introspection.table_names(cursor):
            cursor.execute(f"DROP TABLE IF EXISTS {connection.ops.quote_name(name)} CASCADE")
        cursor.execute(OWN_FUNCTIONS)
        for (signature,) in cursor.fetchall():
            cursor.execute(f"DROP FUNCTION IF EXISTS {signature} CASCADE")


def list_dump(dump_file: Path) -> None:
    """Reads the dump's table of contents. Raises CannotStore for one that is none."""
    run([tool("pg_restore"), "--list", str(dump_file)], dict(os.environ))


def others(connection: Any) -> int:
    """How many other sessions use this PostgreSQL database. Those that are just ending get a moment."""
    connection.close()
    connection.close_pool()  # its spare ones would pass for somebody else's
    deadline = time.monotonic() + LEAVING
    with connection.wrap_database_errors, connection.Database.connect(**connection.get_connection_params()) as own:
        while True:
            count = int(own.execute(OTHERS).fetchone()[0])
            if not count or time.monotonic() > deadline:
                return count
            own.rollback()  # the statistics are a transaction's snapshot
            time.sleep(0.05)


def tool(name: str) -> str:
    """The path of one of PostgreSQL's client programs. Raises NoTool."""
    if found := shutil.which(name):
        return found
    raise NoTool(f"{name} is not in PATH; {TOOLS}")


def address(connection: BaseDatabaseWrapper) -> tuple[str, dict[str, str]]:
    """Where the database is, for a client program's argument, and an environment with the password: arguments show.

    Only what we set ourselves: our libpq may be newer than the program's, which refuses what it does not know."""
    from psycopg.conninfo import make_conninfo

    known = connection.settings_dict
    named = {"host": known["HOST"], "port": known["PORT"], "user": known["USER"], "dbname": known["NAME"]}
    options = {name: value for name, value in known["OPTIONS"].items() if name != "pool"}
    where = make_conninfo(**{name: value for name, value in {**named, **options}.items() if value != ""})
    password = {"PGPASSWORD": known["PASSWORD"]} if known["PASSWORD"] else {}
    return where, {**os.environ, **password}


def run(command: list[str], environment: dict[str, str]) -> str:
    """A client program to its end. Raises CannotStore with what it said."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[:500]
        advice = next((advice for sign, advice in ADVICE.items() if sign in said), "")
        kind = NoTool if advice == FITTING else CannotStore
        raise kind(f"{Path(command[0]).name} failed: {said}{advice}")
    return done.stdout
