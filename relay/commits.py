"""Group commit: rows of one instant share one commit, and whoever is told has them on disk.

After a commit the next one waits for twice as long as it took, `GAP` at the most: the writing
thread is busy a third of the time however many rows come, and a row that comes alone does not wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, OperationalError, connection, transaction

from accounts.units import unit

logger = logging.getLogger(__name__)

GAP = 0.001  # seconds from the end of one commit to the start of the next, at the most
CHUNKS = (64, 16, 4, 1)  # rows in one statement: few texts, so that the database's statement cache knows them all
MOST_WAITING = 20_000  # rows; more means that the disk does not keep up, and asks are refused

Row = tuple[Any, ...]
Done = Callable[[Exception | None], None]
Fault = BaseException | None


@dataclass(frozen=True, slots=True)
class Insert:
    """Where rows go. `stamps` columns at the end are set to the moment of the commit."""

    table: str
    columns: tuple[str, ...]
    stamps: int = 1

    def sql(self, rows: int) -> str:
        """The statement for so many rows. Rows that exist already stay as they are."""
        return _sql(self, rows)


@lru_cache(maxsize=64)
def _sql(insert: Insert, rows: int) -> str:
    row = f"({', '.join(['%s'] * len(insert.columns))})"
    head = f"INSERT INTO {insert.table} ({', '.join(insert.columns)}) VALUES "  # noqa: S608 - names are ours
    return head + ", ".join([row] * rows) + " ON CONFLICT DO NOTHING"


class NotSaved(Exception):
    """The database could not take the row."""


class GroupCommit:
    """One thread that writes, and a list of rows that wait for it. Bound to the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._rows: list[tuple[Insert, Row, Done]] = []
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # the loop's time at which the next commit may start
        self._idle: asyncio.Future[None] | None = None

    def add(self, insert: Insert, row: Row, done: Done) -> None:
        """`done(None)` is called on the loop once the row is committed, `done(NotSaved)` when it cannot be.

        `row` has a value for each column but the stamps.
        """
        if len(self._rows) >= MOST_WAITING:
            self._loop.call_soon(done, NotSaved("the disk does not keep up"))
            return
        self._rows.append((insert, row, done))
        if self._timer is None and not self._busy:
            self._timer = self._loop.call_at(self._due, self._flush)

    def _flush(self) -> None:
        self._timer = None
        batch, self._rows = self._rows, []
        self._busy = True
        began = self._loop.time()
        work = self._loop.run_in_executor(self._thread, _commit, [(insert, row) for insert, row, _ in batch])
        work.add_done_callback(lambda future: self._committed(batch, began, future))

    def _committed(
        self, batch: list[tuple[Insert, Row, Done]], began: float, work: asyncio.Future[list[Fault]]
    ) -> None:
        self._busy = False
        now = self._loop.time()
        self._due = now + min(GAP, 2 * (now - began))
        fault = work.exception()
        faults = [fault] * len(batch) if fault else work.result()
        if refused := [found for found in faults if found]:
            logger.error("%d of %d rows could not be saved: %s", len(refused), len(batch), refused[0])
        for (_, _, done), found in zip(batch, faults, strict=True):
            done(NotSaved(str(found)) if found else None)
        if self._rows:
            self._timer = self._loop.call_at(self._due, self._flush)
        elif self._idle and not self._idle.done():
            self._idle.set_result(None)

    async def close(self) -> None:
        """Returns when every row that was added is committed or refused."""
        if self._rows or self._busy:
            self._idle = self._loop.create_future()
            await self._idle
        self._thread.shutdown(wait=False)


def _commit(rows: Sequence[tuple[Insert, Row]]) -> list[Fault]:
    """What kept each row from being saved. A row that is itself at fault (its user was deleted) spoils no other's."""
    try:
        _write_or_reconnect(rows)
    except (IntegrityError, DataError) as fault:
        if len(rows) == 1:
            return [fault]
        middle = len(rows) // 2
        return _commit(rows[:middle]) + _commit(rows[middle:])
    except DatabaseError as fault:
        return [fault] * len(rows)
    return [None] * len(rows)


def _write_or_reconnect(rows: Sequence[tuple[Insert, Row]]) -> None:
    """A server that was started anew ended the connection of before: that costs nobody an answer."""
    had_connection = connection.connection is not None
    try:
        _write(rows)
    except OperationalError:
        # Written twice is written once: rows that exist stay as they are.
        if not had_connection or connection.connection is not None:
            raise
        _write(rows)


@unit
def _write(rows: Sequence[tuple[Insert, Row]]) -> None:
    """All rows in one transaction and few statements: the interpreter's lock is free while a statement runs."""
    now = connection.ops.adapt_datetimefield_value(datetime.now(UTC))
    by_table: dict[Insert, list[Row]] = {}
    for insert, row in rows:
        by_table.setdefault(insert, []).append(row + (now,) * insert.stamps)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            for insert, values in by_table.items():
                for chunk in _chunks(values):
                    cursor.execute(insert.sql(len(chunk)), [value for row in chunk for value in row])
    except DatabaseError:
        connection.close_if_unusable_or_obsolete()
        raise


def _chunks(rows: list[Row]) -> list[list[Row]]:
    """The rows in pieces whose lengths are among CHUNKS."""
    pieces, start = [], 0
    while start < len(rows):
        size = next(size for size in CHUNKS if size <= len(rows) - start)
        pieces.append(rows[start : start + size])
        start += size
    return pieces
