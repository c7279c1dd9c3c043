"""An answer as it grows, as server-sent events: its place in line, its text as it comes, and a word now and then that
the line is alive."""

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
from django.http import HttpRequest, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from accounts.sessions import Session
from privategpt import follow
from privategpt.models import Chat, Message
from privategpt.pages.chats import user_of
from privategpt.pages.exchanges import Exchange, entry, exchange_of
from privategpt.pages.growing import Jacks, in_line, place_sentence
from privategpt.streams import let_thread_go

# Seconds between two looks whether the session still holds; told to the browser, as proxies close a silent line.
CHECKED_EVERY = 3.0
LONGEST_OFFSET = 1 << 24


@require_GET
@login_required
async def events(request: HttpRequest, chat_pk: UUID, pk: UUID) -> StreamingHttpResponse:
    told = await sync_to_async(_telling)(request, chat_pk, pk, _offset(request))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(
        _stream(request, told), content_type="text/event-stream; charset=utf-8", headers=headers
    )


def _telling(request: HttpRequest, chat_pk: UUID, pk: UUID, after: int) -> Telling:
    own = Message.objects.filter(chat__in=Chat.objects.visible_to(user_of(request)))
    message = get_object_or_404(own.select_related("chat"), chat=chat_pk, pk=pk)
    return Telling(message, after, exchange_of(message, user_of(request)) if after else None)


def _offset(request: HttpRequest) -> int:
    """Where the reader's text ends: a browser that comes back says it by itself."""
    said = request.headers.get("Last-Event-ID") or request.GET.get("after") or "0"
    return int(said) if said.isascii() and said.isdigit() and int(said) < LONGEST_OFFSET else 0


async def _stream(request: HttpRequest, told: Telling) -> AsyncIterator[bytes]:
    await let_thread_go()
    yield b"retry: 1000\n\n"
    try:
        async for event in _while_signed_in(request.session, follow.events(told.message.pk, after=told.after)):
            yield b": alive\n\n" if event is None else await told.event(event)
    except (follow.TooManyFollowers, Message.DoesNotExist):
        yield _event("gone", {})


class Telling:
    """One reader's stream: each event as HTML that the page takes as it is."""

    def __init__(self, message: Message, after: int, before: Exchange | None) -> None:
        """`before` is the exchange as it stands when the reader has read some of it already."""
        self.message, self.after = message, after
        self._anchor = f"m{message.position}"
        self._jacks = Jacks(self._anchor, [entry.number for entry in before.sources] if before else [])
        self._place = 0
        self._jacks.html(message.answer[:after])  # so that it knows whether a block of code is open

    async def event(self, event: follow.Event) -> bytes:
        match event.kind:
            case "place":
                return _event("place", await sync_to_async(self._line, thread_sensitive=False)(asdict(event.data)))
            case "sources":
                self._jacks.supply([each["number"] for each in event.data])
                entries = sync_to_async(_entries, thread_sensitive=False)
                return _event("sources", await entries(event.data, self._anchor))
            case "delta":
                return _event("delta", self._jacks.html(event.data), event.offset)
            case "done":
                return _event("done", event.data["state"], event.offset)

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
