"""A scripted OpenAI-compatible endpoint on a real socket: what it answers is said byte by byte."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from privategpt.llm.base import BackendError, Delta, Message, Usage
from privategpt.llm.openai import OpenAIBackend

CUT = object()  # the connection breaks here
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
DONE = b"data: [DONE]\n\n"

Step: TypeAlias = bytes | asyncio.Event | object


def event(text: str | None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode()


def sse(*bodies: bytes) -> list[Step]:
    """One whole reply in chunked encoding, each body a chunk of its own."""
    return [STREAM + b"transfer-encoding: chunked\r\n\r\n", *map(chunk, bodies), b"0\r\n\r\n"]


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def whole(status: int, document: Any, **headers: str) -> list[Step]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return [f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body]


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Upstream:
    """`replies` are used up one a request; a reply's steps are bytes to send, an Event to wait for, or CUT."""

    url: str = ""
    replies: deque[list[Step]] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    models: list[dict[str, Any]] | None = None  # what it lists; None: it knows of no list
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # a request has come
    left: asyncio.Event = field(default_factory=asyncio.Event)  # a client closed its connection

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                request = await _request(reader)
                if request.path.endswith("/models"):
                    listed = whole(404, b"") if self.models is None else whole(200, {"data": self.models})
                    await self._do(listed[0], reader, writer)
                    continue
                self.requests.append(request)
                self.asked.set()
                for step in self.replies.popleft():
                    await self._do(step, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def _do(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if step is CUT:
            writer.transport.abort()
            raise ConnectionAbortedError
        if isinstance(step, asyncio.Event):
            await _first(step.wait(), self._gone(reader))
        elif isinstance(step, bytes):
            writer.write(step)
            await writer.drain()

    async def _gone(self, reader: asyncio.StreamReader) -> None:
        await reader.read()
        self.left.set()


async def _first(*waits: Awaitable[Any]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)  # the next read must not meet this one


async def _request(reader: asyncio.StreamReader) -> Request:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(lines[0].split()[1], headers, json.loads(body or b"{}"))


@asynccontextmanager
async def upstream(*replies: list[Step]) -> AsyncIterator[Upstream]:
    found = Upstream(replies=deque(replies))
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        server.close()


async def answer(backend: OpenAIBackend, question: str = "Why?", **how: Any) -> tuple[str, Usage | None]:
    """The whole text and the usage; an error that came after text carries it as `text`."""
    found: list[str] = []
    usage = None
    try:
        async for piece in backend.generate([Message("user", question)], **how):
            if isinstance(piece, Delta):
                found.append(piece.text)
            elif isinstance(piece, Usage):
                usage = piece
    except BackendError as error:
        error.add_note("".join(found))
        raise
    return "".join(found), usage
