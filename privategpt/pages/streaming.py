"""An answer as it grows, as server-sent events: text as it comes, and a word now and then that the line is alive."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.contrib.auth.decorators import login_required
from django.contrib.sessions.backends.base import SessionBase
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from accounts.sessions import Session
from privategpt import follow
from privategpt.models import Chat, Message
from privategpt.pages.exchanges import entry
from privategpt.rendering import visible

# Seconds between two looks whether the session still holds; told to the browser, as proxies close a silent line.
CHECKED_EVERY = 3.0
LONGEST_OFFSET = 1 << 24


@require_GET
@login_required
async def events(request: HttpRequest, chat_pk: UUID, pk: UUID) -> StreamingHttpResponse:
    user = await request.auser()
    own = Message.objects.filter(pk=pk, chat=chat_pk, chat__in=Chat.objects.visible_to(user))  # type: ignore[arg-type]
    position = await own.values_list("position", flat=True).afirst()
    if position is None:
        raise Http404
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(
        _stream(request, pk, f"m{position}"), content_type="text/event-stream; charset=utf-8", headers=headers
    )


def _offset(request: HttpRequest) -> int:
    """Where the reader's text ends: a browser that comes back says it by itself."""
    said = request.headers.get("Last-Event-ID") or request.GET.get("after") or "0"
    return int(said) if said.isascii() and said.isdigit() and int(said) < LONGEST_OFFSET else 0


async def _stream(request: HttpRequest, pk: UUID, anchor: str) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    try:
        async for event in _while_signed_in(request.session, follow.events(pk, after=_offset(request))):
            yield b": alive\n\n" if event is None else await _told(event, anchor)
    except (follow.TooManyFollowers, Message.DoesNotExist):
        yield _event("gone", {})


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


async def _told(event: follow.Event, anchor: str) -> bytes:
    if event.kind == "sources":
        return _event("sources", await sync_to_async(_entries, thread_sensitive=False)(event.data, anchor))
    if event.kind == "delta":
        return _event("delta", visible(event.data), event.offset)
    return _event("done", {"state": event.data["state"]}, event.offset)


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
