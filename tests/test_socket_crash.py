"""What is left when the machine misbehaves: kill -9, a locked or refusing database, a stopped process."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import time
from pathlib import Path

from tests import databases
from tests.patience import PATIENCE
from tests.socket_agent import Asked, FakeAgent, echo, silent, until
from tests.socket_fixtures import NewWeb
from tests.socket_server import Door, door_to

ROWS = "SELECT conversation_id FROM relay_conversation"


async def test_what_was_answered_survives_a_kill(new_web: NewWeb) -> None:
    """Fault 10: every conversation that an asker was told of is in the database, and goes on after the start."""
    web = new_web()
    async with door_to(web) as door:
        alice = await door.user()
        async with door.agent(echo, kept="stays", declares={"concurrency": 8}) as agent:
            told: list[str] = []

            async def asks() -> None:
                while True:
                    told.append((await door.ask("Why?", alice)).json()["conversation_id"])

            async with asyncio.TaskGroup() as group:
                asking = [group.create_task(asks()) for _ in range(8)]
                await until(lambda: len(told) > 60, "60 answers")
                web.process.kill()
                for task in asking:
                    task.cancel()
            answered = list(told)
            await agent.closed()
        web.kill()
        assert set(answered) <= {row[0] for row in web.sql(ROWS)}
    async with door_to(web) as door, door.agent(echo, kept="stays"):
        reply = await door.ask("and then?", alice, conversation_id=answered[-1])
        assert (reply.status_code, reply.json()["content"]) == (200, "echo: and then?")


async def test_a_locked_database_delays_the_answer_and_loses_nothing(door: Door) -> None:
    """The answer leaves after its conversation is committed; who opens none does not wait (fault 16)."""

    async def opens_one(agent: FakeAgent, asked: Asked) -> None:
        await agent.answer(asked, conversation_id="" if asked.content == "opens none" else f"of {asked.content}")

    async with door.agent(opens_one, declares={"concurrency": 4}):
        with databases.locked(door.web.data, "relay_conversation"):
            waits = [door.asking(f"question {number}") for number in range(3)]
            assert (await door.ask("opens none")).status_code == 200
            await asyncio.sleep(0.05)
            assert not any(asking.done() for asking in waits)
        assert {(await asking).status_code for asking in waits} == {200}
        assert {("of question 0",), ("of question 1",), ("of question 2",)} <= set(door.web.sql(ROWS))


async def test_a_database_that_refuses_is_no_answer_and_no_crash(door: Door) -> None:
    """503, and all is well again as soon as the database takes rows."""
    async with door.agent(echo):
        with databases.refusing(door.web.data, "relay_conversation"):
            replies = await asyncio.gather(*(door.ask() for _ in range(3)))
        assert {reply.status_code for reply in replies} == {503}
        assert {reply.headers["Retry-After"] for reply in replies} == {"5"}
        assert replies[0].json() == {"error": "The answer came but could not be saved"}
        assert "disk is full" in door.web.log
        assert (await door.ask()).status_code == 200


async def test_a_user_who_is_gone_by_then_spoils_nobody_elses_answer(door: Door) -> None:
    """Fault 33: rows of one instant share a commit, and only the one at fault is refused."""
    alice, bob = await door.user(), await door.user()
    async with door.agent(silent, declares={"concurrency": 8}) as agent:
        asking = [door.asking(str(number), alice if number == 3 else bob) for number in range(8)]
        await agent.was_asked(8)
        door.web.sql("DELETE FROM accounts_token WHERE hint = ?", alice[-4:])
        door.web.sql(
            "DELETE FROM accounts_user WHERE NOT is_staff AND id NOT IN (SELECT user_id FROM accounts_token "
            "WHERE user_id IS NOT NULL) AND id NOT IN (SELECT owner_id FROM relay_conversation WHERE owner_id NOTNULL)"
        )
        for asked in agent.asked:
            await agent.answer(asked)
        assert [(await reply).status_code for reply in asking] == [200, 200, 200, 503, 200, 200, 200, 200]


async def test_a_server_that_stood_still_drops_no_agent_and_says_so(hasty: Door) -> None:
    """Fault 20: what came in meanwhile is heard before anybody is called silent."""
    async with hasty.agents(silent, echo) as (busy, idle):
        asking = hasty.asking("survives")
        asked = await busy.was_asked()
        sockets = [busy.socket, idle.socket]
        hasty.web.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(0)
            await busy.answer(asked)
            still_until = time.monotonic() + 1.7  # longer than an agent may be silent to one ask and to a ping
            await until(lambda: time.monotonic() > still_until, "the time is over")
        finally:
            hasty.web.process.send_signal(signal.SIGCONT)
        assert (await asking).json()["content"] == "echo: survives"
        await hasty.until_logged("The event loop stood still for")
        assert len(await hasty.listed()) == 2
        assert [socket.close_code for socket in sockets] == [None, None]


async def test_a_database_that_refused_is_told_again_who_was_there(door: Door) -> None:
    """Whose an id is, and what an agent served, is written as soon as the database takes it."""
    with databases.refusing(door.web.data, "relay_agent"):
        async with door.agent(silent, kept="patient") as agent:
            asking = door.asking()
            await agent.answer(await agent.was_asked(), conversation_id="")
            assert (await asking).status_code == 200
            await door.until_logged("The database did not take what the relay notes down: disk is full")
    async with door.agent(echo):  # the next one to come has both written down
        await written(door.web.sql, "patient", 1)


async def written(sql: object, agent_id: str, served: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while sql("SELECT served FROM relay_agent WHERE id = ?", agent_id) != [(served,)]:  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_an_agent_is_noted_with_what_it_declared(door: Door) -> None:
    """What the administrator sees; name and model without characters that could pass for another's."""
    declared = {"name": "\u202ePolly\x1b[31m", "model": "parrot", "concurrency": 2}
    async with door.agent(echo, kept="noted", declares=declared):
        deadline = time.monotonic() + PATIENCE
        query = "SELECT name, model, address, token_id FROM relay_agent WHERE id = 'noted'"
        while not (found := door.web.sql(query)):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    assert json.dumps(found) == '[["Polly[31m", "parrot", "127.0.0.1", null]]'


def highest_file() -> int:
    return max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())


async def test_more_agents_come_in_than_the_system_lets_a_process_open_at_first(new_web: NewWeb) -> None:
    """Fault 12: the limit that a process starts with is raised to what the settings ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    mine = highest_file()  # what this process has open must stay within the limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (mine + 16, hard))
    try:
        web = new_web()  # a child begins with its parent's limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    async with door_to(web) as door:
        agents = await asyncio.gather(*(FakeAgent.dial(door.url(), echo) for _ in range(mine + 26)))
        await door.until_list(lambda found: len(found) == mine + 26)
        assert (await door.ask()).status_code == 200
        await asyncio.gather(*(agent.end() for agent in agents))
