"""Frames that nobody asked for: they are dropped, and never reach somebody else."""

from __future__ import annotations

import asyncio
import json
import time
from uuid import uuid4

import pytest

from tests.socket_agent import Asked, FakeAgent, echo, silent
from tests.socket_server import Door


async def say_answer(agent: FakeAgent, frame: str, content: str, conversation: str = "") -> None:
    """An answer to whatever id."""
    data = {"response_id": "r", "conversation_id": conversation, "content": content}
    await agent.say(frame, "ChatGptResponse", json.dumps(data))


async def test_of_two_answers_the_first_counts(door: Door) -> None:
    """Attack 52 and fault 4: also when the next question is on its way by then."""

    async def twice(agent: FakeAgent, asked: Asked) -> None:
        await agent.answer(asked)
        await say_answer(agent, asked.frame, "the second answer")

    async with door.agent(twice):
        replies = await asyncio.gather(*(door.ask(str(number)) for number in range(20)))
        assert [reply.json()["content"] for reply in replies] == [f"echo: {number}" for number in range(20)]


async def test_a_late_answer_reaches_nobody_and_is_forgiven(hasty: Door) -> None:
    """Attack 52 and fault 5."""
    async with hasty.agent(silent) as slow:
        assert (await hasty.ask("too slow")).status_code == 504
        following = hasty.asking("next")
        asked = await slow.was_asked(2)
        await slow.answer(slow.asked[0])
        await slow.say(slow.asked[0].frame, "ChatGptDelta", "late piece")
        await slow.say(slow.asked[0].frame, "error", "late error")
        await slow.answer(asked)
        assert (await following).json()["content"] == "echo: next"


@pytest.mark.parametrize("kind", ["ChatGptResponse", "ChatGptDelta", "error"])
async def test_a_frame_with_a_wrong_id_is_dropped_and_the_agent_cooled(hasty: Door, kind: str) -> None:
    """Attack 52 and fault 7: the ask goes on waiting for its own answer; after five, others get the next asks."""

    async def wrong_first(agent: FakeAgent, asked: Asked) -> None:
        for _ in range(5):
            await agent.say(str(uuid4()), kind, json.dumps({"content": "wrong"}))
        await agent.answer(asked)

    async with hasty.agents(wrong_first, echo) as (confused, healthy):
        reply = await hasty.ask("mine")
        assert reply.json()["content"] == "echo: mine"
        await hasty.ask()
        if kind == "ChatGptDelta":  # a piece too many is no answer too many
            return
        confused.behaviour = echo
        assert {(await hasty.ask()).status_code for _ in range(4)} == {200}
        assert (len(confused.asked), len(healthy.asked)) == (1, 5)


async def test_an_agent_cannot_answer_what_a_peer_was_asked(door: Door) -> None:
    """Attack 53: it even knows the id."""
    async with door.agents(silent, silent) as (honest, liar):
        mine, other = door.asking("for the honest one"), None
        asked = await honest.was_asked()
        other = door.asking("for the liar")
        lied = await liar.was_asked()
        for message in ("ChatGptDelta", "error", "ChatGptResponse"):
            await liar.say(asked.frame, message, json.dumps({"content": "a lie"}))
        await say_answer(liar, lied.frame, "no lie")
        assert (await other).json()["content"] == "no lie"
        assert not mine.done()
        await honest.answer(asked)
        assert (await mine).json()["content"] == "echo: for the honest one"


async def test_unasked_answers_reach_nobody(door: Door) -> None:
    """Attack 52: to an idle server, with empty, made-up and the agent's own ids."""
    async with door.agents(echo, echo) as (eager, _):
        for frame in ("", "1", eager.id, str(uuid4())):
            await say_answer(eager, frame, "unasked")
        replies = [await door.ask(str(number)) for number in range(5)]
        assert [reply.json()["content"] for reply in replies] == [f"echo: {number}" for number in range(5)]


KINDS = [
    "",
    "ChatGptRequest",
    "ping",
    "pong",
    "cancel",
    "Connection id",
    "websocket.close",
    "subscribe",
    "chat.message",
    "é" * 500,
]


async def test_unknown_and_server_only_kinds_are_ignored(door: Door) -> None:
    """Attack 58: however many, they cost the agent nothing."""

    async def chatty(agent: FakeAgent, asked: Asked) -> None:
        for kind in KINDS:
            await agent.say(asked.frame, kind, '{"content":"no"}')
            await agent.say(agent.id, kind, '{"type":"websocket.send"}', type="event", to="everybody")
        await agent.answer(asked)

    async with door.agent(chatty) as agent:
        for number in range(4):
            assert (await door.ask(str(number))).json()["content"] == f"echo: {number}"
        assert await door.listed() == [agent.id]
        assert not [told for told in agent.told if told["message"] not in {"ping"}]


async def test_an_agent_that_names_a_foreign_conversation_gains_nothing(door: Door) -> None:
    """Attack 57: neither the conversation nor its owner changes, whoever the agent was asked by."""
    alice, bob = await door.user(), await door.user()
    async with door.agents(echo) as (first,):
        conversation = (await door.ask("secret", alice)).json()["conversation_id"]

        async def greedy(agent: FakeAgent, asked: Asked) -> None:
            await agent.answer(asked, conversation_id=conversation)

        async with door.agent(greedy) as thief:
            assert (await door.ask("bob's", bob)).json()["conversation_id"] == conversation
            first.behaviour = silent
            busy = door.asking("keeps the first one busy", alice)
            await first.was_asked(2)
            assert (await door.ask("alice's", alice)).json()["conversation_id"] == conversation
            await first.answer(first.asked[1])
            await busy
            first.behaviour = echo
            assert (await door.ask("more", alice, conversation_id=conversation)).status_code == 200
            assert [asked.content for asked in first.asked][-1] == "more"
            assert (await door.ask("bob again", bob, conversation_id=conversation)).status_code == 200
            assert [asked.content for asked in thief.asked] == ["bob's", "alice's", "bob again"]


async def test_nobody_continues_somebody_elses_conversation(door: Door) -> None:
    """Attacks 22 and 31: as an unknown one, and nothing reaches an agent."""
    alice, bob = await door.user(), await door.user()
    async with door.agent(echo) as agent:
        conversation = (await door.ask("secret", alice)).json()["conversation_id"]
        for found in (conversation, "unknown", "x" * 300, "\x00"):
            reply = await door.ask("let me see", bob, conversation_id=found)
            assert (reply.status_code, reply.json()) == (404, {"error": "Conversation doesn't exists"})
        assert [asked.content for asked in agent.asked] == ["secret"]


async def test_an_answer_reaches_its_asker_within_a_moment(door: Door) -> None:
    """An ask does not wait for a ping, and a commit alone not for its neighbours."""
    async with door.agent(echo):
        took = []
        for _ in range(9):
            started = time.monotonic()
            await door.ask()
            took.append(time.monotonic() - started)
        assert min(took) < 0.1  # one of nine, whatever else the machine does
