"""An agent gets no more at once than it declared, and the next ask goes to the least loaded one."""

from __future__ import annotations

import asyncio
import random

from tests.socket_agent import Asked, FakeAgent, echo, echo_of, silent
from tests.socket_server import Door


async def takes_its_time(agent: FakeAgent, asked: Asked) -> None:
    await asyncio.sleep(random.uniform(0.0, 0.02))
    await agent.answer(asked)


async def test_an_agent_that_declared_nothing_never_has_two_asks(door: Door) -> None:
    async with door.agents(*[takes_its_time] * 3) as agents:
        replies = await asyncio.gather(*(door.ask(f"{number}") for number in range(60)))
        assert [reply.json()["content"] for reply in replies] == [echo_of(f"{number}") for number in range(60)]
        assert [agent.most for agent in agents] == [1, 1, 1]


async def test_an_agent_never_has_more_asks_than_it_declared(door: Door) -> None:
    async with (
        door.agent(takes_its_time, declares={"concurrency": 4}) as four,
        door.agent(takes_its_time, declares={"concurrency": 1}) as one,
    ):
        replies = await asyncio.gather(*(door.ask(f"{number}") for number in range(80)))
        assert {reply.status_code for reply in replies} == {200}
        assert (four.most, one.most) == (4, 1)


async def test_answers_in_reversed_order_reach_their_own_askers(door: Door) -> None:
    """Attack 54: 45 callers."""
    async with door.agent(silent, declares={"concurrency": 45}) as agent:
        asking = [door.asking(f"question {number}") for number in range(45)]
        await agent.was_asked(45)
        for asked in reversed(agent.asked):
            await agent.answer(asked)
        contents = [(await reply).json()["content"] for reply in asking]
        assert contents == [echo_of(f"question {number}") for number in range(45)]


async def test_idle_agents_are_asked_in_turns_those_never_asked_first(door: Door) -> None:
    """b c a b c a ..., as the reference server does."""
    async with door.agents(echo, echo, echo) as agents:
        await in_turns(door, agents, 7)
        async with door.agent(echo) as newcomer:
            await door.ask()
            assert len(newcomer.asked) == 1
            await in_turns(door, [*agents[1:], agents[0], newcomer], 8)


async def in_turns(door: Door, agents: list[FakeAgent], times: int) -> None:
    for number in range(times):
        before = [len(agent.asked) for agent in agents]
        assert (await door.ask()).status_code == 200
        asked = [len(agent.asked) - had for agent, had in zip(agents, before, strict=True)]
        assert asked.index(1) == number % len(agents)


async def test_the_least_loaded_agent_is_asked_first(door: Door) -> None:
    """Load counts against what the agent declared."""
    async with (
        door.agent(silent, declares={"concurrency": 4}) as big,
        door.agent(silent, declares={"concurrency": 2}) as small,
    ):
        asking = []
        for number, expected in enumerate([(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (4, 2)], 1):
            asking.append(door.asking(str(number)))
            await settled(big, small, expected)
        for agent in (big, small):
            for asked in agent.asked:
                await agent.answer(asked)
        assert {(await reply).status_code for reply in asking} == {200}


async def settled(big: FakeAgent, small: FakeAgent, expected: tuple[int, int]) -> None:
    await big.was_asked(expected[0])
    if expected[1]:
        await small.was_asked(expected[1])
    assert (len(big.asked), len(small.asked)) == expected


async def test_an_agent_at_work_does_not_hold_up_the_others(door: Door) -> None:
    """Fault 6."""
    async with door.agents(silent, echo) as (slow, quick):
        first = door.asking("slow one")
        await slow.was_asked()
        replies = [await door.ask(str(number)) for number in range(10)]
        assert {reply.status_code for reply in replies} == {200}
        assert len(quick.asked) == 10
        await slow.answer(slow.asked[0])
        assert (await first).json()["content"] == "echo: slow one"
