"""The bare round trip: HTTP in, socket out, socket in, HTTP out, and nothing else.

No credentials, no database, no time limit, no queue: the floor that any relay on this server program stands on.
`python -m bench.bare PORT` speaks just enough of the relay's protocol for the driver.
"""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvicorn

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# The server program and its options, as `manage.py serve` has them.
SERVER_OPTIONS: dict[str, Any] = {
    "loop": "uvloop",
    "http": "httptools",
    "ws": "websockets-sansio",
    "ws_per_message_deflate": False,
    "ws_ping_interval": None,
    "ws_ping_timeout": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_keep_alive": 75,
    "timeout_graceful_shutdown": 5,
    "backlog": 2048,
    "log_level": "warning",
    "lifespan": "off",
}


class Ask(msgspec.Struct, gc=False):
    content: str = ""
    conversation_id: str = ""


class Frame(msgspec.Struct, gc=False):
    id: str
    message: str
    data: str


class Question(msgspec.Struct, gc=False):
    message_id: str
    conversation_id: str
    parent_id: str
    content: str


class Reply(msgspec.Struct, gc=False):
    response_id: str
    conversation_id: str
    content: str


class Answer(msgspec.Struct, gc=False):
    id: str
    response_id: str
    conversation_id: str
    content: str
    error: str


_ask = msgspec.json.Decoder(Ask)
_frame = msgspec.json.Decoder(Frame)
_reply = msgspec.json.Decoder(Reply)
_encode = msgspec.json.Encoder().encode


class BareRelay:
    """An ASGI app that hands each ask to the next connected agent in turn, several at a time if it comes so."""

    def __init__(self) -> None:
        self._agents: list[Send] = []
        self._turn = 0
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Reply]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._agent(receive, send)
        elif scope["path"] == "/api/ask":
            await self._asked(receive, send)
        elif scope["path"] == "/api/connections":
            await respond(send, 200, _encode({"connections": [{}] * len(self._agents)}))
        elif scope["path"] == "/admin/users/add":
            await respond(send, 200, b'{"token":"anybody","user_id":"anybody"}')
        else:
            await respond(send, 200 if scope["path"] == "/health" else 404, b'"OK"')

    async def _agent(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        hello = Frame(format(next(self._numbers), "x"), "Connection id", "")
        await send({"type": "websocket.send", "text": _encode(hello).decode()})
        try:
            while (event := await receive())["type"] == "websocket.receive":
                self._heard(_frame.decode(event["text"]), send)
        finally:
            if send in self._agents:
                self._agents.remove(send)

    def _heard(self, frame: Frame, send: Send) -> None:
        if frame.message == "Connection id":
            self._agents.append(send)
        elif (waiting := self._waiting.pop(frame.id, None)) is not None and not waiting.done():
            waiting.set_result(_reply.decode(frame.data))

    async def _asked(self, receive: Receive, send: Send) -> None:
        event = await receive()
        body: bytes = event["body"]
        while event.get("more_body"):
            event = await receive()
            body += event["body"]
        status, answer = await self.answer(_ask.decode(body))
        await respond(send, status, _encode(answer))

    async def answer(self, ask: Ask) -> tuple[int, Answer]:
        """The status and the body for this ask."""
        if not self._agents:
            return 503, Answer("", "", "", "", "No available clients")
        self._turn = (self._turn + 1) % len(self._agents)
        number = format(next(self._numbers), "x")
        question = _encode(Question("", ask.conversation_id, "", ask.content)).decode()
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        frame = _encode(Frame(number, "ChatGptRequest", question)).decode()
        await self._agents[self._turn]({"type": "websocket.send", "text": frame})
        reply = await waiting
        return 200, Answer("", reply.response_id, reply.conversation_id, reply.content, "")


async def respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(BareRelay(), host="127.0.0.1", port=int(sys.argv[1]), **SERVER_OPTIONS)
