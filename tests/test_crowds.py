"""One person's crowd of questions: bounded with 429 and a time to come back, while others are answered at once.

Attack 64 in the browser; for contract 2 see tests/contract2/test_chats.py, for contract 1 tests/test_ask_queue.py."""

from __future__ import annotations

import asyncio

import pytest
from django.test import AsyncClient

from accounts.models import User
from privategpt import answers, desk
from privategpt.models import Chat, Message
from tests.answering import Scripted, begun, chat, db, followed, text_of, until

CROWD = 50


async def browser(user: User, **headers: str) -> AsyncClient:
    client = AsyncClient(headers=headers)
    await client.aforce_login(user)
    return client


@pytest.fixture
def few(settings: object) -> None:
    """As in service, with smaller numbers: Alice alone could fill every place but for her own bound."""
    settings.ANSWERS_PER_USER, settings.ANSWERS_AT_ONCE = 8, 10  # type: ignore[attr-defined]


async def test_a_crowd_in_the_browser_is_refused_and_starves_nobody(
    scripted: type[Scripted], alice: User, bob: User, few: None
) -> None:
    client = await browser(alice, accept="text/html")
    for _ in range(8):
        scripted.says("Well ", asyncio.Event())
    replies = [await client.post("/chats/new", {"question": f"Number {n}?"}) for n in range(CROWD)]
    assert [reply.status_code for reply in replies] == [302] * 8 + [429] * 42
    assert {reply.headers.get("Retry-After") for reply in replies[8:]} == {"2"}
    assert "Number 49?" in replies[-1].content.decode()  # the question is kept in the composer
    assert "Too many answers are under way." in replies[-1].content.decode()
    assert await db(Message.objects.count) == 8
    scripted.script.clear()
    assert (await (await browser(bob)).post("/chats/new", {"question": "And I?"})).status_code == 302
    message = await db(Message.objects.get, chat__owner=bob)
    assert text_of(await followed(message)) == "Yes."


async def test_our_script_is_told_in_one_line(scripted: type[Scripted], alice: User, few: None) -> None:
    for _ in range(8):
        scripted.says("Well ", asyncio.Event())
        await begun(await db(chat, alice))
    found = await (await browser(alice)).post("/chats/new", {"question": "Q"}, headers={"X-Piece": "1"})
    assert (found.status_code, found.headers["Retry-After"]) == (429, "2")
    assert found.content.decode().startswith("Too many answers are under way.")


async def test_a_refused_question_leaves_no_chat_behind(scripted: type[Scripted], alice: User, few: None) -> None:
    for _ in range(8):
        scripted.says("Well ", asyncio.Event())
        await begun(await db(chat, alice))
    before = await db(Chat.objects.count)
    await (await browser(alice)).post("/chats/new", {"question": "Q"})
    assert await db(Chat.objects.count) == before


async def test_room_is_made_by_each_answer_that_ends(scripted: type[Scripted], alice: User, few: None) -> None:
    for _ in range(8):
        scripted.says("Well ", asyncio.Event())
    messages = [await begun(await db(chat, alice)) for _ in range(8)]
    with pytest.raises(answers.TooMany):
        await begun(await db(chat, alice))
    answers.stop(messages[0].pk)
    await until(lambda: messages[0].pk not in desk.current().running)
    await begun(await db(chat, alice))


async def test_with_every_place_taken_one_more_persons_question_waits_in_turn_and_is_answered(
    scripted: type[Scripted], alice: User, bob: User, charlie: User, few: None
) -> None:
    """Ten places: eight of Alice's and two of Bob's; Charlie's waits for the first that ends, not for Alice's crowd."""
    ends = [asyncio.Event() for _ in range(10)]
    for end in ends:
        scripted.says("Well ", end)
    for owner in [alice] * 8 + [bob] * 2:
        await begun(await db(chat, owner))
    await until(lambda: len(scripted.prompts) == 10)
    scripted.says("At last.")
    message = await begun(await db(chat, charlie))
    ends[9].set()
    assert text_of(await followed(message)) == "At last."
