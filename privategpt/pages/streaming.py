"""An answer as it grows, as server-sent events: its place in line, its blocks as they are written, and a word now and
then that the line is alive."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.contrib.auth.decorators import login_required
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from accounts.numerals import whole
from accounts.sessions import Session
from privategpt import follow
from privategpt.blocks import Blocks, Piece
from privategpt.models import Chat, Message, Source
from privategpt.pages.chats import user_of
from privategpt.pages.exchanges import Exchange, entry, exchange_of
from privategpt.pages.growing import in_line, place_sentence
from privategpt.pages.pacing import DRAWING, Pace, paced
from privategpt.pages.sentences import in_readers_language
from privategpt.rendering import Cited
from privategpt.streams import let_thread_go

# Seconds between two looks whether the session still holds; told to the browser, as proxies close a silent line.
CHECKED_EVERY = 3.0
LONGEST_OFFSET = 1 << 24


@require_GET
@login_required
async def events(request: HttpRequest, chat_pk: UUID, pk: UUID) -> HttpResponseBase:
    told = await sync_to_async(_telling)(request, chat_pk, pk, _offset(request))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    try:
        follow.admit(str(user_of(request).pk))
    except follow.TooManyStreams as fault:
        return HttpResponse(
            in_readers_language(str(fault)), status=429, content_type="text/plain", headers={"Retry-After": "5"}
        )
    return StreamingHttpResponse(
        _stream(request, told), content_type="text/event-stream; charset=utf-8", headers=headers
    )


def _telling(request: HttpRequest, chat_pk: UUID, pk: UUID, after: int) -> Telling:
    own = Message.objects.filter(chat__in=Chat.objects.visible_to(user_of(request)))
    message = get_object_or_404(own.select_related("chat__owner"), chat=chat_pk, pk=pk)
    return Telling(message, after, exchange_of(message, user_of(request)) if after else None)


def _offset(request: HttpRequest) -> int:
    """Where the reader's text ends: a browser that comes back says it by itself."""
    said = request.headers.get("Last-Event-ID") or request.GET.get("after") or "0"
    return whole(said, most=LONGEST_OFFSET) or 0


async def _stream(request: HttpRequest, told: Telling) -> AsyncIterator[bytes]:
    await let_thread_go()
    yield b"retry: 1000\n\n"
    try:
        with follow.reading(str(told.message.chat.owner_id)):
            async for event in _while_signed_in(request.session, told.events()):
                if said := b": alive\n\n" if event is None else await told.event(event):
                    yield said
    except (follow.TooManyFollowers, Message.DoesNotExist):
        yield _event("gone", {})


class Telling:
    """One reader's stream: each event as HTML that the page takes as it is."""

    def __init__(self, message: Message, after: int, before: Exchange | None) -> None:
        """`before` is the exchange as it stands when the reader has read some of it already."""
        self.message, self._after = message, after
        self._anchor = f"m{message.position}"
        self._blocks = Blocks(before.cited if before else Cited(self._anchor))
        self._has_sources = before is not None
        self._missing = after  # characters that the reader has and that were not told here yet
        self._place = 0

    def events(self) -> AsyncIterator[follow.Event]:
        """From the beginning: how a block is drawn depends on those before it."""
        self._pace = Pace(asyncio.get_running_loop().time)
        return paced(follow.events(self.message.pk), self._pace)

    async def event(self, event: follow.Event) -> bytes:
        match event.kind:
            case "place":
                return _event("place", await sync_to_async(self._line, thread_sensitive=False)(asdict(event.data)))
            case "sources":
                if self._has_sources:
                    return b""
                self._blocks.cite(Cited(self._anchor, frozenset(each["number"] for each in event.data)))
                entries = database_sync_to_async(self._entries, thread_sensitive=False)
                return _event("sources", await entries(event.data))
            case "delta":
                self._blocks.feed(event.data)
                self._missing -= len(event.data)
                return b"" if self._missing > 0 else await self._draw(is_last=False)
            case "done":
                last = b"" if self._missing > 0 else await self._draw(is_last=True)
                return last + _event("done", event.data["state"], event.offset)

    async def _draw(self, *, is_last: bool) -> bytes:
        """What closed and what is open; the reader who comes back says how much of it was closed."""
        began = asyncio.get_running_loop().time()
        piece = await sync_to_async(self._piece, thread_sensitive=False, executor=DRAWING)(is_last=is_last)
        self._pace.drew(began, self._blocks.open_size)
        return _event("text", {"closed": piece.closed, "open": piece.open}, self._blocks.closed)

    def _piece(self, *, is_last: bool) -> Piece:
        if self._blocks.closed < self._after:
            self._blocks.begin_at(self._after)
        return self._blocks.finish() if is_last else self._blocks.show()

    def _entries(self, sources: list[dict[str, Any]]) -> str:
        """Of those that the owner may read at this moment."""
        wanted = {each["source"] for each in sources}
        readable = Source.objects.visible_to(self.message.chat.owner).filter(pk__in=wanted).values_list("pk", flat=True)
        allowed = set(map(str, readable))
        return _entries([each for each in sources if each["source"] in allowed], self._anchor)

    def _line(self, line: dict[str, Any]) -> tuple[str, str]:
        """The line, and what is to be spoken: only that the place is another one."""
        before, self._place = self._place, line["place"]
        is_news = line["place"] not in {0, before}
        return in_line(line, self.message), place_sentence(line) if is_news else ""


async def _while_signed_in(
    session: SessionBase, told: AsyncIterator[follow.Event]
) -> AsyncIterator[follow.Event | None]:
    """The events, and None now and then; both end with the session. The browser that then comes back is refused."""
    clock = asyncio.get_running_loop().time
    checked, coming = clock(), asyncio.ensure_future(anext(told))
    try:
        while True:
            await asyncio.wait({coming}, timeout=max(0.0, checked + CHECKED_EVERY - clock()))
            if clock() - checked >= CHECKED_EVERY:
                if not await database_sync_to_async(Session.objects.still_holds, thread_sensitive=False)(session):
                    return
                checked = clock()
                yield None
            if coming.done():
                event = coming.result()
                coming = asyncio.ensure_future(anext(told))
                yield event
    except StopAsyncIteration:
        return
    finally:
        coming.cancel()
        with contextlib.suppress(BaseException):
            await coming
        await told.aclose()  # type: ignore[attr-defined]


def _entries(sources: list[dict[str, Any]], anchor: str) -> str:
    found = [
        entry(
            each["number"],
            each["title"],
            each["heading"],
            each["context"],
            each["source"],
            (each["start"], each["end"]),
        )
        for each in sources
    ]
    return render_to_string("chats/_entries.html", {"sources": found, "anchor": anchor})


def _event(kind: str, data: Any, offset: int | None = None) -> bytes:
    line = f"id: {offset}\n" if offset is not None else ""
    return f"{line}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
