"""Agents that echo what they are asked, in pieces where wanted, and dial in again every now and then."""

import asyncio
import contextlib
import json
import random
import time
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from bench.agents import MARK

ON: dict[str, Any] = {"max_size": None, "proxy": None, "ping_interval": None, "compression": None, "close_timeout": 1}
THINKS = 0.02  # seconds before each piece
PIECES = 6
DECLARED = json.dumps({"name": "echo", "concurrency": 8, "stream": True})


class Echo:
    """One agent. After `stays` seconds on average it leaves, between two questions, and comes back under its own id."""

    def __init__(self, url: str, stays: float) -> None:
        self._url, self._stays = url, stays
        self._known = ""
        self._answers: set[asyncio.Task[None]] = set()
        self.visits = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with contextlib.suppress(OSError, InvalidHandshake, WebSocketException):
                async with connect(self._url, **ON) as socket:
                    hello = json.loads(await socket.recv())
                    self._known = self._known or hello["id"]
                    await _say(socket, self._known, "Connection id", DECLARED)
                    self.visits += 1
                    await self._serve(socket, time.monotonic() + random.expovariate(1 / self._stays))
            await asyncio.sleep(random.uniform(0.05, 0.5))  # all at once would only queue at the door

    async def _serve(self, socket: ClientConnection, until: float) -> None:
        while self._answers or time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._hear(socket, json.loads(await socket.recv()))

    async def _hear(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        if frame["message"] == "ping":
            await _say(socket, frame["id"], "pong")
        elif frame["message"] == "ChatGptRequest":
            task = asyncio.create_task(_answer(socket, frame["id"], json.loads(frame["data"])))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)


async def _answer(socket: ClientConnection, frame: str, asked: dict[str, Any]) -> None:
    answer = MARK + (asked["messages"][-1]["content"] if "messages" in asked else asked["content"])
    await asyncio.sleep(THINKS)
    with contextlib.suppress(WebSocketException):
        if asked.get("stream"):
            size = len(answer) // PIECES + 1
            for start in range(0, len(answer), size):
                await _say(socket, frame, "ChatGptDelta", answer[start : start + size])
                await asyncio.sleep(THINKS)
            answer = ""
        conversation = asked.get("conversation_id") or str(uuid4())
        said = {"response_id": str(uuid4()), "conversation_id": conversation, "content": answer}
        await _say(socket, frame, "ChatGptResponse", json.dumps(said))


async def _say(socket: ClientConnection, frame: str, message: str, data: str = "") -> None:
    await socket.send(json.dumps({"id": frame, "message": message, "data": data}))
