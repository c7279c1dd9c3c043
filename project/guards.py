"""What stands before Django for every request: an id, a limit on the body's size and on the time it takes.

Django reads a whole body before any view or middleware sees the request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from accounts import revocation
from accounts.numerals import MOST_DIGITS, whole
from project.metrics import request_ended
from relay.ids import next_request_id, request_id, taken_up

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
# A key was taken away, and not every process has said that it knows. Within the second each of them asks again.
UNHEARD = (b"x-revocation", b"not heard by all yet")


class TooLarge(Exception):
    """More bytes came than may come."""


class RequestId:
    """Puts `X-Request-Id` on every answer, the caller's own if it is a sane one, and counts the answer."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application; the id is also in `scope["request_id"]`."""
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        own_id = taken_up(given) if given else next_request_id()
        scope["request_id"] = own_id.decode()
        request_id.set(scope["request_id"])
        calls = revocation.watched()

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", own_id)]
                if calls and not await revocation.are_heard(calls):
                    message["headers"].append(UNHEARD)
                request_ended(scope["method"], message["status"])
            await send(message)

        await self._app(scope, receive, stamped)


class BodyLimit:
    """Refuses with 413 what is too large and with 408 what is too slow, before Django has read it."""

    def __init__(self, app: App, limit: int, within: float) -> None:
        self._app = app
        self._limit = limit  # bytes
        self._within = within  # seconds from the headers to the last byte of the body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application for HTTP scopes."""
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if len(declared) > MOST_DIGITS or (whole(declared) or 0) > self._limit:
            await self._refuse(scope, send, 413, f"The request body is longer than {self._limit} bytes")
            return
        gauge = _Gauge(receive, self._limit, self._within)
        try:
            await self._app(scope, gauge.receive, send)
        except TooLarge:
            await self._refuse(scope, send, 413, f"The request body is longer than {self._limit} bytes")
        except TimeoutError:
            if gauge.complete:
                raise
            await self._refuse(scope, send, 408, "The request body took too long")

    async def _refuse(self, scope: Scope, send: Send, status: int, text: str) -> None:
        contract_2 = scope["path"].startswith("/api/v1/")
        found = {"data": None, "message": text, "status": status} if contract_2 else {"error": text}
        body = json.dumps(found, separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Gauge:
    """Counts what is received until the body is complete."""

    def __init__(self, receive: Receive, limit: int, within: float) -> None:
        self._receive = receive
        self._left = limit
        self._until = asyncio.get_running_loop().time() + within
        self.complete = False

    async def receive(self) -> Message:
        if self.complete:
            return await self._receive()
        async with asyncio.timeout_at(self._until):
            message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise TooLarge
        self.complete = not message.get("more_body")
        return message
