"""Agents of our own: they dial in, answer pings, and give each question back behind a mark."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import cast

import msgspec

from bench import wire
from bench.load import Load, Tally

MAX_LATE = 0.001  # seconds; what a busy machine adds beyond is not made up for
MARK = "echo: "
_encode = msgspec.json.Encoder().encode


class Frame(msgspec.Struct, gc=False):
    id: str
    message: str
    data: str = ""


class Question(msgspec.Struct, gc=False):
    content: str
    conversation_id: str = ""


class Reply(msgspec.Struct, gc=False):
    response_id: str
    conversation_id: str
    content: str


_frame = msgspec.json.Decoder(Frame)
_question = msgspec.json.Decoder(Question)

# A question's text begins with a key in the form of a UUID; see `clients`.
KEY_LENGTH = 36


def response_id(key: str) -> str:
    """The id that belongs to the answer of this question alone."""
    return f"{key[:14]}4001{key[18:]}"


def reply_to(question: Question) -> Reply:
    """The one right answer: the text behind a mark, an id of its own, and the conversation kept or opened."""
    key = question.content[:KEY_LENGTH]
    return Reply(response_id(key), question.conversation_id or key, MARK + question.content)


def reply_frame(number: str, reply: Reply) -> bytes:
    return wire.frame(_encode(Frame(number, "ChatGptResponse", _encode(reply).decode())))


class Crew:
    """All agents of a run, and what they share."""

    def __init__(self, load: Load, tally: Tally) -> None:
        self.load = load
        self.tally = tally
        self.think = load.think
        self.agents: list[Agent] = []
        self.deaths: dict[str, float] = {}  # key of a question: when the agent that held it died
        self.closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def dial(self, kinds: list[Callable[["Crew"], "Agent"]]) -> None:
        """Connect one agent of each kind, 128 at a time, and wait until the server has heard all of them."""
        gate = asyncio.Semaphore(128)

        async def one(kind: Callable[[Crew], Agent]) -> None:
            async with gate:
                await self.add(kind)

        await asyncio.gather(*(one(kind) for kind in kinds))

    async def add(self, kind: Callable[["Crew"], "Agent"]) -> None:
        agent = kind(self)
        self.agents.append(agent)
        await asyncio.get_running_loop().create_connection(
            lambda: agent, wire.HOST, self.load.agent_port or self.load.port
        )
        await asyncio.wait_for(agent.ready, 30)

    def replace(self, agent: "Agent") -> None:
        """A new agent of the same kind comes in place of one that is gone."""
        self.agents.remove(agent)
        if not self.closing:
            task = asyncio.ensure_future(self.add(type(agent)))
            self._tasks.add(task)
            task.add_done_callback(self._replaced)

    def _replaced(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.tally.lost[f"an agent could not come back: {task.exception()!r}"] += 1

    async def leave(self) -> None:
        self.closing = True
        for task in self._tasks:
            task.cancel()
        for agent in self.agents:
            agent.close()
        farewells = [asyncio.ensure_future(agent.gone.wait()) for agent in self.agents if agent.connected]
        if farewells:
            await asyncio.wait(farewells, timeout=5)


class Agent(asyncio.Protocol):
    """A healthy agent."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.connected = False
        self.held: dict[str, Question] = {}  # questions under way, by the id of their frame
        self._reader = wire.FrameReader()
        self._handshake: bytes | None = b""
        self._late = 0.0  # seconds, summed over all answers so far
        self._allowed = sys.maxsize if crew.load.several else max(1, crew.load.declared)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.connected = True
        token = self.crew.load.agent_token
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": wire.HANDSHAKE_KEY,
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }
        self.transport.write(wire.request("GET", "/client/register", self.crew.load.door, headers))

    def connection_lost(self, exc: Exception | None) -> None:
        self.connected = False
        self.gone.set()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the server closed the socket before its hello"))
        elif not self.crew.closing:
            self.lost()

    def lost(self) -> None:
        """The server closed a healthy agent, which it never should."""
        self.crew.tally.lost["a healthy agent was closed"] += 1

    def data_received(self, data: bytes) -> None:
        if self._handshake is not None:
            data = self._shake_hands(data)
        fresh = 0
        for opcode, payload in self._reader.feed(data):
            if opcode == wire.TEXT:
                fresh += self._heard(_frame.decode(payload))
            elif opcode == wire.PING:
                self.transport.write(wire.frame(payload, wire.PONG))
            elif opcode == wire.CLOSE:
                self.close()
        # Questions that came in one piece were sent before any of them was answered.
        if fresh > self._allowed:
            self.crew.tally.overloads += 1

    def _shake_hands(self, data: bytes) -> bytes:
        head, end, rest = ((self._handshake or b"") + data).partition(b"\r\n\r\n")
        if not end:
            self._handshake = head
            return b""
        self._handshake = None
        if not head.startswith(b"HTTP/1.1 101 ") or wire.HANDSHAKE_ACCEPT not in head:
            self.ready.set_exception(ConnectionError(f"no websocket: {head[:60]!r}"))
            self.transport.abort()
            return b""
        return rest

    def _heard(self, frame: Frame) -> bool:
        """True when it was a question."""
        if frame.message == "ChatGptRequest":
            self.asked(frame.id, _question.decode(frame.data))
            return True
        if frame.message == "ping":
            self.say(Frame(frame.id, "pong"))
        elif frame.message == "cancel":
            self.held.pop(frame.id, None)
        elif frame.message == "Connection id" and not self.ready.done():
            declared = self.crew.load.declared
            data = json.dumps({"name": "bench", "concurrency": declared}) if declared else ""
            self.say(Frame(frame.id, "Connection id", data))
            self.ready.set_result(None)
        return False

    def asked(self, number: str, question: Question) -> None:
        think = self.crew.think
        if not think:
            self.transport.write(reply_frame(number, reply_to(question)))
            return
        self.held[number] = question
        if len(self.held) > self._allowed:
            self.crew.tally.overloads += 1
        # The loop's timer knows whole milliseconds only: what it was late by is taken off the next time.
        delay = think - self._late
        asyncio.get_running_loop().call_later(delay, self.answer, number, time.perf_counter() + think)

    def answer(self, number: str, due: float) -> None:
        late = self._late + time.perf_counter() - due
        self._late = min(max(late, -MAX_LATE), MAX_LATE)
        question = self.held.pop(number, None)
        if question is not None and self.connected:
            self.transport.write(reply_frame(number, reply_to(question)))

    def say(self, frame: Frame) -> None:
        self.transport.write(wire.frame(_encode(frame)))

    def close(self) -> None:
        """Say good-bye with code 1000 and end the connection."""
        if self.connected and not self.transport.is_closing():
            self.transport.write(wire.frame((1000).to_bytes(2, "big"), wire.CLOSE))
            self.transport.close()
