"""An answer's text from any offset on, in any process: from memory where it is being made, else from its row."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError
from django.db.models import QuerySet
from django.db.models.functions import Substr

from privategpt import claims, desk, withheld
from privategpt.generation import citation_data
from privategpt.growing import Growing, Outcome
from privategpt.llm.base import InLine
from privategpt.models import Citation, Message, Source, SourceQuerySet

POLL = 0.2  # seconds between two looks at the row of an answer that another process makes
POLL_WHEN_TOLD = 0.5  # the same where the other process says that there is something to see
MOST_WATCHED = 1_000  # such answers at once

UNDER_WAY = {Message.State.WAITING, Message.State.ANSWERING}


class TooManyFollowers(Exception):
    """This process follows as many answers of other processes as it can."""


class LetGo(Exception):
    """This process goes, and the answer is another's: it goes on, and can be followed elsewhere."""


@dataclass(frozen=True, slots=True)
class Event:
    """`place`: an `InLine`, while no text has come. `sources`: a list of citations, once, before all text.
    `delta`: text, which ends at `offset`. `done`: {"state", "error"}, last."""

    kind: Literal["place", "sources", "delta", "done"]
    offset: int
    data: Any


class TooManyStreams(TooManyFollowers):
    """This reader follows as many answers at once as one person may."""


def admit(reader: str) -> None:
    """Raises TooManyStreams when one more is too many for this reader."""
    if desk.current().readers[reader] >= settings.PER_USER["streams"]:
        raise TooManyStreams("You follow as many answers at once as one person may; close some of their pages.")


@contextlib.contextmanager
def reading(reader: str) -> Iterator[None]:
    """While a stream of theirs is open."""
    readers = desk.current().readers
    readers[reader] += 1
    try:
        yield
    finally:
        readers[reader] -= 1
        if not readers[reader]:
            del readers[reader]


async def events(message_id: UUID, after: int = 0) -> AsyncIterator[Event]:
    """What there is behind `after` characters and all that still comes; ends after `done`, or without it when this
    process goes and the answer is another's.

    Sources are told to those who begin at the beginning. Raises Message.DoesNotExist, TooManyFollowers.
    """
    async with _growing(message_id) as growing:
        sent, has_sources = after, after > 0
        place = None
        while True:
            changed = growing.next_change()
            if growing.place != place and not growing.length:
                place = growing.place
                yield Event("place", 0, place)
            if not has_sources and growing.sources is not None:
                has_sources = True
                yield Event("sources", 0, growing.sources)
            if growing.is_left:
                return
            if not (has_sources or growing.outcome):
                await changed.wait()
            elif growing.length > sent:
                text, sent = growing.text[sent:], growing.length
                yield Event("delta", sent, text)
            elif growing.outcome:
                yield Event(
                    "done", growing.length, {"state": str(growing.outcome.state), "error": growing.outcome.error}
                )
                return
            else:
                await changed.wait()


def basis(message: Message, visible: SourceQuerySet) -> withheld.Basis:
    """What it rests on, also while it is made here and its row is behind. For threads."""
    here = desk.peek()
    if here and (generation := here.running.get(message.pk)):
        message.trace = {**message.trace, "earlier": generation.trace.get("earlier", ())}
    return withheld.basis(message, visible)


async def ended(message_id: UUID) -> Message:
    """Waits for the end; the message as it is then. Raises Message.DoesNotExist, LetGo."""
    generation = desk.current().running.get(message_id)
    if generation is None:
        async with _growing(message_id) as growing:
            await _end_of(growing)
        return await database_sync_to_async(_message, thread_sensitive=False)(message_id)
    await _end_of(generation.growing)
    return generation.message


def _message(message_id: UUID) -> Message:
    return Message.objects.select_related("chat").get(pk=message_id)


async def _end_of(growing: Growing) -> None:
    while True:
        changed = growing.next_change()
        if growing.outcome:
            return
        if growing.is_left:
            raise LetGo
        await changed.wait()


@asynccontextmanager
async def _growing(message_id: UUID) -> AsyncIterator[Growing]:
    here = desk.current()
    if generation := here.running.get(message_id):
        yield generation.growing
        return
    watched = here.watched.get(message_id)
    if watched is None:
        if len(here.watched) >= MOST_WATCHED:
            raise TooManyFollowers
        watched = here.watched[message_id] = Watched(message_id)
    watched.followers += 1
    try:
        await watched.first_look()
        yield watched.growing
    finally:
        watched.followers -= 1
        if not watched.followers:
            watched.close()
            here.watched.pop(message_id, None)


class Watched:
    """The row of an answer, looked at again and again for all its followers in this process together."""

    def __init__(self, message_id: UUID) -> None:
        self._pk = message_id
        self.growing = Growing()
        self.followers = 0
        self._pause = POLL if desk.current().waker.is_alone else POLL_WHEN_TOLD
        self._soon = asyncio.Event()
        self._task = asyncio.create_task(self._watch())
        self._looked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def first_look(self) -> None:
        """Returns when the row was read once. Raises Message.DoesNotExist."""
        await asyncio.shield(self._looked)

    def look_soon(self) -> None:
        """There is something new."""
        self._soon.set()

    def close(self) -> None:
        self._task.cancel()
        self._looked.cancel()

    async def _watch(self) -> None:
        try:
            while not self.growing.outcome:
                # Whoever begins to follow is told that the database is away; who does already waits until it is back.
                waited_for = (DatabaseError,) if self._looked.done() else ()
                with contextlib.suppress(*waited_for):
                    self._take(await database_sync_to_async(_look, thread_sensitive=False)(self._pk, self.growing))
                if not self.growing.outcome:
                    await self._rest()
        except Exception as fault:
            if self._looked.done():
                self.growing.end(Outcome(Message.State.FAILED, "This answer cannot be followed any more."))
            else:
                self._looked.set_exception(fault)

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause):
                await self._soon.wait()
        self._soon.clear()

    def _take(self, look: _Look) -> None:
        if look.sources is not None:
            self.growing.show_sources(look.sources)
        if look.place != self.growing.place and (look.place or self.growing.place):
            self.growing.stand(look.place or InLine(0))
        self.growing.append(look.text)
        if look.outcome:
            self.growing.end(look.outcome)
        if not self._looked.done():
            self._looked.set_result(None)


@dataclass(frozen=True, slots=True)
class _Look:
    text: str
    sources: list[dict[str, Any]] | None
    place: InLine | None
    outcome: Outcome | None


def _look(pk: UUID, growing: Growing) -> _Look:
    """What the row has beyond what is known. A lost answer is ended by whoever looks."""
    claims.fail_lost()
    if Message.objects.filter(pk=pk).lost().exists():  # whoever only reads writes nothing
        Message.objects.filter(pk=pk).lost().fail()
    rows: QuerySet[Any] = Message.objects.filter(pk=pk).annotate(more=Substr("answer", growing.length + 1))
    message = rows.select_related("chat__owner").defer("answer").get()
    is_over = message.state not in UNDER_WAY
    visible = Source.objects.visible_to(message.chat.owner)
    wants_sources = growing.sources is None and (is_over or message.state == Message.State.ANSWERING)
    sources = _sources(pk, visible) if wants_sources else None
    place = InLine(**message.trace["line"]) if "line" in message.trace and not is_over else None
    outcome = Outcome(message.state, message.error) if is_over else None
    return _Look(_more(message, growing, visible), sources, place, outcome)


def _more(message: Any, growing: Growing, visible: SourceQuerySet) -> str:
    """The text that is new, as far as the chat's owner may read it still."""
    basis = withheld.basis(message, visible)
    if basis.is_whole:
        return message.more or ""
    return withheld.readable(message.more, basis) if message.state not in UNDER_WAY and not growing.length else ""


def _sources(pk: UUID, visible: SourceQuerySet) -> list[dict[str, Any]]:
    """Those that the chat's owner may read still."""
    rows = Citation.objects.filter(message=pk, source__in=visible.values("pk"))
    rows = rows.select_related("source").defer("source__content").order_by("number")
    return [citation_data(row) | {"title": row.source.title} for row in rows]
