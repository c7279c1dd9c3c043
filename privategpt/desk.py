"""The answers that this process is making, and what it makes them with. One desk for each event loop."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import TYPE_CHECKING
from uuid import UUID

from channels.db import database_sync_to_async
from django.conf import settings

from privategpt.generation import Asked, Generation, Means
from privategpt.llm.registry import Backends
from privategpt.models import LOST, Message
from privategpt.saving import Saver
from privategpt.waking import Waker

if TYPE_CHECKING:
    from privategpt.follow import Watched

logger = logging.getLogger(__name__)

HEARTBEAT = 3.0  # seconds; a fifth of the lease
LOOK = 1.0  # seconds between two looks at the rows of answers under way: stopped elsewhere, deleted, owner retired
SEARCHING = 4  # threads
OWNER_GONE = "The account of this chat's owner was closed."
FULL = "The server has as many questions to answer as it can take; ask again in a while."

State = Message.State
_desk: Desk | None = None


class Desk:
    """Everything that answers share."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.running: dict[UUID, Generation] = {}
        self.count: Counter[str] = Counter()  # of each user
        self.readers: Counter[str] = Counter()  # open streams of each user
        self.waker = Waker(self._changed)
        self.means = Means(
            backends=Backends(settings.LLM_BACKENDS, settings.LLM_BACKEND),
            saver=Saver(self.waker.tell),
            searching=ThreadPoolExecutor(SEARCHING, thread_name_prefix="search"),
            slots=asyncio.Semaphore(settings.ANSWERS_AT_ONCE),
            count=lambda: len(self.running),
        )
        self.errands: set[asyncio.Task[None]] = set()  # held here, for the loop does not hold its tasks
        self.watched: dict[UUID, Watched] = {}  # answers of other processes that somebody here follows
        self._watch: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()

    def _changed(self, pk: UUID) -> None:
        """Another process has written to this answer's row."""
        if watched := self.watched.get(pk):
            watched.look_soon()
        elif pk in self.running:
            self._look_now.set()

    @property
    def is_full(self) -> bool:
        return len(self.running) >= settings.ANSWERS_AT_ONCE + settings.ANSWERS_WAITING

    def start(self, asked: Asked) -> Generation:
        """Begins to answer; a question that is being answered already is not answered twice."""
        pk = asked.message.pk
        if pk in self.running:
            return self.running[pk]
        generation = self.running[pk] = Generation(asked, self.means, self._ended, self._look_now.set)
        self.count[asked.owner] += 1
        if len(self.running) > settings.ANSWERS_AT_ONCE + settings.ANSWERS_WAITING:
            generation.stop(State.FAILED, FULL)
        if self._watch is None or self._watch.done():
            self._watch = self.loop.create_task(self._look_after(), context=Context())  # of no request
        return generation

    def _ended(self, generation: Generation) -> None:
        if self.running.pop(generation.message.pk, None):
            self.count[generation.asked.owner] -= 1
            if not self.count[generation.asked.owner]:
                del self.count[generation.asked.owner]

    async def _look_after(self) -> None:
        """While anything is under way: renews the claims, and notices what happened to the rows."""
        beat = self.loop.time()
        while self.running:
            await self._pause()
            if self.loop.time() - beat >= HEARTBEAT:
                beat = self.loop.time()
                for generation in self.running.values():
                    generation.renew()
            try:
                await self._look()
            except Exception:  # the database may be away: whoever stops an answer then is heard when it is back
                logger.exception("The rows of the answers under way could not be read; they are looked at again")
        self._watch = None

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK):
                await self._look_now.wait()
        except TimeoutError:
            return
        self._look_now.clear()

    async def _look(self) -> None:
        looked_at = list(self.running.values())
        rows, forbidden = await database_sync_to_async(_looked, thread_sensitive=False)(looked_at)
        for generation in looked_at:
            found = rows.get(generation.message.pk)
            if found is None:
                generation.discard("This chat was deleted.")
                continue
            state, error, owner_is_active = found
            if not owner_is_active:
                generation.stop(State.FAILED, OWNER_GONE)
            elif generation.message.pk in forbidden:
                generation.forbid()
            elif state == State.STOPPED:
                generation.stop()
            elif state == State.FAILED and error != LOST:
                generation.discard(error)

    async def close(self) -> None:
        """Ends what is under way; what was written so far is kept. Followers of other processes' answers are let go."""
        for watched in self.watched.values():
            watched.growing.leave()
        for generation in list(self.running.values()):
            generation.stop(State.FAILED, "The server was stopped before the answer was complete; ask again.")
        tasks = [generation.task for generation in self.running.values()]
        tasks += self.errands
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.means.saver.close()
        await self.waker.close()
        if self._watch:
            self._watch.cancel()
        await self.means.backends.aclose()
        self.means.searching.shutdown(wait=False)


def _looked(generations: Sequence[Generation]) -> tuple[dict[UUID, tuple[str, str, bool]], set[UUID]]:
    """What the rows say, and which answers rest on what their askers may not read any more."""
    rows = _rows([each.message.pk for each in generations])
    return rows, {each.message.pk for each in generations if not each.is_allowed()}


def _rows(pks: list[UUID]) -> dict[UUID, tuple[str, str, bool]]:
    rows = Message.objects.filter(pk__in=pks).order_by()
    found = rows.values_list("pk", "state", "error", "chat__owner__is_active")
    return {pk: (state, error, is_active) for pk, state, error, is_active in found}


def current() -> Desk:
    """The desk of the running loop."""
    global _desk
    if _desk is None or _desk.loop is not asyncio.get_running_loop():
        _desk = Desk()
    return _desk


def peek() -> Desk | None:
    """The desk if there is one; other threads may read it."""
    return _desk


async def close() -> None:
    """Returns when everything is saved; the next `current` begins anew. A loop that is gone took its desk along."""
    global _desk
    desk, _desk = _desk, None
    if desk and desk.loop is asyncio.get_running_loop():
        await desk.close()
