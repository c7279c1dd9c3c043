"""The same key, user and body give the same answer, without asking an agent again (contract 1, Idempotency-Key)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from channels.db import database_sync_to_async

from relay.commits import Done, GroupCommit, Insert
from relay.models import ANSWER_KEPT, StoredAnswer

INSERT = Insert(StoredAnswer._meta.db_table, ("owner", "key", "body_digest", "body", "created_at"))
Place = tuple[str, bytes]


class OtherBody(Exception):
    """The key was used with another body."""


class Repeats:
    """Answers under way and answers kept, by owner and key."""

    def __init__(self, commits: GroupCommit) -> None:
        self._commits = commits
        self._under_way: dict[Place, tuple[bytes, asyncio.Future[bytes]]] = {}

    async def once(self, owner: str, key: str, body: bytes, produce: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer under this key: kept, under way, or made now by `produce` and committed before it is given.

        Raises OtherBody, and whatever `produce` raises; failures are not kept, so a repeat tries again.
        """
        place, wanted = self.place(owner, key), hashlib.sha256(body).digest()
        while running := self._under_way.get(place):
            if running[0] != wanted:
                raise OtherBody
            await asyncio.wait([running[1]])
            if not running[1].cancelled() and running[1].exception() is None:
                return running[1].result()
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._under_way[place] = (wanted, future)
        try:
            kept = await database_sync_to_async(_kept, thread_sensitive=False)(place)
            if kept and kept[0] != wanted:
                raise OtherBody
            answer = kept[1] if kept else await self._made(place, wanted, await produce())
            future.set_result(answer)
            return answer
        finally:
            del self._under_way[place]
            future.cancel()

    async def _made(self, place: Place, wanted: bytes, answer: bytes) -> bytes:
        """The answer that is kept now: this one, unless a late one, or another process, was quicker."""
        await self._keep(place, wanted, answer)
        kept = await database_sync_to_async(_kept, thread_sensitive=False)(place)
        return kept[1] if kept and kept[0] == wanted else answer

    def late(self, owner: str, key: str, body: bytes, answer: bytes) -> None:
        """Keeps an answer that came after its asker had gone: the repeat will get it."""
        self._add(self.place(owner, key), hashlib.sha256(body).digest(), answer, lambda _: None)

    @staticmethod
    def place(owner: str, key: str) -> Place:
        return owner, hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()

    async def _keep(self, place: Place, wanted: bytes, answer: bytes) -> None:
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(fault: Exception | None) -> None:
            if committed.done():
                return
            if fault:
                committed.set_exception(fault)
            else:
                committed.set_result(None)

        self._add(place, wanted, answer, done)
        await committed

    def _add(self, place: Place, wanted: bytes, answer: bytes, done: Done) -> None:
        self._commits.add(INSERT, (place[0], place[1], wanted, answer), done)


def _kept(place: Place) -> tuple[bytes, bytes] | None:
    row = StoredAnswer.objects.filter(owner=place[0], key=place[1]).first()
    if row is None:
        return None
    if row.created_at <= datetime.now(UTC) - ANSWER_KEPT:
        row.delete()  # at once, or it would be in the way of the new answer
        return None
    return bytes(row.body_digest), bytes(row.body)
