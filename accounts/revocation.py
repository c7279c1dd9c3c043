"""Keys that have ended: whoever remembers one forgets it before the reply to the deletion leaves.

The memories of this process forget at once. Where there are other processes, couriers tell them, and the reply waits
for their word: once, whatever its request has ended, and no longer than memory is trusted anyway. What stays unheard
then is logged, and said in a header."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet

from django.db import transaction

logger = logging.getLogger(__name__)

TRUSTED_FOR = 1.0  # seconds that the database's word on a token holds; so long a reply waits for other processes


class Memory(Protocol):
    """Whatever answers for tokens without asking the database."""

    def forget(self, tokens: Collection[int]) -> None:
        """Of any thread: these open nothing any more."""


Call = Future[bool]  # False: not every other process has said in time that it forgot
Courier = Callable[[frozenset[int]], Call | None]

_memories: WeakSet[Memory] = WeakSet()
_couriers: list[Courier] = []
_changing = threading.Lock()  # of those two: they are made on the loop, and told from other threads
# Of the request at hand. A list, because a context is copied on its way through tasks and threads, and what it holds is
# not.
_calls: ContextVar[list[Call] | None] = ContextVar("calls", default=None)


def remembers(memory: Memory) -> None:
    """From now on it is told, as long as it lives."""
    with _changing:
        _memories.add(memory)


def sends(courier: Courier) -> None:
    """From now on this one tells other processes, without waiting; None when there is nobody to be told."""
    with _changing:
        _couriers.append(courier)


def watched() -> list[Call]:
    """A list that takes up what this request tells other processes: who replies to it asks `are_heard`."""
    calls: list[Call] = []
    _calls.set(calls)
    return calls


async def are_heard(calls: Collection[Call]) -> bool:
    """Waits, and says whether all other processes forgot in time."""
    if not calls:
        return True
    done, late = await asyncio.wait([asyncio.wrap_future(call) for call in calls], timeout=TRUSTED_FOR)
    if not late and all(not call.cancelled() and not call.exception() and call.result() for call in done):
        return True
    logger.warning("Not every process said within %g s that it takes a revoked key no more.", TRUSTED_FOR)
    return False


def announce(tokens: Iterable[int]) -> None:
    """These tokens end with this transaction, once it is committed."""
    if ended := frozenset(tokens):
        transaction.on_commit(lambda: _tell(ended))


def change(tokens: Iterable[int]) -> None:
    """These go on under other terms: once this is committed, whoever remembers one here asks the database anew.

    Other processes do within `TRUSTED_FOR`, as they always do.
    """
    changed = frozenset(tokens)
    transaction.on_commit(lambda: forget(changed))


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
    told = [call for courier in couriers if (call := courier(ended))]
    if (calls := _calls.get()) is not None:
        calls.extend(told)
