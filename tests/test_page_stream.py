"""What a page hears of an answer that is being written: each block once, the open one again, and never too often."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import AsyncClient
from django.utils import timezone

from accounts.models import User
from privategpt import follow
from privategpt.models import LOST, Citation
from privategpt.models import Message as Asked
from privategpt.pages.pacing import LARGE, PATIENCE, PAUSE, SHARE, Pace, paced
from tests.answering import Scripted, begun, chat, db, group, source, until

WITHIN = 10.0  # seconds for anything that is expected
EVENT = re.compile(r"(?:id: (\d+)\n)?event: (\w+)\ndata: (.*)\n\n")


async def told(client: AsyncClient, message: Asked, **headers: str) -> list[tuple[int, str, Any]]:
    """Offset, kind and data of all that comes."""
    response: Any = await client.get(f"/chats/{message.chat_id}/{message.pk}/events", headers=headers)
    assert response.status_code == 200
    async with asyncio.timeout(WITHIN):
        text = b"".join([piece async for piece in response.streaming_content]).decode()
    return [(int(at or 0), kind, json.loads(data)) for at, kind, data in EVENT.findall(text)]


async def signed_in(user: User) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(user)
    return client


async def finished_prose(client: AsyncClient, message: Asked) -> str:
    page = (await client.get(f"/chats/{message.chat_id}/{message.pk}/")).content.decode()
    found = re.search(r'<div class="prose" dir="auto">(.*?)</div>\n', page, re.DOTALL)
    assert found
    return found[1]


def closed(events: list[tuple[int, str, Any]]) -> str:
    return "".join(data["closed"] for _, kind, data in events if kind == "text")


async def test_the_blocks_that_were_sent_are_the_finished_page(scripted: type[Scripted], alice: User) -> None:
    pieces = ["## Head", "ing\n\nOne **bo", "ld** word\n\n- a", "\n- b\n\nLast `co", "de`."]
    scripted.says(*pieces)
    message = await begun(await db(chat, alice))
    client = await signed_in(alice)
    events = await told(client, message)
    assert events[-1][1:] == ("done", "complete")
    assert events[-2][0] == len("".join(pieces))
    assert events[-2][2]["open"] == ""
    assert closed(events).split() == (await finished_prose(client, message)).split()


async def test_many_small_pieces_are_told_together(scripted: type[Scripted], alice: User) -> None:
    scripted.says(*["word "] * 500)
    message = await begun(await db(chat, alice))
    events = await told(await signed_in(alice), message)
    assert len([kind for _, kind, _ in events if kind == "text"]) < 30
    assert closed(events).count("word") == 500


async def test_a_citation_is_a_link_and_only_where_it_was_supplied(scripted: type[Scripted], alice: User) -> None:
    own = await db(group, "Own", alice)
    await db(source, "Guide", "# Guide\n\nZebras sleep by day.\n", own)
    scripted.says("They sleep [1] and", " not [7], `a[1]`.\n\nMore.\n")
    message = await begun(await db(chat, alice, own), "When do zebras sleep?")
    events = await told(await signed_in(alice), message)
    assert re.findall('href="#m0-s(.)"', closed(events)) == ["1"]
    assert [kind for _, kind, _ in events].index("sources") < [kind for _, kind, _ in events].index("text")


async def test_who_comes_back_hears_only_what_is_missing(scripted: type[Scripted], alice: User) -> None:
    scripted.says("One.\n\nTwo.\n\n[r]: http://example.org/x\n\nSee [r].\n\nThree.\n")
    message = await begun(await db(chat, alice))
    client = await signed_in(alice)
    whole = await told(client, message)
    for after in (len("One.\n\n"), len("One.\n\nTwo.\n\n[r]: http://example.org/x\n\n")):
        rest = await told(client, message, **{"Last-Event-ID": str(after)})
        assert "One." not in closed(rest)
        assert closed(whole).endswith(closed(rest))
        assert 'href="http://example.org/x"' in closed(rest)
        assert "sources" not in [kind for _, kind, _ in rest]


@pytest.mark.parametrize("after", ["99999", "-1", "x", "9" * 4_000])
async def test_a_reader_who_claims_too_much_hears_the_end(scripted: type[Scripted], alice: User, after: str) -> None:
    scripted.says("One.\n\nTwo.\n")
    message = await begun(await db(chat, alice))
    events = await told(await signed_in(alice), message, **{"Last-Event-ID": after})
    assert events[-1][1] == "done"


async def test_a_page_that_is_loaded_meanwhile_goes_on_where_it_is(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says("## Title\n\nOne\n**two", more, "** three.\n\nFour.")
    message = await begun(await db(chat, alice))
    client = await signed_in(alice)

    async def is_saved() -> bool:
        return bool((await db(Asked.objects.get, pk=message.pk)).answer)

    await until(is_saved)
    page = (await client.get(f"/chats/{message.chat_id}/")).content.decode()
    assert "<h3>Title</h3>\n<!--open--><p>One\n<strong>two</strong></p>" in page
    place = len("## Title\n\n")
    assert f'data-after="{place}"' in page
    more.set()
    events = await told(client, message, **{"Last-Event-ID": str(place)})
    assert closed(events) == "<p>One\n<strong>two</strong> three.</p>\n<p>Four.</p>\n"


async def test_what_was_cited_is_saved_with_the_words_that_cite_it(scripted: type[Scripted], alice: User) -> None:
    """Whoever kills the process loses neither."""
    own = await db(group, "Own", alice)
    await db(source, "Guide", "# Guide\n\nZebras sleep by day.\n", own)
    await db(source, "Book", "# Book\n\nZebras eat at night.\n", own)
    scripted.says("They sleep [1].\n", asyncio.Event())
    message = await begun(await db(chat, alice, own), "When do zebras sleep?")

    def cited() -> list[int]:
        rows = Citation.objects.filter(message=message.pk, is_cited=True, message__answer__contains="[1]")
        return list(rows.values_list("number", flat=True))

    async def is_saved() -> bool:
        return await db(cited) == [1]

    await until(is_saved)
    await db(lambda: Asked.objects.filter(pk=message.pk).update(state=Asked.State.FAILED, error=LOST))
    page = (await (await signed_in(alice)).get(f"/chats/{message.chat_id}/{message.pk}/")).content.decode()
    assert 'href="#m0-s1"' in page
    assert 'id="m0-s1"' in page
    assert "1 of 2 passages cited" in page


async def test_the_side_bar_hears_which_chats_are_being_answered(
    scripted: type[Scripted], alice: User, charlie: User
) -> None:
    more = asyncio.Event()
    scripted.says("One", more)
    message = await begun(await db(chat, alice))
    client = await signed_in(alice)
    assert (await client.get("/chats/running")).json() == {"chats": [str(message.chat_id)]}
    assert (await (await signed_in(charlie)).get("/chats/running")).json() == {"chats": []}
    await db(lambda: Asked.objects.filter(pk=message.pk).update(claimed_until=timezone.now() - timedelta(seconds=1)))
    assert (await client.get("/chats/running")).json() == {"chats": []}
    assert (await AsyncClient().get("/chats/running")).status_code == 302


async def test_a_stranger_hears_nothing(scripted: type[Scripted], alice: User, charlie: User) -> None:
    message = await begun(await db(chat, alice))
    found = await (await signed_in(charlie)).get(f"/chats/{message.chat_id}/{message.pk}/events")
    assert found.status_code == 404


# -- pace -----------------------------------------------------------------------------------------


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_drawn_more_than_ten_times_a_second() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.wait(1) == 0
    pace.told()
    assert pace.wait(1) == pytest.approx(PAUSE)
    pace.drew(clock.now, 100)
    assert pace.wait(10_000) == pytest.approx(PAUSE)
    clock.now += PAUSE + 0.001
    assert pace.wait(1) == 0


def test_a_slow_drawing_is_followed_by_a_longer_pause() -> None:
    clock = Clock()
    pace = Pace(clock)
    began, clock.now = clock.now, clock.now + 0.5
    pace.drew(began, 100)
    assert pace.wait(1) == pytest.approx(0.5 * SHARE)


def test_a_large_block_is_drawn_again_when_it_has_grown_or_after_a_while() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.drew(clock.now, 10 * LARGE)
    clock.now += 2 * PAUSE
    assert pace.wait(1) > PAUSE
    assert pace.wait(LARGE) == 0
    clock.now += PATIENCE
    assert pace.wait(1) == 0


async def test_text_that_is_held_comes_before_what_follows_it_and_at_the_end() -> None:
    async def events() -> AsyncIterator[follow.Event]:
        for at, word in enumerate("abc", 1):
            yield follow.Event("delta", at, word)
        yield follow.Event("done", 3, {"state": "complete", "error": ""})

    found = [(event.kind, event.offset) async for event in paced(events(), Pace(Clock()))]
    assert found == [("delta", 1), ("delta", 3), ("done", 3)]
