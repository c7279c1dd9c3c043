"""The whole application as its clients meet it, without a socket: one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from project.asgi import router as application
from tests.patience import PATIENCE

WITHIN = PATIENCE  # longer means that it hangs


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]


@dataclass
class Event:
    kind: str
    id: str
    data: Any


class Loop:
    """An event loop that runs until the tests end, as a server's does."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, work: Any, within: float = WITHIN) -> Any:
        """In a context of its own, as a server's requests are: nothing of what the tests' thread has done is in it."""
        return Context().run(asyncio.run_coroutine_threadsafe, work, self.loop).result(within)

    def call(self, function: Any, *args: Any) -> Any:
        async def called() -> Any:
            return function(*args)

        return self.run(called())

    def close(self) -> None:
        """Ends what is left first, so that no later test hears of it."""
        self.run(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WITHIN)
        self.loop.close()

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.loop.shutdown_default_executor()


@dataclass
class Exchange:
    """One request and what has come back of it so far."""

    loop: Loop
    scope: dict[str, Any]
    body: bytes
    parts: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: bool = False

    async def start(self) -> dict[str, Any]:
        self.task = asyncio.ensure_future(self._run())
        return await self.parts.get()

    async def _run(self) -> None:
        try:
            await application(self.scope, self._receive, self.parts.put)
        finally:
            await self.parts.put({"type": "end"})

    async def _receive(self) -> dict[str, Any]:
        if not self.sent:
            self.sent = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def part(self) -> bytes | None:
        message = await self.parts.get()
        if message["type"] == "end":
            await self.task
            return None
        return bytes(message.get("body", b""))

    async def leave(self) -> None:
        self.gone.set()
        await asyncio.wait([self.task], timeout=WITHIN)


class Stream:
    """Server-sent events as they come."""

    def __init__(self, loop: Loop, exchange: Exchange, start: dict[str, Any]) -> None:
        self.loop, self.exchange = loop, exchange
        self.status: int = start["status"]
        self.headers = _headers(start)
        self._rest = b""

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            yield event

    def next(self, within: float = WITHIN) -> Event | None:
        """The next event that is not a comment; None at the end."""
        while True:
            while b"\n\n" in self._rest:
                block, self._rest = self._rest.split(b"\n\n", 1)
                if event := _event(block):
                    return event
            part = self.loop.run(self.exchange.part(), within)
            if part is None:
                return None
            self._rest += part

    def leave(self) -> None:
        self.loop.run(self.exchange.leave())


def _event(block: bytes) -> Event | None:
    fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":"))
    return Event(fields["event"], fields.get("id", ""), json.loads(fields["data"])) if fields else None


def _headers(start: dict[str, Any]) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in start["headers"]}


class Program:
    """A client program. `token` is sent as `Authorization: Bearer` unless other headers are given."""

    def __init__(self, loop: Loop, token: str = "", address: str = "192.0.2.1") -> None:
        self.loop, self.token, self.address = loop, token, address

    def open(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[Exchange, dict[str, Any]]:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = headers if headers is not None else {"Authorization": f"Bearer {self.token}"} if self.token else {}
        pairs = sent if isinstance(sent, list) else list(sent.items())
        path, _, query = path.partition("?")
        lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
        if not any(name == b"host" for name, _ in lines):
            lines.append((b"host", b"localhost"))
        if raw and not any(name == b"content-length" for name, _ in lines):
            lines.append((b"content-length", b"%d" % len(raw)))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path if path.startswith("/api/") else f"/api/v1{path}",
            "query_string": query.encode(),
            "headers": lines,
            "client": (self.address, 50000),
            "server": ("localhost", 8080),
            "scheme": "http",
            "root_path": "",
        }

        async def begin() -> tuple[Exchange, dict[str, Any]]:
            exchange = Exchange(self.loop, scope, raw)
            return exchange, await exchange.start()

        found: tuple[Exchange, dict[str, Any]] = self.loop.run(begin())
        return found

    def call(self, method: str, path: str, body: Any = None, headers: Any = None) -> Reply:
        exchange, start = self.open(method, path, body, headers)
        if start["type"] == "end":
            self.loop.run(exchange.part())
        parts = []
        while (part := self.loop.run(exchange.part())) is not None:
            parts.append(part)
        return Reply(start["status"], _headers(start), b"".join(parts))

    def get(self, path: str, **more: Any) -> Reply:
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        return self.call("POST", path, body, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> Reply:
        return self.call("PATCH", path, body, **more)

    def delete(self, path: str, body: Any = None, **more: Any) -> Reply:
        return self.call("DELETE", path, body, **more)

    def stream(self, method: str, path: str, body: Any = None, headers: Any = None) -> Stream:
        token = {"Authorization": f"Bearer {self.token}"}
        return Stream(self.loop, *self.open(method, path, body, token | (headers or {})))

    def with_token(self, token: str) -> Program:
        return Program(self.loop, token, self.address)
