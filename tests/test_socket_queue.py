"""Asks that wait for an agent: first in first out, fair between users, bounded, and gone when their asker is."""

from __future__ import annotations

import asyncio
import time

import httpx

from tests.socket_agent import FakeAgent, silent, until
from tests.socket_server import Door

GAP = 0.25  # seconds between two asks whose order counts, and until the server has heard that an asker left


async def queued(door: Door, token: str, *contents: str) -> list[asyncio.Task[httpx.Response]]:
    """Asks that come one after the other."""
    asking = []
    for content in contents:
        asking.append(door.asking(content, token))
        await asyncio.sleep(GAP)
    return asking


async def answers_all(agent: FakeAgent, times: int) -> list[str]:
    """Answers one question after the other; the order in which they came."""
    for number in range(1, times + 1):
        await agent.answer(await agent.was_asked(number))
    return [asked.content for asked in agent.asked]


async def test_asks_of_one_user_are_served_in_the_order_in_which_they_came(door: Door) -> None:
    alice = await door.user()
    async with door.agent(silent) as agent:
        asking = await queued(door, alice, *"abcdef")
        assert await answers_all(agent, 6) == list("abcdef")
        replies = [await reply for reply in asking]
        assert "X-Queue-Wait" not in replies[0].headers
        waits = [float(reply.headers["X-Queue-Wait"]) for reply in replies[1:]]
        assert all(wait > 0 for wait in waits)


async def test_users_take_turns_however_much_one_of_them_asks(door: Door) -> None:
    """Attack 64."""
    alice, bob = await door.user(), await door.user()
    async with door.agent(silent) as agent:
        asking = await queued(door, alice, "a1", "a2", "a3", "a4", "a5")
        asking += await queued(door, bob, "b1", "b2")
        assert await answers_all(agent, 7) == ["a1", "a2", "b1", "a3", "b2", "a4", "a5"]
        assert {(await reply).status_code for reply in asking} == {200}


async def test_the_queue_is_bounded_for_each_user_and_in_all_and_a_wait_ends(hasty: Door) -> None:
    """Attacks 64 and 65: 429 above a user's share, 503 above the whole, both at once; 503 when the wait is over."""
    alice, bob = await hasty.user(), await hasty.user()
    async with hasty.agent(silent) as agent:
        first = hasty.asking("served", alice)
        await agent.was_asked()
        asking = [hasty.asking(str(number), alice) for number in range(9)]
        await asyncio.sleep(GAP)
        bobs = await asyncio.gather(*(hasty.ask(f"b{number}", bob) for number in range(6)))
        replies = await asyncio.gather(*asking)
        refused = [reply for reply in replies if reply.status_code == 429]
        assert len(refused) == 1
        assert refused[0].json() == {"error": "Too many of your questions are waiting already"}
        over = [reply for reply in replies if reply.status_code == 503]
        assert {reply.json()["error"] for reply in over} == {
            "Every agent stayed busy for as long as a question may wait"
        }
        assert len(over) + len(refused) == 9
        assert "Too many questions are waiting" in {reply.json()["error"] for reply in bobs}
        assert {reply.headers["Retry-After"] for reply in [*refused, *over, *bobs]} == {"5"}
        first.cancel()


async def test_an_asker_that_leaves_frees_its_agent_at_once_and_the_agent_is_told(door: Door) -> None:
    """Fault 8: and what the agent still says to it reaches nobody and is not held against it."""
    async with door.agent(silent) as agent:
        leaves, stays = door.asking("leaves"), None
        asked = await agent.was_asked()
        stays = door.asking("stays")
        await asyncio.sleep(GAP)
        leaves.cancel()
        assert (await agent.was_told("cancel"))["id"] == asked.frame
        next_one = await agent.was_asked(2)
        await agent.answer(asked)
        await agent.answer(next_one)
        assert (await stays).json()["content"] == "echo: stays"
        assert [found.content for found in agent.asked] == ["leaves", "stays"]


async def test_an_asker_that_leaves_gives_up_its_place_in_the_queue(door: Door) -> None:
    alice = await door.user()
    async with door.agent(silent) as agent:
        first, leaves, stays = await queued(door, alice, "first", "leaves", "stays")
        leaves.cancel()
        await asyncio.sleep(GAP)
        assert await answers_all(agent, 2) == ["first", "stays"]
        assert {(await first).status_code, (await stays).status_code} == {200}


async def test_many_that_leave_make_no_storm(door: Door) -> None:
    """Fault 8: the agent gets the asks of those who stay, and nothing twice."""
    async with door.agent(silent, declares={"concurrency": 70}) as agent:
        asking = [door.asking(str(number)) for number in range(70)]
        await agent.was_asked(70)
        for task in asking:
            task.cancel()
        await until(lambda: sum(told["message"] == "cancel" for told in agent.told) == 70, "70 cancel frames")
        late = list(agent.asked)
        for asked in late:  # an agent that knows no `cancel` answers all the same
            await agent.answer(asked)
        started = time.monotonic()
        stays = door.asking("stays")
        await agent.answer(await agent.was_asked(71))
        assert (await stays).status_code == 200
        assert time.monotonic() - started < 5  # the agent need not rest for answers that it did not know to be late
        assert len({asked.content for asked in agent.asked}) == 71


async def test_without_any_agent_an_ask_is_refused_at_once(door: Door) -> None:
    """Fault 31: with the time after which to try again; nothing queues."""
    replies = await asyncio.gather(*(door.ask() for _ in range(20)))
    assert {reply.status_code for reply in replies} == {503}
    assert {reply.headers["Retry-After"] for reply in replies} == {"5"}
    assert replies[0].json() == {"error": "No available clients"}


async def test_the_first_agent_back_serves_at_once(door: Door) -> None:
    """Fault 31: nothing rests and nobody waits for a round of anything."""
    assert (await door.ask()).status_code == 503
    async with door.agent():
        assert (await door.ask()).status_code == 200
