"""Who waits for an agent is told where in line it stands, and about how long; pieces of it are seen from inside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import translation

from accounts.models import User
from privategpt import answers, desk, follow
from privategpt.llm.base import InLine
from privategpt.models import Chat, Message
from privategpt.pages.growing import in_line
from relay import exchange
from relay.dispatch import Question
from relay.line import Standing
from tests.answering import begun, chat, db, until
from tests.pages import browser, text
from tests.test_dispatch import Peer, asking, new_dispatcher, turn
from tests.test_llm_choice import FakeAgent, relay

__all__ = ["relay"]
PLACES: list[tuple[dict[str, Any], str]] = [
    ({"place": 2, "seconds": 20.0, "at_work": 3}, "2nd in line, about 20 s. Three agents are at work.")
]
PLACES += [({"place": 1, "seconds": None, "at_work": 1}, "1st in line. One agent is at work.")]
PLACES += [({"place": 12, "seconds": 180.0, "at_work": 0}, "12th in line, about 3 min. Your question is kept")]


# -- the relay ------------------------------------------------------------------------------------


async def test_users_take_turns_and_the_place_counts_them() -> None:
    dispatcher = new_dispatcher()
    peer = Peer(dispatcher, "only")
    first = asking(dispatcher)
    questions = [Question(owner) for owner in ("alice", "alice", "bob", "alice", "charlie", "bob")]
    tasks = [asyncio.ensure_future(dispatcher.ask(question)) for question in questions]
    await turn()
    places = [standing.place for question in questions if (standing := dispatcher.standing(question))]
    served: list[str] = []
    while len(served) < len(tasks):
        peer.answer()
        await turn()
        served += [str(at) for at, question in enumerate(questions) if not question.waiter and str(at) not in served]
    assert [int(at) for at in served] == sorted(range(len(places)), key=places.__getitem__)
    peer.answer()
    await asyncio.gather(first, *tasks)


async def test_the_wait_is_judged_by_what_answers_took() -> None:
    dispatcher = new_dispatcher()
    peer = Peer(dispatcher, "only", concurrency=2)
    running = [asking(dispatcher), asking(dispatcher)]
    waiting = [Question("alice"), Question("alice"), Question("alice")]
    tasks = [asyncio.ensure_future(dispatcher.ask(question)) for question in waiting]
    await turn()
    assert dispatcher.standing(waiting[0]) == Standing(1, None, 1)
    dispatcher.pace.note(100.0)
    seconds = [standing.seconds for question in waiting if (standing := dispatcher.standing(question))]
    assert [round(each or 0, -1) for each in seconds] == [100, 100, 200]
    assert dispatcher.standing(Question("alice")) is None
    for number in range(5):
        peer.answer(number)
        await turn()
    await asyncio.gather(*running, *tasks)


# -- an answer ------------------------------------------------------------------------------------


async def in_the_line(alice: User) -> tuple[FakeAgent, Message, Message]:
    """One that an agent has, and one that waits for it."""
    agent = FakeAgent("mine", is_mute=True)
    first = await begun(await db(chat, alice))
    await until(lambda: bool(agent.asked))
    return agent, first, await begun(await db(chat, alice), "And then?")


async def test_followers_hear_of_the_place_and_of_its_end(relay: None, alice: User) -> None:
    _, first, second = await in_the_line(alice)
    events = follow.events(second.pk)
    heard = [await anext(events) for _ in range(2)]
    assert {event.kind for event in heard} == {"sources", "place"}
    assert InLine(1, None, 1) in [event.data for event in heard]
    answers.stop(first.pk)
    assert (await anext(events)).data == InLine(0)
    answers.stop(second.pk)
    assert [event.kind async for event in events] == ["done"]


async def test_the_row_says_so_to_pages_and_to_other_processes(relay: None, alice: User) -> None:
    _, first, second = await in_the_line(alice)

    async def line() -> Any:
        row = await db(Message.objects.get, pk=second.pk)
        return row.trace.get("line", {}).get("place")

    async def is_in_line() -> bool:
        return bool(await line() == 1)

    await until(is_in_line)
    page = await sync_to_async(lambda: text(browser(alice).get(f"/chats/{second.chat_id}/")))()
    assert "1st in line. One agent is at work. Your question is kept; you can leave this page." in page
    assert "Leave the line" in page
    assert "Quote the sources now" not in page  # it asks for none
    here = desk.current()
    generation = here.running.pop(second.pk)
    events = follow.events(second.pk)
    assert (await anext(events)).data == InLine(1, None, 1)
    here.running[second.pk] = generation
    await events.aclose()  # type: ignore[attr-defined]
    for message in (first, second):
        answers.stop(message.pk)
        await answers.finished(message.pk, 5)
    assert await line() is None


async def test_a_question_of_a_chat_waits_longer_than_one_whose_asker_holds_the_line(relay: None, alice: User) -> None:
    _, first, second = await in_the_line(alice)
    dispatcher = exchange.current().dispatcher
    await until(lambda: bool(dispatcher.waiters))
    (waiter,) = dispatcher.waiters
    assert waiter.until - waiter.since > dispatcher.limits.queue_wait
    for message in (first, second):
        answers.stop(message.pk)


# -- a page ---------------------------------------------------------------------------------------


@pytest.fixture
def waiting(alice: User) -> Message:
    where = Chat.objects.create(owner=alice, use_public=True)
    return Message.objects.create(chat=where, position=0, question="Why?")


@pytest.mark.parametrize(("line", "words"), PLACES)
def test_the_line_is_told_in_words(waiting: Message, line: dict[str, Any], words: str) -> None:
    html = in_line(line, waiting)
    assert words in " ".join(html.replace("</strong>", "").replace('<span class="quiet">', "").split())
    assert "Quote the sources now" in html


def test_a_long_line_is_cut_short(waiting: Message) -> None:
    html = in_line({"place": 9, "seconds": None, "at_work": 1}, waiting)
    assert html.count("<li") == 5
    assert "6 more" in html


def test_a_german_reads_it_in_german(waiting: Message) -> None:
    with translation.override("de"):
        html = in_line(PLACES[0][0], waiting)
    assert "2. in der Reihe, noch etwa 20 s." in html
    assert "Drei Agenten arbeiten." in html


def test_nobody_else_quotes_or_leaves_for_one(waiting: Message, bob: User) -> None:
    for path in (f"{waiting.pk}/again?backend=quoting&now", "stop"):
        assert browser(bob).post(f"/chats/{waiting.chat_id}/{path}").status_code == 404
