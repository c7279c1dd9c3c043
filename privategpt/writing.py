"""Turns at the database's one pen: SQLite has a single writer, and who finds it busy sleeps in ever longer steps.

The threads of one process wait here instead and are woken at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

_turn = threading.Lock()


@contextmanager
def transaction_in_turn() -> Iterator[None]:
    """A transaction that waits for this process's other ones without polling.

    Inside another transaction it takes no turn: who holds the pen must not wait for who waits for it.
    PostgreSQL has many pens, and locks rows.
    """
    if connection.in_atomic_block or connection.vendor != "sqlite":
        with transaction.atomic():
            yield
        return
    with _turn, transaction.atomic():
        yield
