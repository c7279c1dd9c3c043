"""What each transaction of this process writes, and somebody else who writes whenever one has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from accounts.models import AuditEntry

WRITES = ("INSERT", "UPDATE", "DELETE")
BYSTANDER = "bystander"


class Ended(Exception):
    """The process is thought to end here."""


class Transactions:
    """Rows by transaction, in order, of whichever thread; a statement outside of any is one of its own."""

    def __init__(self, last: int, look: Callable[[], object]) -> None:
        self.rows: list[int] = []
        self.seen_by: list[object] = []  # what the bystander saw each time
        self.bystander = 0
        self._look = look
        self._last = last  # after so many transactions the process ends
        self._local = threading.local()

    def seen(self, execute: Callable[[], Any], sql: str, cursor: Any) -> Any:
        """One statement."""
        if not str(sql).lstrip().upper().startswith(WRITES) or threading.current_thread().name == BYSTANDER:
            return execute()
        if len(self.rows) >= self._last:
            raise Ended
        result = execute()
        count = max(cursor.rowcount, 0)
        if not connection.in_atomic_block:
            self._note(count)
        elif getattr(self._local, "rows", None) is None:
            self._local.rows = [count]
            transaction.on_commit(self._commit)
        else:
            self._local.rows.append(count)
        return result

    def _commit(self) -> None:
        rows, self._local.rows = self._local.rows, None
        self._note(sum(rows))

    def _note(self, rows: int) -> None:
        self.rows.append(rows)
        writer = threading.Thread(target=self._write, name=BYSTANDER)
        writer.start()
        writer.join()

    def _write(self) -> None:
        """On a connection of its own, as another request would."""
        try:
            AuditEntry.objects.create(actor_name=BYSTANDER, action="write", what="between two steps")
            self.bystander += 1
            self.seen_by.append(self._look())
        finally:
            connection.close()


@contextmanager
def recorded(*, last: int = 10**9, look: Callable[[], object] = lambda: None) -> Iterator[Transactions]:
    """Django's own wrappers are of one connection; a request may be served in any thread."""
    found = Transactions(last, look)
    execute = CursorWrapper._execute_with_wrappers  # type: ignore[attr-defined]

    def watched(self: Any, sql: str, params: Any, many: bool, executor: Any) -> Any:
        return found.seen(lambda: execute(self, sql, params, many, executor), sql, self)

    with mock.patch.object(CursorWrapper, "_execute_with_wrappers", watched):
        yield found
