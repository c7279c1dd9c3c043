"""An answer as server-sent events: `place` while it waits in line, `sources` once, `delta` many, `done` with what the
plain call returns.

Each event's id says how far the answer has come, so a stream that broke is taken up behind it by Last-Event-ID."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from django.http import HttpRequest, StreamingHttpResponse

from accounts.numerals import whole
from privategpt import follow
from privategpt.api import credentials, envelope
from privategpt.api.answer import shape_sources, wants_objects
from privategpt.api.base import in_thread
from privategpt.models import Message
from privategpt.streams import let_thread_go

if TYPE_CHECKING:
    from privategpt.api.chats import _Asking

EVENTS = "text/event-stream"
CHECKED_EVERY = 2.0  # seconds between two looks whether the token still holds; also keeps proxies from hanging up
KEEP_ALIVE = b": \n\n"


@dataclass(frozen=True, slots=True)
class Place:
    """How far a client has read which answer."""

    message: str
    offset: int


def wanted(request: HttpRequest) -> bool:
    """Whether the client asks for events."""
    return EVENTS in request.headers.get("Accept", "")


def last_event(request: HttpRequest) -> Place | None:
    """The place in Last-Event-ID. Raises Refusal (404) for what we never sent."""
    shown = request.headers.get("Last-Event-ID", "").strip()
    if not shown:
        return None
    message, colon, offset = shown.rpartition(":")
    number = whole(offset, most=10**12)
    if not colon or number is None:
        raise envelope.not_found()
    return Place(message, number)


async def reply(view: _Asking, message: Message, *, after: int) -> StreamingHttpResponse:
    """200 at once, the events as they come. `after`: characters that the client has already."""
    follow.admit(str(view.caller.user.pk))  # raises TooManyStreams; the answer itself goes on
    headers = {**envelope.HEADERS, "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(
        _events(view, message, after), content_type=f"{EVENTS}; charset=utf-8", headers=headers
    )


async def _events(view: _Asking, message: Message, after: int) -> AsyncGenerator[bytes, None]:
    await let_thread_go()
    parts = _parts(view, message, after)
    with follow.reading(str(view.caller.user.pk)):
        async with contextlib.aclosing(parts):
            async for part in parts:
                yield part


async def _parts(view: _Asking, message: Message, after: int) -> AsyncGenerator[bytes, None]:
    is_over = is_allowed = False
    try:
        async for event in _checked(view, message, follow.events(message.pk, after)):
            if event is None:
                yield KEEP_ALIVE
                continue
            is_over = event.kind == "done"
            if event.kind == "place":
                yield _event("place", None, 0, {"place": event.data.place, "seconds": event.data.seconds})
                continue
            if not is_allowed:
                is_allowed = True
                await in_thread(view.allow, message, [each["source"] for each in _found(event)])
                if after == 0:  # whoever comes back has heard of the sources
                    yield _event("sources", message, 0, _sources(view, message, event))
            if event.kind == "delta":
                yield _event("delta", message, event.offset, {"text": event.data})
        if not is_over:
            return  # let go, for this process ends: the client takes it up elsewhere, as after any broken line
        outcome = await in_thread(view.outcome, message)
        yield _event("done", message, len(outcome["answer"]), envelope.success(outcome, notice=True))
    except Exception as fault:
        yield _event("error", None, 0, envelope.failure(envelope.understood(fault)))


async def _checked(view: _Asking, message: Message, events: Any) -> AsyncGenerator[follow.Event | None, None]:
    """The events, and None whenever none came for a while. Raises Refusal once the token has ended."""
    clock = asyncio.get_running_loop().time
    checked, coming = clock(), asyncio.ensure_future(anext(events, None))
    try:
        while True:
            await asyncio.wait([coming], timeout=CHECKED_EVERY)
            if clock() - checked >= CHECKED_EVERY:
                checked = clock()
                await _still_valid(view)
                await in_thread(view.allow, message)
            if not coming.done():
                yield None
                continue
            event = coming.result()
            if event is None:
                return
            coming = asyncio.ensure_future(anext(events, None))
            yield event
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await events.aclose()


async def _still_valid(view: _Asking) -> None:
    shown = await credentials.authenticate(view.plain)
    if not any(principal.token == view.caller.token.pk for header in shown for principal in header):
        raise envelope.unauthenticated()


def _sources(view: _Asking, message: Message, first: follow.Event) -> dict[str, Any]:
    shown = shape_sources(_found(first), as_objects=wants_objects(view.plain))
    return {"chatId": str(message.chat_id), "messageId": str(message.pk), **shown}


def _found(first: follow.Event) -> Sequence[dict[str, Any]]:
    """An answer that rests on nothing may begin with its text: then there are none."""
    return first.data if first.kind == "sources" else ()


def _event(kind: str, message: Message | None, offset: int, data: Any) -> bytes:
    """JSON holds no bare line break, so one `data` line is enough."""
    text = data if isinstance(data, bytes) else msgspec.json.encode(data)
    place = f"id: {message.pk}:{offset}\n".encode() if message else b""
    return b"%sevent: %s\ndata: %s\n\n" % (place, kind.encode(), text)
