"""Turns at the database's one pen: SQLite has a single writer, and who finds it busy sleeps in ever longer steps.

The threads of one process wait here instead and are woken at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

_turn = threading.Lock()
LONGEST_PAUSE = 0.08  # seconds


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


def give_way(took: float) -> None:
    """Between two steps of a long work, for as long as the last one took: who polls for the pen finds it free."""
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        time.sleep(min(took, LONGEST_PAUSE))
