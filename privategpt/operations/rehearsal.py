"""An upgrade on a copy first: migrations run there, no row is lost, and stored questions still find their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from accounts.models import User
from privategpt.models import Check, Source, SourceQuerySet
from privategpt.operations import stores
from privategpt.operations.backup import stamp
from privategpt.retrieval import indexes, search
from privategpt.serving.workplace import workplace

FOUND_WITHIN = 10  # sources: what an answer may rest on


class NoCheck(Exception):
    """The question cannot be stored. Says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a stored question finds its source now; None when it does not."""

    question: str
    title: str
    before: int
    now: int | None


@dataclass(slots=True)
class Report:
    """What a rehearsal found."""

    migrations: list[str] = field(default_factory=list)  # that ran on the copy
    lost: dict[str, tuple[int, int]] = field(default_factory=dict)  # tables with fewer rows than before
    outcomes: list[Outcome] = field(default_factory=list)
    note: str = ""  # why the search went by words alone

    @property
    def is_good(self) -> bool:
        return not self.lost and all(outcome.now for outcome in self.outcomes)


# -- stored questions -----------------------------------------------------------------------------


def add(question: str, source_id: str, email: str = "") -> Check:
    """Stores a question that finds its source today. Raises NoCheck."""
    user = User.objects.filter(email=email).first() if email else None
    if email and user is None:
        raise NoCheck(f"There is no user {email}.")
    try:
        source = _visible(user).filter(pk=source_id).first()
    except (ValidationError, ValueError):
        source = None
    if source is None:
        raise NoCheck(f"There is no source {source_id}" + (f" that {email} may read." if email else "."))
    place, _ = _place(question, source.pk, user)
    if place is None:
        raise NoCheck(f"The question does not find {source.title!r} among the first {FOUND_WITHIN} sources even now.")
    return Check.objects.create(question=question, source=source, user=user, place=place)


def _visible(user: User | None) -> SourceQuerySet:
    return Source.objects.visible_to(user) if user else Source.objects.kept()


def _place(question: str, source: UUID, user: User | None) -> tuple[int | None, str]:
    """Which of the sources found it is, from 1 on; and why the search went by words alone."""
    found = search.search(question, _visible(user), FOUND_WITHIN)
    return found.sources.index(source) + 1 if source in found.sources else None, found.note


# -- the rehearsal --------------------------------------------------------------------------------


def rehearse() -> Report:
    """Runs pending migrations on a copy and asks the copy. Raises CannotStore, and whatever a migration raises."""
    report = Report()
    with _copy() as before:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        report.migrations = [str(migration) for migration, _ in plan]
        call_command("migrate", verbosity=0, interactive=False)
        after = _rows(connections[DEFAULT_DB_ALIAS])
        report.lost = {
            name: (count, after[name]) for name, count in before.items() if name in after and after[name] < count
        }
        for check in Check.objects.select_related("source", "user"):
            place, report.note = _place(check.question, check.source_id, check.user)
            report.outcomes.append(Outcome(check.question, check.source.title, check.place, place))
    return report


@contextmanager
def _copy() -> Iterator[dict[str, int]]:
    """Within the block the default database of this process is a copy; its rows by table."""
    real = connections[DEFAULT_DB_ALIAS]
    make = _copy_sqlite if real.vendor == "sqlite" else _copy_postgresql
    with workplace(Path(settings.DATA_DIR)) as folder:
        described, rows, drop = make(real, folder)
        try:
            with _default(described):
                yield rows
        finally:
            drop()


@contextmanager
def _default(described: dict[str, Any]) -> Iterator[None]:
    """Another database as this thread's default one."""
    real = connections[DEFAULT_DB_ALIAS]
    other = type(real)({**real.settings_dict, **described}, DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = other
    _forget()
    try:
        yield
    finally:
        other.close()
        connections[DEFAULT_DB_ALIAS] = real
        _forget()


def _forget() -> None:
    """What this process knows of the index is another database's."""
    indexes.index.cache_clear()
    search.searcher.cache_clear()


Copied = tuple[dict[str, Any], dict[str, int], Callable[[], object]]


def _copy_sqlite(real: BaseDatabaseWrapper, folder: Path) -> Copied:
    rows = stores.dump(real, folder / "copy.sqlite3")
    return {"NAME": str(folder / "copy.sqlite3")}, rows, lambda: None


def _copy_postgresql(real: BaseDatabaseWrapper, folder: Path) -> Copied:
    """A database beside the real one; needs the right to make one."""
    rows = stores.dump(real, folder / "copy.dump")
    prefix = f"{real.settings_dict['NAME']}_rehearsal_"
    name = f"{prefix}{stamp()[:15].lower()}"
    _drop_forgotten(real, prefix)
    quoted = real.ops.quote_name(name)
    options = {key: value for key, value in real.settings_dict["OPTIONS"].items() if key != "pool"}
    described = {"NAME": name, "OPTIONS": options}
    with real.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {quoted}")

    def drop() -> None:
        with real.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")

    try:
        with _default(described):
            stores.load_postgresql(connections[DEFAULT_DB_ALIAS], folder / "copy.dump")
    except BaseException:
        drop()
        raise
    return described, rows, drop


def _drop_forgotten(real: BaseDatabaseWrapper, prefix: str) -> None:
    """Copies of rehearsals that were killed more than a day ago."""
    yesterday = f"{prefix}{datetime.now(UTC) - timedelta(days=1):%Y%m%dt%H%M%S}"
    with real.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix])
        for (name,) in cursor.fetchall():
            if len(name) == len(yesterday) and name < yesterday:
                cursor.execute(f"DROP DATABASE IF EXISTS {real.ops.quote_name(name)} WITH (FORCE)")


def _rows(connection: BaseDatabaseWrapper) -> dict[str, int]:
    if connection.vendor == "postgresql":
        return stores.postgresql_rows(connection)
    return stores.sqlite_rows(Path(str(connection.settings_dict["NAME"])))
