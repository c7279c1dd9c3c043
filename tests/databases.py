"""Databases of servers that tests start: a file in the data folder, or for each folder one of the leg's PostgreSQL."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests import leg
from tests.patience import PATIENCE

FILE = "switchboard.sqlite3"
_known: set[str] = set()


def settings(data: Path) -> dict[str, str]:
    """What a server in this data folder has to be told about its database."""
    if leg.SERVER is None:
        return {}
    name = _name(data)
    if name not in _known:
        _create(name)
    return {"DATABASE_URL": leg.SERVER.url(name)}


def clone(source: Path, target: Path) -> None:
    """The database of one data folder for another one, unless that has its own; nobody may be using the first."""
    if leg.SERVER is None:
        if not (target / FILE).exists():
            shutil.copy(source / FILE, target)
    elif _name(target) not in _known:
        _create(_name(target), _name(source))


def sql(data: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """One statement, straight into the database as another process of the house would; `?` stands for a value."""
    with connected(data) as connection:
        return execute(connection, statement, *values)


def execute(connection: Any, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """One statement on a connection of `connected`."""
    if leg.SERVER is not None:
        statement = statement.replace("%", "%%").replace("?", "%s") if values else statement
        cursor = connection.execute(statement.encode(), values or None)
        return list(cursor.fetchall()) if cursor.description else []
    return list(connection.execute(statement, values).fetchall())


@contextmanager
def connected(data: Path) -> Iterator[Any]:
    """A connection that commits each statement."""
    if leg.SERVER is not None:
        with psycopg.connect(leg.SERVER.url(_name(data)), autocommit=True) as connection:
            yield connection
        return
    with closing(sqlite3.connect(data / FILE, timeout=PATIENCE, isolation_level=None)) as file:
        yield file


def _name(data: Path) -> str:
    return "data_" + hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:20]


def _create(name: str, template: str = "template0") -> None:
    assert leg.SERVER is not None
    leg.SERVER.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    _known.add(name)


@contextmanager
def frozen(data: Path, pid: int) -> Iterator[None]:
    """The process stands still until the end of the block; not in the middle of a transaction that others wait for."""
    os.kill(pid, signal.SIGSTOP)
    while not _is_free(data):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _is_free(data: Path) -> bool:
    """Whether somebody could write to SQLite's file now. In PostgreSQL nobody waits for all of it."""
    if leg.SERVER is not None:
        return True
    with closing(sqlite3.connect(data / FILE, timeout=0, isolation_level=None)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


@contextmanager
def locked(data: Path, table: str) -> Iterator[None]:
    """Nobody else can write to the table until the end of the block; in SQLite to no table."""
    with connected(data) as connection:
        if leg.SERVER is not None:
            execute(connection, "BEGIN")
            execute(connection, f"LOCK TABLE {table} IN SHARE MODE")
        else:
            execute(connection, "BEGIN IMMEDIATE")
        yield
        execute(connection, "ROLLBACK")


REFUSING = """
CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'disk is full' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION refuses();
"""


@contextmanager
def refusing(data: Path, table: str) -> Iterator[None]:
    """As if the disk were full: no row goes into the table until the end of the block."""
    raising = f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    sql(data, raising if leg.SERVER is None else REFUSING.format(table=table))
    try:
        yield
    finally:
        sql(data, "DROP TRIGGER full_disk" if leg.SERVER is None else "DROP FUNCTION refuses CASCADE")


def dump(data: Path) -> str:
    """Every row, each on a line of its own with the name of its table."""
    with connected(data) as connection:
        if leg.SERVER is None:
            return "\n".join(connection.iterdump())
        tables = execute(connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [(name, row) for (name,) in tables for (row,) in execute(connection, f"SELECT t::text FROM {name} AS t")]  # noqa: S608
        return "\n".join(f"{name} {row!r}" for name, row in rows)
