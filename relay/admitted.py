"""What a key has let in and is still under way. It ends with the key: asks of this process, and those of others that
wait here for an agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from relay.failures import KeyEnded

REMEMBERED = 10.0  # seconds; by then all has come that another process sent before it heard


class Admitted:
    """Part of one dispatcher. Tokens are known by their ids; None is the admin key, which never ends."""

    def __init__(self) -> None:
        self._under_way: dict[int, set[Stay]] = {}
        self._ended: dict[int, float] = {}  # monotonic, in the order of their ends

    @property
    def tokens(self) -> frozenset[int]:
        """Those with which anything is under way."""
        return frozenset(self._under_way)

    def by(self, token: int | None) -> Stay:
        """For `with`: the block ends with KeyEnded, wherever it waits, as soon as the token does."""
        return Stay(self, token)

    def end(self, tokens: Iterable[int]) -> None:
        """These let in nothing any more, and what they did let in ends."""
        now = time.monotonic()
        for token in tokens:
            self._ended.pop(token, None)
            self._ended[token] = now
            for stay in list(self._under_way.get(token, ())):
                stay.end()
        while self._ended and now - next(iter(self._ended.values())) > REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def has_ended(self, token: int | None) -> bool:
        """Whether that was said lately; for whoever cannot ask the database."""
        return token in self._ended

    def enter(self, token: int, stay: Stay) -> None:
        self._under_way.setdefault(token, set()).add(stay)

    def leave(self, token: int, stay: Stay) -> None:
        stays = self._under_way[token]
        stays.discard(stay)
        if not stays:
            del self._under_way[token]


class Stay:
    """One block of one task."""

    __slots__ = ("_admitted", "_before", "_has_ended", "_task", "_token")

    def __init__(self, admitted: Admitted, token: int | None) -> None:
        self._admitted, self._token = admitted, token
        self._task: asyncio.Task[object] | None = None
        self._before = 0  # cancellations that are not ours
        self._has_ended = False

    def __enter__(self) -> Self:
        if self._token is not None and (task := asyncio.current_task()):
            self._task, self._before = task, task.cancelling()
            self._admitted.enter(self._token, self)
        return self

    def end(self) -> None:
        """Cancels what the task waits for, as when its asker leaves: so nobody is asked any more for it."""
        if self._task and not self._has_ended:
            self._has_ended = True
            self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        if self._token is None or self._task is None:
            return
        self._admitted.leave(self._token, self)
        if self._has_ended and self._task.uncancel() <= self._before:  # else the asker has left as well
            raise KeyEnded from fault
