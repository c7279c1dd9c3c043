"""uvicorn's protocols with the limits that they lack."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MOST_HEADERS = 100
LONGEST_HEAD = 64 << 10  # bytes of the path and all headers
HEAD_WITHIN = 30.0  # seconds from the first byte of a request, or from the connect, to the end of its headers


class HttpProtocol(HttpToolsProtocol):
    """Bounded request heads, in bytes and in time. A head that is too large is a bad request (400)."""

    _head: asyncio.TimerHandle | None = None
    _size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._size = 0
        if self._head is None:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if len(self.headers) >= MOST_HEADERS:
            raise ValueError("too many headers")
        # Django reads `x_y` and `x-y` as one header: the one with the underscore would pass for the other.
        if b"_" not in name:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_clock()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > LONGEST_HEAD:
            raise ValueError("the request head is too large")

    def _expect_head(self) -> None:
        self._head = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def _stop_clock(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A close that does not wait for a peer that has stopped reading."""

    async def send(self, message: Any) -> None:
        """Sends an ASGI message; a close behind a full write buffer ends the connection at once."""
        if message["type"] == "websocket.close" and not self.writable.is_set():
            self.transport.abort()
            raise ClientDisconnected
        await super().send(message)
