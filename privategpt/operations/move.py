"""From SQLite to PostgreSQL: every row, compared by count and checksum, in one transaction.

Nothing of a move that fails stays, so it can be run again. Vectors come along; the words' index is made by the new
database's own, which the worker's neighbours follow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import sql

from privategpt.retrieval import indexes

SOURCE = "moved_from"  # the alias of the old database while it is moved
AT_ONCE = 200  # rows in one statement
Model = type[models.Model]
Say = Callable[[str], object]


class CannotMove(Exception):
    """Says why, and what to do. The new database is as it was."""


@dataclass(frozen=True, slots=True)
class Sum:
    """How many rows, and what they hold: the same in any order."""

    rows: int = 0
    checksum: int = 0

    def plus(self, row: bytes) -> Sum:
        digest = int.from_bytes(hashlib.sha256(row).digest(), "big")
        return Sum(self.rows + 1, (self.checksum + digest) % (1 << 256))


def open_source(path: Path) -> BaseDatabaseWrapper:
    """The SQLite file as a second database, only to be read. Raises CannotMove."""
    if not path.is_file():
        raise CannotMove(f"There is no database {path}.")
    connections.settings[SOURCE] = connections.configure_settings(
        {
            DEFAULT_DB_ALIAS: {},
            SOURCE: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"file:{path}?mode=ro",
                "OPTIONS": {"uri": True},
            },
        }
    )[SOURCE]
    return connections[SOURCE]


def move(*, replace: bool, say: Say) -> dict[str, int]:
    """Copies the old database into the default one. Returns the rows of each table. Raises CannotMove."""
    target = connections[DEFAULT_DB_ALIAS]
    try:
        if target.vendor != "postgresql":
            raise CannotMove(
                f"The database to move to is {target.vendor}; set DATABASE_URL to the PostgreSQL database."
            )
        _check_state(connections[SOURCE])
        call_command("migrate", verbosity=0, interactive=False)
        with transaction.atomic():
            _empty(replace=replace)
            return _copy_all(say)
    except DatabaseError as fault:
        raise CannotMove(f"The move failed, and nothing of it stays: {' '.join(str(fault).split())}") from fault


def _check_state(source: BaseDatabaseWrapper) -> None:
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(source)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise CannotMove("The old database lacks migrations: start the server on it once, stop it, and try again.")


def tables() -> list[Model]:
    """Every model with a table of its own, those between two models included."""
    found = apps.get_models(include_auto_created=True)
    return [model for model in found if model._meta.managed and not model._meta.proxy]


def _empty(*, replace: bool) -> None:
    """What a migration puts into a new database goes; what people put there only when it was said."""
    strangers = [model for model in tables() if model._meta.app_label not in {"contenttypes", "auth"}]
    filled = [model._meta.db_table for model in strangers if model._base_manager.exists()]
    if filled and not replace:
        raise CannotMove(f"The new database has rows already ({', '.join(filled[:3])} ...); `--replace` deletes them.")
    target = connections[DEFAULT_DB_ALIAS]
    names = ", ".join(target.ops.quote_name(model._meta.db_table) for model in tables())
    with target.cursor() as cursor:
        cursor.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")


def _copy_all(say: Say) -> dict[str, int]:
    counted = {model._meta.db_table: _copied(model, say) for model in tables()}
    _reset_sequences()
    indexes.index.cache_clear()  # whatever database it was for
    say(f"{indexes.index().rebuild()} passages are indexed")
    return counted


def _copied(model: Model, say: Say) -> int:
    for rows in _batches(model._base_manager.using(SOURCE).order_by("pk").iterator(chunk_size=AT_ONCE)):
        _insert(model, rows)
    before, after = _sum(model, SOURCE), _sum(model, DEFAULT_DB_ALIAS)
    _compare(model, before, after)
    if after.rows:
        say(f"{model._meta.db_table}: {after.rows} rows, the same on both sides")
    return after.rows


def _insert(model: Model, rows: list[Any]) -> None:
    """As they are: a field that sets itself, such as the time of the last change, does not do so here."""
    fields = [field for field in model._meta.local_concrete_fields if not getattr(field, "generated", False)]
    query = sql.InsertQuery(model)
    query.insert_values(fields, rows, raw=True)
    query.get_compiler(using=DEFAULT_DB_ALIAS).execute_sql(())


def _sum(model: Model, alias: str) -> Sum:
    names = [field.attname for field in model._meta.local_concrete_fields]
    return _total(model._base_manager.using(alias).order_by().values_list(*names).iterator(chunk_size=AT_ONCE))


def _total(rows: Iterator[tuple[Any, ...]]) -> Sum:
    found = Sum()
    for row in rows:
        found = found.plus(repr([_plain(value) for value in row]).encode("utf-8", "surrogatepass"))
    return found


def _plain(value: Any) -> Any:
    """A value as both databases give it."""
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return value.isoformat() if isinstance(value, datetime) else str(value) if value is not None else None


def _compare(model: Model, before: Sum, after: Sum) -> None:
    if before.rows != after.rows:
        raise CannotMove(f"{model._meta.db_table} has {before.rows} rows, and {after.rows} of them came over.")
    if before.checksum != after.checksum:
        raise CannotMove(f"The rows of {model._meta.db_table} did not come over as they were.")


def _reset_sequences() -> None:
    target = connections[DEFAULT_DB_ALIAS]
    with target.cursor() as cursor:
        for statement in target.ops.sequence_reset_sql(no_style(), tables()):
            cursor.execute(statement)


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(rows, AT_ONCE)):
        yield batch
