"""An agent on a real websocket whose every word a test scripts, for tests of the agents' side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from tests.patience import PATIENCE

ON = {"max_size": None, "proxy": None, "ping_interval": None, "compression": None, "close_timeout": 1}


async def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for it. Raises AssertionError when it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as the agent got it."""

    frame: str
    data: dict[str, Any]

    @property
    def content(self) -> str:
        return str(self.data["content"])


class FakeAgent:
    """Dials in, echoes the hello, answers pings, and does with each question what its behaviour says."""

    def __init__(self, socket: ClientConnection, behaviour: Behaviour, *, pongs: bool = True) -> None:
        self.socket = socket
        self.behaviour = behaviour
        self.pongs = pongs
        self.id = ""
        self.asked: list[Asked] = []
        self.told: list[dict[str, str]] = []  # every frame but the hello and questions
        self.open = 0  # questions that it has not answered
        self.most = 0  # at once
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def dial(
        cls,
        url: str,
        behaviour: Behaviour,
        *,
        kept: str | None = None,
        declares: dict[str, Any] | None = None,
        origin: str | None = None,
        headers: dict[str, str] | None = None,
        pongs: bool = True,
    ) -> Self:
        """Connects and introduces itself under the hello's id, or one kept from before."""
        given = Origin(origin) if origin else None
        agent = cls(await connect(url, origin=given, additional_headers=headers, **ON), behaviour, pongs=pongs)  # type: ignore[arg-type]
        hello = json.loads(await agent.socket.recv())
        agent.id = hello["id"] if kept is None else kept
        await agent.say(agent.id, "Connection id", json.dumps(declares) if declares else "")
        agent._in_background(agent._listen())
        return agent

    def _in_background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                frame = json.loads(text)
                if frame["message"] == "ChatGptRequest":
                    self._take(Asked(frame["id"], json.loads(frame["data"])))
                    continue
                self.told.append(frame)
                if frame["message"] == "ping" and self.pongs:
                    await self.say(frame["id"], "pong")

    def _take(self, asked: Asked) -> None:
        self.asked.append(asked)
        self.open += 1
        self.most = max(self.most, self.open)
        self._in_background(self._behave(asked))

    async def _behave(self, asked: Asked) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self.behaviour(self, asked)

    async def was_asked(self, times: int = 1) -> Asked:
        """Waits until it has been asked so often; the last of these questions."""
        await until(lambda: len(self.asked) >= times, f"agent asked {times} times")
        return self.asked[times - 1]

    async def was_told(self, message: str) -> dict[str, str]:
        """Waits for a frame of this kind."""
        await until(lambda: any(frame["message"] == message for frame in self.told), f"a frame {message!r}")
        return next(frame for frame in self.told if frame["message"] == message)

    async def say(self, frame: str, message: str, data: str = "", **more: Any) -> None:
        """One frame."""
        await self.socket.send(json.dumps({"id": frame, "message": message, "data": data} | more))

    async def answer(self, asked: Asked, content: str | None = None, **fields: str) -> None:
        """A good answer, the question behind a mark if nothing else is given."""
        self.open -= 1
        said = {
            "response_id": str(uuid4()),
            "conversation_id": asked.data["conversation_id"] or str(uuid4()),
            "content": echo_of(asked.content) if content is None else content,
        }
        await self.say(asked.frame, "ChatGptResponse", json.dumps(said | fields))

    async def closed(self) -> int | None:
        """The close code, once the server has closed the socket."""
        async with asyncio.timeout(PATIENCE):
            await self.socket.wait_closed()
        return self.socket.close_code

    async def leave(self) -> None:
        """Closes its socket; a second call does nothing."""
        await self.socket.close()

    def die(self) -> None:
        """Ends the connection as a killed process does: without a close frame."""
        self.socket.transport.abort()

    async def end(self) -> None:
        """Leaves, and waits for everything that it still does."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.leave()


Behaviour = Callable[[FakeAgent, Asked], Awaitable[None]]


def echo_of(content: str) -> str:
    return f"echo: {content}"


async def echo(agent: FakeAgent, asked: Asked) -> None:
    """Answers at once."""
    await agent.answer(asked)


async def silent(agent: FakeAgent, asked: Asked) -> None:
    """Leaves the answer to the test."""


async def hangs_up(agent: FakeAgent, asked: Asked) -> None:
    """Closes its socket instead of answering."""
    await agent.leave()


async def dies(agent: FakeAgent, asked: Asked) -> None:
    """Is gone without a word instead of answering."""
    agent.die()


def says(text: str | bytes) -> Behaviour:
    """Answers every question with this message; `ID` in a text stands for the question's id."""

    async def behave(agent: FakeAgent, asked: Asked) -> None:
        await agent.socket.send(text.replace("ID", asked.frame) if isinstance(text, str) else text)

    return behave


def reports(text: str) -> Behaviour:
    """Answers every question with an error frame, as the browser agent does."""

    async def behave(agent: FakeAgent, asked: Asked) -> None:
        await agent.say(asked.frame, "error", text, error={})

    return behave
