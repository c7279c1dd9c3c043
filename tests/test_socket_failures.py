"""Agents that die, hang, lie or fail: the ask goes to another one, or ends with a reason."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest
from websockets.asyncio.client import connect

from tests.patience import PATIENCE
from tests.socket_agent import (
    ON,
    Asked,
    Behaviour,
    FakeAgent,
    dies,
    echo,
    echo_of,
    hangs_up,
    reports,
    says,
    silent,
)
from tests.socket_server import Door


async def dies_halfway(agent: FakeAgent, asked: Asked) -> None:
    """After a part of its answer."""
    await agent.say(asked.frame, "ChatGptDelta", "half of the ans")
    agent.die()


@pytest.mark.parametrize("behaviour", [hangs_up, dies, dies_halfway])
async def test_an_ask_whose_agent_dies_goes_to_another_one(door: Door, behaviour: Behaviour) -> None:
    """Faults 1 and 2: within 2 s."""
    async with door.agents(behaviour, echo) as (broken, healthy):
        started = time.monotonic()
        reply = await door.ask("both")
        assert reply.json()["content"] == "echo: both"
        assert time.monotonic() - started < 2
        assert [agent.asked[0].content for agent in (broken, healthy)] == ["both", "both"]
        await door.until_list(lambda found: found == [healthy.id])


@pytest.mark.parametrize("behaviour", [hangs_up, dies])
async def test_an_ask_whose_only_agent_dies_ends_with_a_reason(door: Door, behaviour: Behaviour) -> None:
    async with door.agent(behaviour):
        reply = await door.ask()
    assert reply.status_code == 502
    assert reply.json() == {
        "err": "The agent went away before it had answered.",
        "error": "Failed to read response from the client",
    }


async def test_an_ask_is_given_to_three_agents_at_most(door: Door) -> None:
    async with door.agents(dies, dies, dies, echo) as agents:
        assert (await door.ask()).status_code == 502
        assert [len(agent.asked) for agent in agents] == [1, 1, 1, 0]


RUBBISH = {
    "no JSON": "oops",
    "nothing": "",
    "an array": '["ID"]',
    "a number": "5",
    "bytes": b"\xff\xfe\x00",
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "data that is an object": '{"id":"ID","message":"ChatGptResponse","data":{"content":"x"}}',
    "data that is no JSON": '{"id":"ID","message":"ChatGptResponse","data":"hello"}',
    "data that is an array": '{"id":"ID","message":"ChatGptResponse","data":"[]"}',
    "data that is deep": '{"id":"ID","message":"ChatGptResponse","data":"' + "[" * 100_000 + '"}',
    "content that is a number": r'{"id":"ID","message":"ChatGptResponse","data":"{\"content\":5}"}',
    "a message that is none": '{"id":"ID","message":7,"data":""}',
}


@pytest.mark.parametrize("text", RUBBISH.values(), ids=RUBBISH.keys())
async def test_rubbish_is_no_answer(door: Door, text: str | bytes) -> None:
    """Attacks 42 and 55: another agent answers; if there is none, the asker gets a reason."""
    async with door.agent(says(text)) as broken:
        started = time.monotonic()
        reply = await door.ask("alone")
        assert reply.status_code == 502
        assert reply.json().keys() == {"err", "error"}
        assert reply.json()["error"] == "Failed to convert response to ChatGptResponse"
        assert time.monotonic() - started < 2
        async with door.agent(echo):
            replies = [await door.ask(str(number)) for number in range(2)]
            assert [found.json()["content"] for found in replies] == ["echo: 0", "echo: 1"]
        assert len(broken.asked) == 2
    assert "Traceback" not in door.web.log


async def test_rubbish_between_asks_harms_none(door: Door) -> None:
    async with door.agent(echo) as agent:
        await agent.socket.send("oops")
        assert (await door.ask()).json()["content"] == "echo: Why?"


async def test_an_agents_error_is_passed_on_in_its_own_words(door: Door) -> None:
    """Attack 55: not retried elsewhere, and the agent stays in play."""
    async with door.agents(reports("Too many requests in 1 hour. <Try again> later."), echo) as (failing, healthy):
        reply = await door.ask()
        assert reply.status_code == 502
        assert reply.json() == {"error": "Agent error: Too many requests in 1 hour. <Try again> later."}
        assert healthy.asked == []
        failing.behaviour = echo
        await door.ask()
        assert (await door.ask()).status_code == 200
        assert len(failing.asked) == 2


@pytest.mark.parametrize("behaviour", [reports("no"), says("oops"), says('{"id":"ID","message":"error","data":5}')])
async def test_an_agent_rests_after_five_failures_in_a_row_and_comes_back(hasty: Door, behaviour: Behaviour) -> None:
    async with hasty.agents(behaviour, echo) as (failing, healthy):
        while len(failing.asked) < 5:
            await hasty.ask()
        served = len(healthy.asked)
        replies = [await hasty.ask() for _ in range(6)]
        assert {reply.status_code for reply in replies} == {200}
        assert (len(failing.asked), len(healthy.asked)) == (5, served + 6)
        failing.behaviour = echo
        deadline = time.monotonic() + PATIENCE
        while len(failing.asked) == 5:
            assert time.monotonic() < deadline
            assert (await hasty.ask()).status_code == 200


async def test_a_good_answer_ends_the_row_of_failures(hasty: Door) -> None:
    async with hasty.agent(echo) as agent:
        for number in range(12):
            agent.behaviour = echo if number % 4 == 0 else reports("no")
            reply = await hasty.ask()
            assert reply.status_code == (200 if number % 4 == 0 else 502)


async def test_a_silent_agents_ask_goes_to_another_one(hasty: Door) -> None:
    """Fault 24: in the agent's time, and the silent one is told."""
    async with hasty.agents(silent, echo) as (quiet, healthy):
        started = time.monotonic()
        assert (await hasty.ask("both")).json()["content"] == "echo: both"
        assert 1.2 < time.monotonic() - started < 2.5
        assert (await quiet.was_told("cancel"))["id"] == quiet.asked[0].frame
        assert len(healthy.asked) == 1


async def test_with_silent_agents_only_an_ask_ends_at_its_deadline(hasty: Door) -> None:
    """Fault 24: 504, half a second after the deadline at most; the server lives on."""
    async with hasty.agents(silent, silent, silent) as agents:
        started = time.monotonic()
        reply = await hasty.ask()
        assert reply.status_code == 504
        assert reply.json()["error"] == "Failed to read response from the client"
        assert 2 < time.monotonic() - started < 3.8
        for agent in agents:
            agent.behaviour = echo
        assert (await hasty.ask()).status_code == 200


async def test_an_agent_at_work_that_still_sends_pieces_is_not_silent(hasty: Door) -> None:
    """Its time runs from its last piece."""

    async def slowly(agent: FakeAgent, asked: Asked) -> None:
        for _ in range(10):
            await agent.say(asked.frame, "ChatGptDelta", "la ")
            await asyncio.sleep(0.2)
        await agent.answer(asked, "")

    async with hasty.agent(slowly):
        assert (await hasty.ask()).json()["content"] == "la " * 10


async def test_the_last_frame_counts_when_it_holds_the_whole_answer(door: Door) -> None:
    async def both(agent: FakeAgent, asked: Asked) -> None:
        await agent.say(asked.frame, "ChatGptDelta", "a piece")
        await agent.answer(asked, "the whole")

    async with door.agent(both):
        assert (await door.ask()).json()["content"] == "the whole"


async def test_a_half_open_agent_is_found_by_ping_and_its_asks_move(hasty: Door) -> None:
    """Fault 3."""
    async with hasty.agents(silent, echo, echo, pongs=False) as (frozen, *healthy):
        for agent in healthy:
            agent.pongs = True
        started = time.monotonic()
        assert (await hasty.ask("moves")).json()["content"] == "echo: moves"
        assert time.monotonic() - started < 1.5
        assert len(frozen.asked) == 1
        await hasty.until_unlisted(frozen.id)
        assert await frozen.closed() == 1001


async def test_an_agent_that_reads_nothing_blocks_nobody(hasty: Door) -> None:
    """Faults 3 and 6: what is stuck in writing moves on, too, and the socket is cut."""
    tiny = socket.socket()
    tiny.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tiny.setblocking(False)
    host, port = hasty.web.address.split(":")
    await asyncio.get_running_loop().sock_connect(tiny, (host, int(port)))
    async with connect(hasty.url(), sock=tiny, **ON) as frozen:  # type: ignore[arg-type]
        offered = json.loads(await frozen.recv())["id"]
        declared = json.dumps({"concurrency": 16})
        await frozen.send(json.dumps({"id": offered, "message": "Connection id", "data": declared}))
        await hasty.until_listed(offered)
        frozen.transport.pause_reading()
        async with hasty.agent(echo, declares={"concurrency": 16}) as healthy:
            big = ["€" * 300_000 + str(number) for number in range(16)]
            replies = await asyncio.gather(*(hasty.ask(content) for content in big))
            assert [reply.json()["content"] for reply in replies] == [echo_of(content) for content in big]
            assert len({asked.content for asked in healthy.asked}) == 16
            assert await hasty.listed() == [healthy.id]
        frozen.transport.abort()


async def test_an_agent_that_comes_and_goes_is_left_alone_for_a_while(hasty: Door) -> None:
    """Fault 30: others are not affected."""
    async with hasty.agent(echo) as steady:
        for _ in range(5):
            flapping = await FakeAgent.dial(hasty.url(), dies, kept="flapping")
            await hasty.until_listed("flapping")
            await flapping.end()
            await hasty.until_unlisted("flapping")
        async with hasty.agent(echo, kept="flapping") as flapping:
            replies = [await hasty.ask() for _ in range(6)]
            assert {reply.status_code for reply in replies} == {200}
            assert (len(flapping.asked), len(steady.asked)) == (0, 6)
            deadline = time.monotonic() + PATIENCE
            while not flapping.asked:
                assert time.monotonic() < deadline
                await hasty.ask()


async def test_two_hundred_agents_come_back_at_once(door: Door) -> None:
    """Fault 12: all are in soon, and asks go on meanwhile."""
    async with door.agent(echo) as steady:
        crowd = [FakeAgent.dial(door.url(), echo, kept=f"crowd {number}") for number in range(200)]
        started = time.monotonic()
        coming = asyncio.gather(*crowd)
        replies = [await door.ask(str(number)) for number in range(20)]
        agents = await coming
        await door.until_list(lambda found: len(found) == 201)
        assert time.monotonic() - started < 15
        assert {reply.status_code for reply in replies} == {200}
        replies = await asyncio.gather(*(door.ask(str(number)) for number in range(201)))
        assert {reply.status_code for reply in replies} == {200}
        assert [len(agent.asked) > 0 for agent in agents].count(True) >= 150
        assert steady.asked
        await asyncio.gather(*(agent.end() for agent in agents))
