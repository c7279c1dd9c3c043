"""Following an answer: from any offset, from any process, by as many as like, without a thread that waits."""

from __future__ import annotations

import asyncio
import threading
from unittest import mock

import pytest
from django.db import DatabaseError

from accounts.models import User
from privategpt import answers, desk, follow
from privategpt.generation import Generation
from privategpt.models import Message
from tests.answering import Scripted, asked, begun, chat, db, followed, group, source, text_of, until


class Elsewhere:
    """Makes this process forget that it is the one that answers, so that followers see rows only."""

    def __init__(self, message: Message) -> None:
        self._running = desk.current().running
        self._pk = message.pk
        self._generation: Generation = self._running.pop(message.pk)

    def back(self) -> None:
        self._running[self._pk] = self._generation


async def test_an_answer_is_followed_from_any_offset(scripted: type[Scripted], alice: User) -> None:
    message = await asked(await db(chat, alice))
    for offset in range(5):
        events = await followed(message, offset)
        assert text_of(events) == "Yes."[offset:]
        assert events[-1].kind == "done"
        assert ("sources" in {event.kind for event in events}) == (offset == 0)


async def test_offsets_count_characters(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says("Tè ☕ 茶", more, "!")
    message = await begun(await db(chat, alice))
    events = follow.events(message.pk)
    assert (await anext(events)).kind == "sources"
    first = await anext(events)
    assert (first.data, first.offset) == ("Tè ☕ 茶", 6)
    more.set()
    assert text_of(await followed(message, first.offset)) == "!"


async def test_a_follower_that_leaves_does_not_end_the_answer(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says("One ", more, "two")
    message = await begun(await db(chat, alice))
    leaver = asyncio.ensure_future(followed(message))
    await asyncio.sleep(0.01)
    leaver.cancel()
    more.set()
    assert text_of(await followed(message)) == "One two"


async def test_many_follow_one_answer_and_hear_the_same(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says("One ", more, *["word "] * 100)
    message = await begun(await db(chat, alice))
    await until(lambda: desk.current().running[message.pk].growing.length > 0)  # its own threads are there
    followers = [asyncio.ensure_future(followed(message)) for _ in range(50)]
    before = threading.active_count()
    await asyncio.sleep(0.02)
    assert threading.active_count() < before + 10  # fifty of them hold none; looks at rows come and go
    more.set()
    texts = {text_of(events) for events in await asyncio.gather(*followers)}
    assert texts == {"One " + "word " * 100}


async def test_deltas_that_come_in_a_burst_come_together(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says("first", more, *["x"] * 500)
    message = await begun(await db(chat, alice))
    events = follow.events(message.pk)
    heard = [await anext(events), await anext(events)]
    more.set()
    heard += [event async for event in events]
    assert len(heard) <= 6
    assert text_of(heard) == "first" + "x" * 500


async def test_another_process_follows_the_row(scripted: type[Scripted], alice: User) -> None:
    """Fault 14."""
    more = asyncio.Event()
    scripted.says("One", more, " two")
    tea = await db(group, "tea", alice)
    await db(source, "Tea", "Tea is a drink.", tea)
    message = await begun(await db(chat, alice, tea), "What is tea?")
    elsewhere = Elsewhere(message)
    events = follow.events(message.pk)
    assert [entry["title"] for entry in (await anext(events)).data] == ["Tea"]
    assert (await anext(events)).data == "One"
    more.set()
    rest = [event async for event in events]
    assert (text_of(rest), rest[-1].kind) == (" two", "done")
    assert not desk.current().watched
    elsewhere.back()


async def test_a_database_that_was_away_ends_no_following(
    scripted: type[Scripted], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = asyncio.Event()
    scripted.says("One", more, " two")
    message = await begun(await db(chat, alice))
    elsewhere = Elsewhere(message)
    events = follow.events(message.pk)
    heard = [await anext(events), await anext(events)]
    looks = mock.Mock(side_effect=[DatabaseError("restarting"), *[mock.DEFAULT] * 1000], wraps=follow._look)
    monkeypatch.setattr(follow, "_look", looks)
    await until(lambda: looks.call_count > 0)
    more.set()
    heard += [event async for event in events]
    assert (text_of(heard), heard[-1].data["state"]) == ("One two", "complete")
    elsewhere.back()


async def test_another_process_waits_for_the_end(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says(more, "Done.")
    message = await begun(await db(chat, alice))
    elsewhere = Elsewhere(message)
    with pytest.raises(TimeoutError):
        await answers.finished(message.pk, 0.02)
    more.set()
    assert (await answers.finished(message.pk, 5)).answer == "Done."
    elsewhere.back()


async def test_followers_of_one_row_share_the_looks(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says("One", more)
    message = await begun(await db(chat, alice))
    elsewhere = Elsewhere(message)
    followers = [asyncio.ensure_future(followed(message)) for _ in range(20)]
    await until(lambda: bool(desk.current().watched))
    assert [watched.followers for watched in desk.current().watched.values()] == [20]
    more.set()
    assert {text_of(events) for events in await asyncio.gather(*followers)} == {"One"}
    elsewhere.back()


async def test_there_is_a_most_of_what_a_process_watches(
    scripted: type[Scripted], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MOST_WATCHED", 0)
    message = await asked(await db(chat, alice))
    with pytest.raises(follow.TooManyFollowers):
        await followed(message)


async def test_an_unknown_message_has_nothing_to_follow(scripted: type[Scripted], alice: User) -> None:
    message = await asked(await db(chat, alice))
    await db(message.delete)
    message.pk = message.id = (await db(Message, chat_id=message.chat_id)).pk
    with pytest.raises(Message.DoesNotExist):
        await followed(message)


async def test_sources_that_one_may_not_read_any_more_are_not_told(scripted: type[Scripted], alice: User) -> None:
    """Attack 32."""
    tea = await db(group, "tea", alice)
    await db(source, "Tea", "Tea is a drink.", tea)
    message = await asked(await db(chat, alice, tea), "What is tea?")
    assert len((await followed(message))[0].data) == 1
    await db(alice.groups.clear)
    assert (await followed(message))[0].data == []
