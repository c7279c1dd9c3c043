"""A relay of a few lines that speaks the public protocol, to try agents against."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from tests.patience import PATIENCE

QUIET = logging.getLogger("fake_relay")  # so that tests see the agent's lines alone
QUIET.setLevel(logging.CRITICAL)


class Peer:
    """One agent's connection, seen from the relay."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.hello: dict[str, Any] = {}

    @property
    def headers(self) -> Any:
        assert self.socket.request
        return self.socket.request.headers

    async def send(self, frame: str, message: str, data: str = "") -> None:
        await self.socket.send(json.dumps({"id": frame, "message": message, "data": data}) + "\n")

    async def greet(self, fresh: str = "fresh") -> dict[str, Any]:
        """The hello and what the agent says to it."""
        await self.send(fresh, "Connection id")
        self.hello = await self.receive()
        return self.hello

    async def ask(self, frame: str, content: str = "Why?", **more: Any) -> None:
        data = {"message_id": "m", "conversation_id": "", "parent_id": "p", "content": content, **more}
        await self.send(frame, "ChatGptRequest", json.dumps(data))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            return frame

    async def answer(self, frame: str) -> tuple[list[str], dict[str, Any]]:
        """The deltas and the last frame of one ask; frames of others are not expected."""
        deltas: list[str] = []
        while True:
            found = await self.receive()
            assert found["id"] == frame, found
            if found["message"] != "ChatGptDelta":
                return deltas, found
            deltas.append(found["data"])

    async def quiet(self) -> None:
        """A ping is answered next, so nothing else was on its way."""
        await self.send("quiet", "ping")
        assert (await self.receive())["id"] == "quiet"


class Relay:
    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.refuse_with: int | None = None
        self.tries = 0
        self.url = ""

    async def peer(self, *, greet: bool = True, fresh: str = "fresh") -> Peer:
        """The next agent that dials in."""
        async with asyncio.timeout(PATIENCE):
            peer = await self.peers.get()
        if greet:
            await peer.greet(fresh)
        return peer

    async def handle(self, socket: ServerConnection) -> None:
        self.peers.put_nowait(Peer(socket))
        await socket.wait_closed()

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.tries += 1
        return connection.respond(self.refuse_with, "no\n") if self.refuse_with else None


@asynccontextmanager
async def relay(port: int = 0) -> AsyncIterator[Relay]:
    found = Relay()
    server: Server
    async with serve(
        found.handle,
        "127.0.0.1",
        port,
        process_request=found.check,
        ping_interval=None,
        logger=QUIET,
        close_timeout=0.2,
        max_size=None,
    ) as server:
        number = server.sockets[0].getsockname()[1]
        found.url = f"ws://127.0.0.1:{number}/client/register"
        yield found


async def until(holds: Callable[[], bool], tick: Callable[[], Awaitable[None]] | None = None) -> None:
    """Wait for a condition, at most PATIENCE."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await (tick() if tick else asyncio.sleep(0.005))
