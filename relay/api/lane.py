"""The fast lane: `POST /api/ask` without Django's request machinery, which costs fifty times as much."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from accounts.numerals import MOST_DIGITS, whole
from relay import exchange
from relay.api.asking import answer_ask
from relay.api.replies import ClientLeft, Reply, TooLarge, TooSlow
from relay.ids import next_request_id, request_id, taken_up

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WATCHED_AFTER = 0.1  # seconds; most asks are answered before anybody needs to see whether the client is still there
_HEADERS = [
    (b"content-type", b"application/json; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"X-Request-Id, Retry-After, X-Queue-Wait"),
]


class AskLane:
    """Answers `POST /api/ask`; everything else goes on to the app behind."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http" and scope["path"] == "/api/ask" and scope["method"] == "POST":
            await _ask(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _ask(scope: Scope, receive: Receive, send: Send) -> None:
    authorization, idempotency, length, name_given = [], [], b"", b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization.append(value)
        elif name == b"idempotency-key":
            idempotency.append(value)
        elif name == b"content-length":
            length = value
        elif name == b"x-request-id":
            name_given = value
    own_id = taken_up(name_given) if name_given else next_request_id()
    request_id.set(own_id.decode())
    relay = exchange.current()
    leaving = _Leaving(receive, relay.limits.max_ask_bytes)
    try:
        reply = await answer_ask(relay, authorization, idempotency, lambda: leaving.body(length), scope)
    except ClientLeft:
        return
    except asyncio.CancelledError:
        if leaving.left:
            return
        raise
    finally:
        leaving.stop()
    await _send_reply(send, reply, own_id)


async def _send_reply(send: Send, reply: Reply, own_id: bytes) -> None:
    headers = [
        *_HEADERS,
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", own_id),
    ]
    headers += [(name.encode(), value.encode()) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


class _Leaving:
    """Reads the body, then sees whether the client leaves; if so, its ask is cancelled."""

    __slots__ = ("_asking", "_limit", "_receive", "_watch", "done", "left")

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._watch: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[Any] | None = None
        self.left = False
        self.done = False

    async def body(self, length: bytes) -> bytes:
        """The whole body. Raises TooLarge, TooSlow, ClientLeft when it ends early."""
        if len(length) > MOST_DIGITS or (whole(length) or 0) > self._limit:
            raise TooLarge(self._limit)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):  # the usual case, without a timer
            body: bytes = message.get("body", b"")
            if len(body) > self._limit:
                raise TooLarge(self._limit)
        else:
            body = await self._parts(message)
        self._asking = asyncio.current_task()
        _watchmen.add(self)
        return body

    async def _parts(self, message: Message) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(settings.BODY_TIMEOUT):
                while True:
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    body += message.get("body", b"")
                    if len(body) > self._limit:
                        raise TooLarge(self._limit)
                    if not message.get("more_body"):
                        return bytes(body)
                    message = await self._receive()
        except TimeoutError:
            raise TooSlow from None

    def begin(self) -> None:
        """Starts to wait for the client's leaving."""
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self._asking:
            self._asking.cancel()

    def stop(self) -> None:
        """The reply is ready: nobody has to be watched any more."""
        self.done = True
        if self._watch:
            self._watch.cancel()


class _Watchmen:
    """Has clients watched whose ask takes longer. One timer for all asks of an instant: most need none."""

    def __init__(self) -> None:
        self._fresh: list[_Leaving] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, leaving: _Leaving) -> None:
        self._fresh.append(leaving)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WATCHED_AFTER, self._begin)

    def _begin(self) -> None:
        fresh, self._fresh, self._timer = self._fresh, [], None
        for leaving in fresh:
            if not leaving.done:
                leaving.begin()


_watchmen = _Watchmen()
