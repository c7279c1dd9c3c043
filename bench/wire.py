"""HTTP/1.1 and websocket framing by hand, on asyncio protocols: a peer must cost less than the server it measures."""

import asyncio
import json
from abc import ABC, abstractmethod
from typing import Any, cast

HOST = "127.0.0.1"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
FINAL = 0x80
# The example of RFC 6455, section 1.3, so the right Sec-WebSocket-Accept is known beforehand.
HANDSHAKE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def request(method: str, path: str, port: int, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {HOST}:{port}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole frame from client to server. Its mask is zero, which is legal and leaves the payload as it is."""
    length = len(payload)
    if length < 126:
        return bytes((FINAL | opcode, 0x80 | length)) + b"\0\0\0\0" + payload
    if length < 1 << 16:
        return bytes((FINAL | opcode, 0xFE)) + length.to_bytes(2, "big") + b"\0\0\0\0" + payload
    return bytes((FINAL | opcode, 0xFF)) + length.to_bytes(8, "big") + b"\0\0\0\0" + payload


class FrameReader:
    """Cuts a server's bytes into messages: (opcode, payload), fragments joined."""

    def __init__(self) -> None:
        self._rest = b""
        self._fragments: list[tuple[int, bytes]] = []

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        data = self._rest + data if self._rest else data
        at, size, messages = 0, len(data), []
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                length = int.from_bytes(data[at + 2 : start], "big")
            if size < start + length:
                break
            first, payload = data[at], data[start : start + length]
            at = start + length
            if first > FINAL and not (self._fragments and first < FINAL | CLOSE):
                messages.append((first & 0xF, payload))
            else:
                self._fragment(first, payload, messages)
        self._rest = data[at:]
        return messages

    def _fragment(self, first: int, payload: bytes, messages: list[tuple[int, bytes]]) -> None:
        self._fragments.append((first & 0xF, payload))
        if first & FINAL:
            messages.append((self._fragments[0][0], b"".join(piece for _, piece in self._fragments)))
            self._fragments.clear()


class HttpConnection(asyncio.Protocol, ABC):
    """A keep-alive connection with one request under way at a time; what comes of it goes to the two methods below."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = b""

    @abstractmethod
    def answered(self, status: int, body: bytes) -> None:
        """A whole answer came."""

    def broken(self) -> None:
        """The connection ended, or what came is not HTTP."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._received = b""
        self.broken()

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._received = data
            return
        head = data[:end].lower() + b"\r"
        try:
            body = _body(head, data, end + 4)
            status = int(head[9:12])
        except ValueError:
            self.drop()
            return
        if body is None:
            self._received = data
            return
        self._received = b""
        self.answered(status, body)

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def _body(head: bytes, data: bytes, start: int) -> bytes | None:
    """The body when it is all there. Raises ValueError when the head tells no length, or more came than was asked."""
    at = head.find(b"\ncontent-length:")
    if at >= 0:
        end = start + int(head[at + 16 : head.index(b"\r", at)])
        _nothing_behind(data, end)
        return data[start:] if len(data) == end else None
    if b"\ntransfer-encoding: chunked" not in head:
        raise ValueError("neither a length nor chunks")
    return _joined_chunks(data, start)


def _nothing_behind(data: bytes, end: int) -> None:
    if len(data) > end:
        raise ValueError("more than one answer to one request")


def _joined_chunks(data: bytes, at: int) -> bytes | None:
    chunks: list[bytes] = []
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].partition(b";")[0], 16)
        at = line + 2 + size + 2
        if len(data) < at:
            return None
        if size == 0:
            _nothing_behind(data, at)
            return b"".join(chunks)
        chunks.append(data[line + 2 : at - 2])
    return None


class _Call(HttpConnection):
    def __init__(self) -> None:
        super().__init__()
        self.result: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def answered(self, status: int, body: bytes) -> None:
        self.result.set_result((status, body))

    def broken(self) -> None:
        if not self.result.done():
            self.result.set_exception(ConnectionError("the server closed the connection without an answer"))


async def call(port: int, method: str, path: str, *, key: str = "", payload: object = None) -> tuple[int, Any]:
    """One request off the clock: the status and the decoded JSON (None when it is none)."""
    headers = {"Authorization": key} if key else {}
    body = json.dumps(payload).encode() if payload is not None else b""
    transport, connection = await asyncio.get_running_loop().create_connection(_Call, HOST, port)
    try:
        transport.write(request(method, path, port, headers, body))
        status, raw = await asyncio.wait_for(connection.result, 30)
    finally:
        transport.abort()
    try:
        return status, json.loads(raw)
    except ValueError:
        return status, None
