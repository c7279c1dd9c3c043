"""uvicorn's protocols with the limits that they lack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from project import files
from relay.ids import next_request_id

MOST_HEADERS = 100
SURPLUS = b'{"error":"The server has as many connections as it can take"}'
SURPLUS_STAYS = 1.0  # seconds in which one that was refused may read why
LONGEST_HEAD = 64 << 10  # bytes of the path and all headers


class HttpProtocol(HttpToolsProtocol):
    """Bounded request heads, in bytes and in time. A head that is too large is a bad request (400).

    A body that nobody reads any more, because its request was answered already, is bounded in time as well.
    One timer looks after a connection; a timer for each request would cost more than the request's parsing.
    """

    is_leaving = False  # every answer says that its connection is closed behind it
    _head_since: float | None = None  # the loop's time at which the head that is awaited began
    _body_since: float | None = None  # the loop's time at which the body that is awaited began
    _clock: asyncio.TimerHandle | None = None
    _is_surplus = False
    _size = 0
    _unparsed = 0  # bytes of a head that came without completing it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_since = self.loop.time()
        self._clock = self.loop.call_later(settings.HEAD_TIMEOUT, self._look)
        if files.are_scarce(transport):
            self._refuse_surplus(transport)

    def _refuse_surplus(self, transport: asyncio.Transport) -> None:
        """Says at once that there are too many connections; what comes on this one is not read any more."""
        files.say_scarce()
        self._is_surplus = True
        self._answer_raw(b"503 Service Unavailable", SURPLUS, b"retry-after: 5")
        if files.are_scarce(transport, left=0.5):
            transport.close()
            return
        transport.write_eof()  # a close before the question is read would take the answer away
        self.loop.call_later(SURPLUS_STAYS, transport.close)

    def data_received(self, data: bytes) -> None:
        if self._is_surplus:
            self.transport.close()
            return
        super().data_received(data)
        # The parser hands over whole headers only, and would collect one of any length.
        self._unparsed = 0 if self._head_since is None else self._unparsed + len(data)
        if self._unparsed > 2 * LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("the request head is too large")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._clock is not None:
            self._clock.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """The contract's shape, with an id, for what cannot be parsed."""
        self._answer_raw(b"400 Bad Request", b'{"error":"Invalid HTTP request"}')
        self.transport.close()

    def _answer_raw(self, status: bytes, body: bytes, *more: bytes) -> None:
        """An answer that no application made."""
        head = [
            b"HTTP/1.1 " + status,
            *(name + b": " + value for name, value in self.server_state.default_headers),
            b"content-type: application/json; charset=utf-8",
            b"content-length: %d" % len(body),
            b"x-request-id: " + next_request_id(),
            b"connection: close",
            *more,
        ]
        self.transport.write(b"\r\n".join([*head, b"", body]))

    def on_message_begin(self) -> None:
        self._size = 0
        if self._head_since is None:
            self._head_since = self.loop.time()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._size += len(url)
        if self._size > LONGEST_HEAD:
            raise ValueError("the request head is too large")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if self._size > LONGEST_HEAD or len(self.headers) >= MOST_HEADERS:
            raise ValueError("the request head is too large")
        # Django reads `x_y` and `x-y` as one header: the one with the underscore would pass for the other.
        # What comes behind a chunked body is no header: a credential there would go past whoever stands in front.
        if b"_" not in name and self._head_since is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_since = None
        self._body_since = self.loop.time()
        super().on_headers_complete()
        if self.is_leaving and self.cycle is not None:
            self.cycle.keep_alive = False

    def close_behind(self) -> None:
        """The answer that is being made is the last one on this connection, and says so if it has not begun."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._body_since = None
        super().on_message_complete()

    def _look(self) -> None:
        if self._is_late(self._head_since, settings.HEAD_TIMEOUT) or self._trickles():
            self.transport.close()
            return
        self._clock = self.loop.call_later(settings.HEAD_TIMEOUT / 2, self._look)

    def _trickles(self) -> bool:
        """Whether bytes still come for a request that was answered without them."""
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and self._is_late(self._body_since, settings.BODY_TIMEOUT)

    def _is_late(self, since: float | None, within: float) -> bool:
        return since is not None and self.loop.time() - since >= within


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


BAD_HEAD = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Nothing waits, or grows, for a peer that has stopped reading."""

    def data_received(self, data: bytes) -> None:
        """Refuses a head that the websocket library cannot read; uvicorn would say nothing and wait for ever."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_complete:
            self.handshake_complete = self.close_sent = True  # at a shutdown nothing more is to be said either
            self.transport.write(BAD_HEAD)
            self.transport.close()

    def send(self, message: Any) -> Awaitable[None]:  # type: ignore[override]
        """Sends an ASGI message; a close behind a full write buffer ends the connection at once."""
        match message["type"]:
            case "websocket.close":
                return self._close(message)
            case "websocket.http.response.body":
                return self._refuse(message)
        return super().send(message)

    async def _refuse(self, message: Any) -> None:
        """Answers a handshake; uvicorn would log an error behind each, as if nothing had been answered."""
        await super().send(message)
        self.handshake_complete = self.handshake_complete or self.close_sent

    async def _close(self, message: Any) -> None:
        if not self.writable.is_set():
            self.transport.abort()
            raise ClientDisconnected
        await super().send(message)
        if self.close_timer is not None:  # uvicorn's would wait until the peer has read what is still to be sent
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def send_receive_event_to_app(self) -> None:
        """Text that is no UTF-8 closes the socket (1007); uvicorn would log a traceback for each."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            self.frames = [b"".join(self.frames)] if len(self.frames) > 1 else self.frames
            if not _is_utf8(self.frames[0]):
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """A peer that reads no pongs gets none; otherwise they would pile up."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()
