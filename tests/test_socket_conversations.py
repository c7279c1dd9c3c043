"""A conversation lives with one agent: it waits for that agent's return, and ends with a reason."""

from __future__ import annotations

import asyncio
import time

from tests.socket_agent import FakeAgent, dies, echo, silent
from tests.socket_server import Door

NO_LONGER = (500, {"error": "Connection no longer exists"})


async def begun(door: Door, token: str) -> str:
    return str((await door.ask("first", token)).json()["conversation_id"])


async def test_a_conversation_stays_with_its_agent(door: Door) -> None:
    alice = await door.user()
    async with door.agents(echo, echo, echo) as (first, *others):
        conversation = await begun(door, alice)
        for _ in range(4):
            assert (await door.ask("more", alice, conversation_id=conversation)).status_code == 200
        assert (len(first.asked), [len(agent.asked) for agent in others]) == (5, [0, 0])


async def test_it_waits_while_its_agent_is_busy_though_others_are_idle(door: Door) -> None:
    alice = await door.user()
    async with door.agents(echo, echo) as (first, other):
        conversation = await begun(door, alice)
        first.behaviour = silent
        assert (await door.ask("elsewhere")).status_code == 200
        busy = door.asking("busy", alice, conversation_id=conversation)
        await first.was_asked(2)
        waits = door.asking("waits", alice, conversation_id=conversation)
        assert (await door.ask("meanwhile")).status_code == 200
        assert not waits.done()
        await first.answer(first.asked[1])
        await first.answer(await first.was_asked(3))
        assert {(await busy).status_code, (await waits).status_code} == {200}
        assert [asked.content for asked in other.asked] == ["elsewhere", "meanwhile"]


async def test_it_goes_on_when_its_agent_comes_back_in_time(hasty: Door) -> None:
    alice = await hasty.user()
    async with hasty.agent(echo, kept="coming back"):
        conversation = await begun(hasty, alice)
    async with hasty.agent(echo) as other:
        await hasty.until_unlisted("coming back")
        asking = hasty.asking("second", alice, conversation_id=conversation)
        await asyncio.sleep(0.05)
        async with hasty.agent(echo, kept="coming back", listed=False) as back:
            assert (await asking).json()["content"] == "echo: second"
            assert [asked.content for asked in back.asked] == ["second"]
            assert other.asked == []


async def test_it_ends_with_a_reason_when_its_agent_stays_away(hasty: Door) -> None:
    alice = await hasty.user()
    async with hasty.agent(echo):
        conversation = await begun(hasty, alice)
    async with hasty.agent(echo) as other:
        started = time.monotonic()
        reply = await hasty.ask("second", alice, conversation_id=conversation)
        assert (reply.status_code, reply.json()) == NO_LONGER
        assert time.monotonic() - started < 2
        started = time.monotonic()
        reply = await hasty.ask("third", alice, conversation_id=conversation)
        assert (reply.status_code, reply.json()) == NO_LONGER
        assert time.monotonic() - started < 0.5
        assert other.asked == []


async def test_with_no_agent_at_all_it_is_refused_at_once(hasty: Door) -> None:
    """Fault 31: once nobody can be hoped for."""
    alice = await hasty.user()
    async with hasty.agent(echo):
        conversation = await begun(hasty, alice)
    assert (await hasty.ask("waits a little", alice, conversation_id=conversation)).status_code == 503
    started = time.monotonic()
    reply = await hasty.ask("second", alice, conversation_id=conversation)
    assert (reply.status_code, reply.json()) == (503, {"error": "No available clients"})
    assert time.monotonic() - started < 0.5


async def test_an_ask_that_its_agent_lost_is_asked_again_when_it_is_back(hasty: Door) -> None:
    """Faults 2 and 11: never of another agent."""
    alice = await hasty.user()
    async with hasty.agents(echo) as (other,):
        other.behaviour = silent
        holds = hasty.asking("holds the other one")
        await other.was_asked()
        async with hasty.agent(echo, kept="restarts") as agent:
            conversation = await begun(hasty, alice)
            agent.behaviour = dies
            asking = hasty.asking("second", alice, conversation_id=conversation)
            await agent.was_asked(2)
        async with hasty.agent(echo, kept="restarts", listed=False) as back:
            assert (await asking).json()["content"] == "echo: second"
            assert len(back.asked) == 1
        await other.answer(other.asked[0])
        assert (await holds).status_code == 200


async def test_an_agent_that_dies_of_a_question_again_and_again_is_not_asked_for_ever(hasty: Door) -> None:
    alice = await hasty.user()
    async with hasty.agent(echo, kept="fragile"):
        conversation = await begun(hasty, alice)
    asking = hasty.asking("deadly", alice, conversation_id=conversation)
    agents: list[FakeAgent] = []
    while not asking.done() and len(agents) < 6:
        agents.append(await FakeAgent.dial(hasty.url(), dies, kept="fragile"))
        await asyncio.wait({asking, *agents[-1]._tasks}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    reply = await asking
    assert reply.status_code in {500, 502, 503}
    assert sum(len(agent.asked) for agent in agents) <= 3
    for agent in agents:
        await agent.end()
