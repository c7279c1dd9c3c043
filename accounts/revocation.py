"""Keys that have ended: whoever remembers one forgets it before the reply to the deletion leaves.

The memories of this process forget at once. Where there are other processes, a courier tells them and waits for their
word, but no longer than memory is trusted anyway; what stays unheard then is logged, and said in a header."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet

from django.db import transaction

logger = logging.getLogger(__name__)

TRUSTED_FOR = 1.0  # seconds that the database's word on a token holds; so long a deletion waits for other processes


class Memory(Protocol):
    """Whatever answers for tokens without asking the database."""

    def forget(self, tokens: Collection[int]) -> None:
        """Of any thread: these open nothing any more."""


Courier = Callable[[frozenset[int]], bool]

_memories: WeakSet[Memory] = WeakSet()
_couriers: list[Courier] = []
_changing = threading.Lock()  # of those two: they are made on the loop, and told from other threads
# Of the request at hand: filled when somebody did not hear in time. A list, because a context is copied on its way
# through tasks and threads, and what it holds is not.
_unheard: ContextVar[list[int] | None] = ContextVar("unheard", default=None)


def remembers(memory: Memory) -> None:
    """From now on it is told, as long as it lives."""
    with _changing:
        _memories.add(memory)


def sends(courier: Courier) -> None:
    """From now on this one tells other processes. It returns False when not all of them have heard in time."""
    with _changing:
        _couriers.append(courier)


def watched() -> list[int]:
    """A list that holds something once a deletion of this request was not heard by all."""
    unheard: list[int] = []
    _unheard.set(unheard)
    return unheard


def announce(tokens: Iterable[int]) -> None:
    """These tokens end with this transaction, once it is committed."""
    if ended := frozenset(tokens):
        transaction.on_commit(lambda: _tell(ended))


def forget(ended: frozenset[int]) -> None:
    """No memory of this process answers for these any more."""
    with _changing:
        memories = list(_memories)
    for memory in memories:
        memory.forget(ended)


def _tell(ended: frozenset[int]) -> None:
    forget(ended)
    with _changing:
        couriers = list(_couriers)
    if not [courier for courier in couriers if not courier(ended)]:  # each of them goes, whatever the one before says
        return
    logger.warning("Not every process said within %g s that it takes a revoked key no more.", TRUSTED_FOR)
    if (unheard := _unheard.get()) is not None:
        unheard.extend(ended)
