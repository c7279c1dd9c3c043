"""Has the processes of one house forget keys that have ended, and knows when all of them have said so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from accounts.revocation import TRUSTED_FOR
from relay.links import Forgotten, Revoked, seal

MOST_NAMED = 10_000  # tokens in one letter


@dataclass(eq=False, slots=True)
class _Call:
    """One letter to all, until each of them has answered it."""

    heard: set[str] = field(default_factory=set)  # of which processes
    expected: int | None = None  # as many as Redis has handed it to
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self) -> None:
        if self.expected is not None and len(self.heard) >= self.expected:
            self.done.set()


class Revocations:
    """The letters of one process and their answers."""

    def __init__(self, own: str, post: Callable[[bytes], None]) -> None:
        """`post` sends to all."""
        self._own, self._post = own, post
        self._number = 0
        self._calls: dict[int, _Call] = {}
        self._letters: dict[bytes, _Call] = {}

    async def tell(self, ended: frozenset[int]) -> bool:
        """False when some process has not answered in time; by then it has asked the database again by itself."""
        tokens = sorted(ended)
        parts = [tokens[start : start + MOST_NAMED] for start in range(0, len(tokens), MOST_NAMED)]
        return all(await asyncio.gather(*map(self._call, parts)))

    async def _call(self, tokens: list[int]) -> bool:
        self._number += 1
        number, call = self._number, _Call()
        letter = seal(Revoked(self._own, number, tokens))
        self._calls[number] = self._letters[letter] = call
        self._post(letter)
        try:
            async with asyncio.timeout(TRUSTED_FOR):
                await call.done.wait()
        except TimeoutError:
            return False
        finally:
            del self._calls[number], self._letters[letter]
        return True

    def delivered(self, letter: bytes, others: int) -> None:
        """So many other processes got it."""
        if call := self._letters.get(letter):
            call.expected = others
            call.look()

    def answered(self, answer: Forgotten) -> None:
        """Another process has forgotten."""
        if call := self._calls.get(answer.number):
            call.heard.add(answer.node)
            call.look()
