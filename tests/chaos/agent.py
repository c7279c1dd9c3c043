"""Echoing agents in a process of their own, which a test may kill: `python -m tests.chaos.agent URL COUNT`.

Each answers with "echo: " and the question, in pieces where wanted, and dials in again when its socket ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

ON = {"max_size": None, "proxy": None, "ping_interval": None, "compression": None, "close_timeout": 1}
THINKS = 0.02  # seconds for a question
PIECES = 8
DECLARED = json.dumps({"name": "echo", "concurrency": 8, "stream": True})


async def serve(url: str) -> None:
    """One agent, for ever."""
    known = ""
    while True:
        with contextlib.suppress(OSError, InvalidHandshake, WebSocketException):
            async with connect(url, **ON) as socket:  # type: ignore[arg-type]
                hello = json.loads(await socket.recv())
                known = known or hello["id"]
                await _say(socket, known, "Connection id", DECLARED)
                await _until_it_ends(socket)
        await asyncio.sleep(random.uniform(0.05, 0.5))  # all at once would only queue at the door


async def _until_it_ends(socket: ClientConnection) -> None:
    tasks: set[asyncio.Task[None]] = set()
    async for text in socket:
        frame = json.loads(text)
        if frame["message"] == "ping":
            await _say(socket, frame["id"], "pong")
        elif frame["message"] == "ChatGptRequest":
            task = asyncio.create_task(_answer(socket, frame["id"], json.loads(frame["data"])))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def _answer(socket: ClientConnection, frame: str, asked: dict[str, Any]) -> None:
    question = asked["messages"][-1]["content"] if "messages" in asked else asked["content"]
    answer = f"echo: {question}"
    await asyncio.sleep(THINKS)
    with contextlib.suppress(WebSocketException):
        if asked.get("stream"):
            size = len(answer) // PIECES + 1
            for start in range(0, len(answer), size):
                await _say(socket, frame, "ChatGptDelta", answer[start : start + size])
                await asyncio.sleep(THINKS)
            answer = ""
        said = {
            "response_id": str(uuid4()),
            "conversation_id": asked["conversation_id"] or str(uuid4()),
            "content": answer,
        }
        await _say(socket, frame, "ChatGptResponse", json.dumps(said))


async def _say(socket: ClientConnection, frame: str, message: str, data: str = "") -> None:
    await socket.send(json.dumps({"id": frame, "message": message, "data": data}))


async def main(url: str, count: int) -> None:
    """So many agents, until the process ends."""
    await asyncio.gather(*(serve(url) for _ in range(count)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
