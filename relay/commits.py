"""Group commit: rows of one instant share one commit, and whoever is told has them on disk.

Rows gather while the last commit is under way, at least `GAP` apart, so that a busy
server pays for a few hundred commits a second however many rows it writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import DatabaseError, connection, transaction

logger = logging.getLogger(__name__)

GAP = 0.002  # seconds between the starts of two commits; a row waits for at most this and one commit
MOST_WAITING = 20_000  # rows; more means that the disk does not keep up, and asks are refused

Row = tuple[Any, ...]
Done = Callable[[Exception | None], None]


class NotSaved(Exception):
    """The database could not take the row."""


class GroupCommit:
    """One thread that writes, and a list of rows that wait for it. Bound to the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._rows: list[tuple[str, Row, Done]] = []
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._idle: asyncio.Future[None] | None = None

    def add(self, statement: str, row: Row, done: Done) -> None:
        """`done(None)` is called on the loop once the row is committed, `done(NotSaved)` when it cannot be.

        `statement` is SQL with one %s for each value; equal statements are executed together.
        """
        if len(self._rows) >= MOST_WAITING:
            self._loop.call_soon(done, NotSaved("the disk does not keep up"))
            return
        self._rows.append((statement, row, done))
        if not self._busy and self._timer is None:
            self._schedule()

    def _flush(self) -> None:
        self._timer = None
        if not self._rows:
            return
        self._busy, self._last = True, time.monotonic()
        batch, self._rows = self._rows, []
        work = self._loop.run_in_executor(self._thread, _commit, [(sql, row) for sql, row, _ in batch])
        work.add_done_callback(lambda future: self._committed(batch, future))

    def _committed(self, batch: list[tuple[str, Row, Done]], work: asyncio.Future[None]) -> None:
        self._busy = False
        fault = work.exception()
        if fault:
            logger.error("%d rows could not be saved: %s", len(batch), fault)
        error = NotSaved(str(fault)) if fault else None
        for _, _, done in batch:
            done(error)
        if self._rows:
            self._schedule()
        elif self._idle and not self._idle.done():
            self._idle.set_result(None)

    def _schedule(self) -> None:
        wait = self._last + GAP - time.monotonic()
        self._timer = self._loop.call_later(max(0.0, wait), self._flush)

    async def close(self) -> None:
        """Returns when every row that was added is committed or refused."""
        if self._rows or self._busy:
            self._idle = self._loop.create_future()
            await self._idle
        self._thread.shutdown(wait=False)


def _commit(rows: Sequence[tuple[str, Row]]) -> None:
    """All rows in one transaction, rows of one statement together, in the order of their first appearance."""
    by_statement: dict[str, list[Row]] = {}
    for statement, row in rows:
        by_statement.setdefault(statement, []).append(row)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            for statement, values in by_statement.items():
                cursor.executemany(statement, values)
    except DatabaseError:
        connection.close_if_unusable_or_obsolete()
        raise
