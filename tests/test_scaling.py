"""Two web processes of one house, on one database, that reach each other's agents through a real Redis."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.patience import PATIENCE
from tests.redis_server import Redis, a_redis
from tests.running import ROOT, environment
from tests.socket_agent import Asked, Behaviour, FakeAgent, echo, echo_of, hangs_up, says, silent
from tests.socket_server import Door, Web, copied, door_to

EMAIL, PASSWORD = "alice@example.org", "a long enough password"
MAKE_ALICE = f"""
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()
from accounts.models import User
User.objects.create_user({EMAIL!r}, {PASSWORD!r}, name="Alice")
"""
SETTINGS = {"AGENT_RETURN": "3", "LLM_BACKEND": "relay", "CLAIM_PING": "0.5"}
RECOVERY = 5.0  # seconds that may pass once Redis is back


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    yield from a_redis()


@pytest.fixture(scope="module")
def house(redis: Redis, tmp_path_factory: pytest.TempPathFactory, data_template: Path) -> Iterator[tuple[Web, Web]]:
    """Both on the same data folder."""
    data = copied(data_template, tmp_path_factory.mktemp("house"))
    subprocess.run([sys.executable, "-c", MAKE_ALICE], env=environment(data), cwd=ROOT, check=True)
    with Web(data, **SETTINGS, REDIS_URL=redis.url) as here, Web(data, **SETTINGS, REDIS_URL=redis.url) as there:
        yield here, there


@asynccontextmanager
async def doors(*webs: Web) -> AsyncIterator[list[Door]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(door_to(web)) for web in webs]


@pytest.fixture
async def both(house: tuple[Web, Web]) -> AsyncIterator[tuple[Door, Door]]:
    """Asked here; the agents are there."""
    async with doors(*house) as (here, there):
        yield here, there


@asynccontextmanager
async def agent_of(there: Door, here: Door, behaviour: Behaviour = echo, **how: Any) -> AsyncIterator[FakeAgent]:
    """An agent that dials in there, as soon as it is listed here as well."""
    async with there.agent(behaviour, **how) as agent:
        await here.until_listed(agent.id)
        yield agent


# -- asking ------------------------------------------------------------------------------------------


async def test_an_ask_is_answered_by_the_other_processs_agent(both: tuple[Door, Door]) -> None:
    here, there = both
    assert (await here.ask()).status_code == 503  # nobody is anywhere
    async with agent_of(there, here):
        reply = await here.ask("Over there?")
        assert (reply.status_code, reply.json()["content"]) == (200, echo_of("Over there?"))


async def test_a_conversation_goes_on_with_its_agent_from_either_process(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here) as theirs, here.agent() as ours:
        await there.until_listed(ours.id)
        with_theirs = (await there.ask("One")).json()["conversation_id"]
        with_ours = (await here.ask("One")).json()["conversation_id"]
        for door in (here, there):
            assert (await door.ask("Two", conversation_id=with_theirs)).status_code == 200
            assert (await door.ask("Two", conversation_id=with_ours)).status_code == 200
        assert [asked.content for asked in theirs.asked] == ["One", "Two", "Two"]
        assert [asked.content for asked in ours.asked] == ["One", "Two", "Two"]


async def test_ones_own_agent_is_asked_first(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here) as theirs, here.agent() as ours:
        for _ in range(4):
            assert (await here.ask()).status_code == 200
        assert (len(ours.asked), len(theirs.asked)) == (4, 0)


async def test_an_agent_gets_no_more_at_once_than_it_declared_whoever_asks(both: tuple[Door, Door]) -> None:
    here, there = both

    async def slow(agent: FakeAgent, asked: Asked) -> None:
        await asyncio.sleep(0.01)
        await agent.answer(asked)

    async with agent_of(there, here, slow, declares={"concurrency": 2}) as agent:
        asks = [door.asking(f"{number}") for number in range(20) for door in (here, there)]
        replies = await asyncio.gather(*asks)
        assert {reply.status_code for reply in replies} == {200}
        assert agent.most <= 2


async def test_an_agents_failures_come_back_as_they_are(both: tuple[Door, Door]) -> None:
    here, there = both

    async def fails(agent: FakeAgent, asked: Asked) -> None:
        await agent.say(asked.frame, "error", "no model")

    async def babbles(agent: FakeAgent, asked: Asked) -> None:
        await agent.say(asked.frame, "ChatGptResponse", "no JSON")

    async with agent_of(there, here, fails):
        reply = await here.ask()
        assert (reply.status_code, reply.json()) == (502, {"error": "Agent error: no model"})
    async with agent_of(there, here, babbles):
        reply = await here.ask()
        assert (reply.status_code, reply.json()["error"]) == (502, "Failed to convert response to ChatGptResponse")


async def test_an_agent_that_dies_there_is_replaced_by_another(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here, hangs_up), agent_of(there, here):
        replies = await asyncio.gather(*[here.ask(str(number)) for number in range(4)])
        assert [reply.status_code for reply in replies] == [200] * 4


async def test_an_asker_that_leaves_frees_the_agent_there(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here, silent) as agent:
        ask = here.asking("Never mind")
        await agent.was_asked()
        ask.cancel()
        assert (await agent.was_told("cancel"))["id"] == agent.asked[0].frame
        agent.behaviour = echo
        assert (await here.ask("Next")).status_code == 200


async def test_large_questions_and_answers_pass_whole(both: tuple[Door, Door]) -> None:
    here, there = both
    answer = "ä€😀" * 200_000  # 6 MB in the agent's way of writing

    async def long(agent: FakeAgent, asked: Asked) -> None:
        await agent.answer(asked, answer)

    async with agent_of(there, here, long) as agent:
        question = "q" * 1_000_000
        replies = await asyncio.gather(*[here.ask(question) for _ in range(3)])
        assert all(reply.json()["content"] == answer for reply in replies)
        assert all(asked.content == question for asked in agent.asked)


async def test_answers_go_to_those_who_asked(both: tuple[Door, Door]) -> None:
    """Some hundred asks at once, both ways, before three agents of which one fails one ask in five."""
    here, there = both

    async def faulty(agent: FakeAgent, asked: Asked) -> None:
        if hash(asked.content) % 5 == 0:
            await agent.say("not " + asked.frame, "ChatGptResponse", json.dumps({"content": "for nobody"}))
            await agent.say(asked.frame, "ChatGptResponse", "rubbish")
        else:
            await agent.answer(asked)

    many = {"concurrency": 8}
    async with (
        agent_of(there, here, faulty, declares=many),
        agent_of(there, here, declares=many),
        here.agent(declares=many),
    ):
        sides = {"here": here, "there": there}
        asks = {f"{side} {n}": door.asking(f"{side} {n}") for n in range(150) for side, door in sides.items()}
        replies = dict(zip(asks, await asyncio.gather(*asks.values()), strict=True))
    right = [reply for question, reply in replies.items() if reply.status_code == 200]
    assert all(reply.json()["content"] == echo_of(question) for question, reply in replies.items() if reply in right)
    assert len(right) >= 290
    assert {reply.status_code for reply in replies.values()} <= {200, 502, 503}


async def test_both_processes_list_the_agents_of_both(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here) as theirs, here.agent() as ours:
        await there.until_listed(theirs.id, ours.id)
        await here.until_listed(theirs.id, ours.id)
        await theirs.leave()
        await here.until_unlisted(theirs.id)
        await here.until_listed(ours.id)


async def test_an_agent_may_come_back_through_the_other_process(both: tuple[Door, Door]) -> None:
    here, there = both
    key = here.web.agent_keys[0]
    headers = {"Authorization": f"Bearer {key}"}
    async with agent_of(there, here, headers=headers) as before:
        conversation = (await there.ask("One")).json()["conversation_id"]
        async with here.agent(kept=before.id, headers=headers) as after:
            assert await before.closed() == 4001  # superseded
            assert (await there.ask("Two", conversation_id=conversation)).status_code == 200
            assert [asked.content for asked in after.asked] == ["Two"]


async def test_a_stranger_cannot_take_the_id_of_an_agent_there(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here) as holder, here.agent(kept=holder.id, listed=False) as stranger:
        await here.until_list(lambda found: len(found) == 2)
        assert (await there.ask("Who?")).status_code == 200
        assert (len(holder.asked), len(stranger.asked)) == (1, 0)


# -- revocation --------------------------------------------------------------------------------------


async def test_a_revoked_token_is_refused_by_every_process_within_a_second(both: tuple[Door, Door]) -> None:
    here, there = both
    made = (await here.http.post("/admin/users/add", json={"admin_key": here.web.admin_key})).json()
    async with agent_of(there, here):
        assert [(await door.ask(token=made["token"])).status_code for door in both] == [200, 200]
        gone = {"admin_key": here.web.admin_key, "user_id": made["user_id"]}
        assert (await here.http.post("/admin/users/delete", json=gone)).status_code == 200
        deadline = time.monotonic() + 1.0
        while (await there.ask(token=made["token"])).status_code != 401:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_an_agent_whose_token_was_revoked_is_out_everywhere_within_five_seconds(both: tuple[Door, Door]) -> None:
    here, there = both
    key = there.web.agent_keys[1]
    async with agent_of(there, here, headers={"Authorization": f"Bearer {key}"}) as agent:
        pk = there.web.sql("SELECT token_id FROM relay_agent WHERE id = ?", agent.id)
        while not pk:  # its row follows within seconds
            await asyncio.sleep(0.05)
            pk = there.web.sql("SELECT token_id FROM relay_agent WHERE id = ?", agent.id)
        began = time.monotonic()
        there.web.sql("UPDATE accounts_token SET revoked_at = CURRENT_TIMESTAMP WHERE id = ?", pk[0][0])
        assert await agent.closed() == 1008
        await here.until_unlisted(agent.id)
        assert time.monotonic() - began < 5.0


# -- answers in chats --------------------------------------------------------------------------------


@asynccontextmanager
async def browsers(here: Door, there: Door) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """One browser's session at both processes."""
    how: Any = {"trust_env": False, "timeout": PATIENCE}
    async with (
        httpx.AsyncClient(base_url=here.http.base_url, **how) as ours,
        httpx.AsyncClient(base_url=there.http.base_url, **how) as theirs,
    ):
        await ours.get("/sign-in")
        form = {"email": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": ours.cookies["csrftoken"]}
        assert (await ours.post("/sign-in", data=form)).status_code == 302
        for name, value in ours.cookies.items():
            theirs.cookies.set(name, value)
        yield ours, theirs


async def asked_in_chat(client: httpx.AsyncClient, door: Door, question: str) -> tuple[str, str]:
    """Path of the chat and of the exchange."""
    form = {"question": question, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    reply = await client.post("/chats/new", data=form)
    assert reply.status_code == 302, reply.text
    ((pk, chat),) = door.web.sql("SELECT id, chat_id FROM privategpt_message WHERE question = ?", question)
    chat, pk = UUID(str(chat)), UUID(str(pk))  # PostgreSQL gives them as such
    return f"/chats/{chat}/", f"/chats/{chat}/{pk}/"


async def streams(agent: FakeAgent, asked: Asked) -> None:
    """Says a few words, and leaves the end to the test."""
    await agent.say(asked.frame, "ChatGptDelta", "The first words")


async def test_an_answer_made_here_is_followed_from_there(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here, streams, declares={"stream": True}) as agent, browsers(here, there) as (ours, at):
        _, exchange = await asked_in_chat(ours, here, "Follow me from there")
        asked = await agent.was_asked()
        async with at.stream("GET", f"{exchange}events") as events:
            lines = events.aiter_lines()
            async for line in lines:
                if "The first words" in line:
                    break
            await agent.answer(asked, "The first words and the last")
            rest = [line async for line in lines]
        assert any("complete" in line for line in rest)


async def test_an_answer_made_here_is_stopped_from_there(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here, streams, declares={"stream": True}) as agent, browsers(here, there) as (ours, at):
        chat, _ = await asked_in_chat(ours, here, "Stop me from there")
        await agent.was_asked()
        reply = await at.post(f"{chat}stop", data={"csrfmiddlewaretoken": at.cookies["csrftoken"]})
        assert reply.status_code < 400
        assert (await agent.was_told("cancel"))["id"] == agent.asked[0].frame


# -- faults ------------------------------------------------------------------------------------------


async def test_redis_may_go_and_come_back(both: tuple[Door, Door], redis: Redis) -> None:
    here, there = both
    async with agent_of(there, here) as agent:
        conversation = (await here.ask("One")).json()["conversation_id"]
        agent.behaviour = silent
        under_way = here.asking("Under way")
        await agent.was_asked(2)
        agent.behaviour = echo
        redis.kill()
        assert (await under_way).status_code in {502, 503}  # told at once, not left hanging
        began = time.monotonic()
        there_now, here_now = await there.ask("There"), await here.ask("Here")
        pinned = await here.ask("Two", conversation_id=conversation)
        assert there_now.status_code == 200  # what needs nobody else goes on
        assert (here_now.status_code, pinned.status_code) == (503, 503)
        assert pinned.headers["retry-after"]
        assert time.monotonic() - began < RECOVERY
        redis.start()
        back = time.monotonic()
        while (await here.ask("Two", conversation_id=conversation)).status_code != 200:
            assert time.monotonic() - back < RECOVERY
            await asyncio.sleep(0.02)


async def test_a_redis_that_stands_still_holds_up_nobody(both: tuple[Door, Door], redis: Redis) -> None:
    here, there = both
    async with agent_of(there, here):
        redis.pause()
        try:
            began = time.monotonic()
            assert (await there.ask("There")).status_code == 200
            assert (await here.ask("Here")).status_code in {502, 503}
            assert time.monotonic() - began < RECOVERY
        finally:
            redis.go_on()
        back = time.monotonic()
        while (await here.ask("Again")).status_code != 200:
            assert time.monotonic() - back < RECOVERY
            await asyncio.sleep(0.02)


async def test_the_death_of_a_process_moves_its_asks_to_others(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here, silent, declares={"concurrency": 9}) as theirs, here.agent(silent) as ours:
        first = here.asking("Kept busy")
        await ours.was_asked()
        moved = [here.asking(f"{number}") for number in range(8)]
        await theirs.was_asked(8)
        ours.behaviour = echo
        there.web.kill()
        await ours.answer(ours.asked[0])
        assert (await first).status_code == 200
        replies = await asyncio.gather(*moved)
        assert [reply.json()["content"] for reply in replies] == [echo_of(f"{number}") for number in range(8)]
    await there.until_list(lambda found: not found)


async def test_a_failure_is_told_as_it_is_though_agents_of_a_dead_process_are_to_come(
    both: tuple[Door, Door],
) -> None:
    here, there = both
    async with agent_of(there, here) as lost, here.agent(says("no JSON")) as broken:
        there.web.kill()
        await here.until_list(lambda found: found == [broken.id])
        reply = await here.ask()  # waits for another agent no longer than it is expected
        assert (reply.status_code, reply.json()["error"]) == (502, "Failed to convert response to ChatGptResponse")
        assert (len(broken.asked), lost.asked) == (1, [])
    await there.until_list(lambda found: not found)


async def test_an_answer_whose_process_died_does_not_run_for_ever_and_the_others_go_on(
    both: tuple[Door, Door],
) -> None:
    here, there = both
    async with here.agent(streams, declares={"stream": True, "concurrency": 4}) as agent:
        await there.until_listed(agent.id)
        async with browsers(here, there) as (ours, theirs):
            _, lost = await asked_in_chat(theirs, there, "Lost with its process")
            _, kept = await asked_in_chat(ours, here, "Goes on")
            await agent.was_asked(2)
            there.web.kill()
            async with ours.stream("GET", f"{lost}events") as events:
                told = [line async for line in events.aiter_lines()]
            assert any("failed" in line for line in told)
            going_on = next(asked for asked in agent.asked if "Goes on" in asked.content)
            await agent.answer(going_on, "The first words and the last")
            async with ours.stream("GET", f"{kept}events") as events:
                told = [line async for line in events.aiter_lines()]
            assert any("complete" in line for line in told)
    await there.until_list(lambda found: not found)


async def until_rests(door: Door) -> None:
    deadline = time.monotonic() + PATIENCE
    while not re.search(r'switchboard_agents\{[^}]*"resting"[^}]*\} 1\.0', (await door.http.get("/metrics")).text):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_process_that_ends_in_order_lets_the_others_asks_end_first(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here, silent) as agent:
        ask = here.asking("Wait for me")
        asked = await agent.was_asked()
        there.web.process.terminate()
        await until_rests(here)  # the other process does not borrow it any more
        await agent.answer(asked)
        assert (await ask).status_code == 200
        assert await agent.closed() in {1001, 1012}  # going away, or service restart
    there.web.kill()
    await there.until_list(lambda found: not found)


async def test_a_process_that_is_stopped_for_a_while_is_missed_and_found_again(both: tuple[Door, Door]) -> None:
    here, there = both
    async with agent_of(there, here) as agent:
        there.web.process.send_signal(signal.SIGSTOP)
        try:
            await here.until_unlisted(agent.id)
        finally:
            there.web.process.send_signal(signal.SIGCONT)
        await here.until_listed(agent.id)
        assert (await here.ask()).status_code == 200


async def test_one_sqlite_database_serves_both(both: tuple[Door, Door]) -> None:
    """Conversations are committed by both at the same time, and none is lost."""
    here, there = both
    how = {"concurrency": 32}
    async with here.agent(declares=how), there.agent(declares=how):
        replies = await asyncio.gather(*[door.ask(str(number)) for number in range(100) for door in both])
    assert {reply.status_code for reply in replies} == {200}
    opened = {reply.json()["conversation_id"] for reply in replies}
    rows = {row[0] for row in here.web.sql("SELECT conversation_id FROM relay_conversation")}
    assert opened <= rows
