"""The browser agent of the reference server, replayed frame by frame: it lets itself be used as it is."""

from __future__ import annotations

import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from tests.socket_agent import ON, FakeAgent, until
from tests.socket_server import Door

PAGE = Origin("https://chat.openai.com")


async def test_the_old_browser_agent_works_unchanged(hasty: Door) -> None:
    """No key, the chat page's origin, an echo, one answer frame, an error frame, and back after a reload."""
    alice = await hasty.user()
    async with connect(hasty.url(), origin=PAGE, **ON) as socket:  # type: ignore[arg-type]
        hello = json.loads(await socket.recv())
        assert list(hello) == ["id", "message", "data"]
        kept = hello["id"]
        await socket.send(json.dumps({"id": kept, "message": "Connection id", "data": ""}))
        await hasty.until_listed(kept)

        first = hasty.asking("Hello world", alice)
        question = await next_question(socket)
        assert list(question["data"]) == ["message_id", "conversation_id", "parent_id", "content"]
        assert question["data"]["content"] == "Hello world"
        assert question["data"]["conversation_id"] == ""
        answer = {"response_id": "r-1", "conversation_id": "browser chat", "content": "Hi!"}
        await socket.send(frame(question["id"], "ChatGptResponse", json.dumps(answer)))
        assert (await first).text == (
            '{"id":"","response_id":"r-1","conversation_id":"browser chat","content":"Hi!","error":""}'
        )

        second = hasty.asking("Again", alice)
        question = await next_question(socket)
        broken = {"id": question["id"], "message": "error", "data": "Unknown error", "error": {}}
        await socket.send(json.dumps(broken))
        reply = await second
        assert (reply.status_code, reply.json()) == (502, {"error": "Agent error: Unknown error"})
        assert await hasty.listed() == [kept]

    agent = await FakeAgent.dial(hasty.url(), answers_in_the_same_chat, kept=kept, origin=PAGE)  # the page was reloaded
    try:
        reply = await hasty.ask("Where were we?", alice, conversation_id="browser chat", parent_id="r-1")
        assert reply.json()["conversation_id"] == "browser chat"
        asked = agent.asked[0].data
        assert (asked["conversation_id"], asked["parent_id"]) == ("browser chat", "r-1")
        await until(lambda: any(told["message"] == "ping" for told in agent.told), "a ping")
    finally:
        await agent.end()


async def answers_in_the_same_chat(agent: FakeAgent, asked: object) -> None:
    await agent.answer(agent.asked[-1])


async def next_question(socket: ClientConnection) -> dict[str, Any]:
    """Answers pings until a question comes; its data decoded."""
    async for text in socket:
        found: dict[str, Any] = json.loads(text)
        if found["message"] == "ping":
            await socket.send(frame(found["id"], "pong"))
        elif found["message"] == "ChatGptRequest":
            return found | {"data": json.loads(found["data"])}
    raise AssertionError("the socket was closed")


def frame(frame_id: str, message: str, data: str = "") -> str:
    return json.dumps({"id": frame_id, "message": message, "data": data})
