"""A right that ended takes the quoted words along: on the page, in the export, in the search, in the clipboard."""

from __future__ import annotations

from uuid import uuid4

import pytest

from accounts.models import Group, User
from privategpt import ingest
from privategpt.models import Chat, Citation, Message, Source
from privategpt.pages import history
from privategpt.withheld import Basis, readable
from tests.admin_site import administrator
from tests.test_chat_pages import asked, cite, guide, harbour, page, signed_in

__all__ = ["guide", "harbour"]

QUOTED = "> The gate closes at nine. [1]\n\n— Guide\n\n> Boats leave at ten. [2]\n\n— Plan, Boats"
GATE = Basis(frozenset({1, 2}), frozenset({1}), words=frozenset({("the", "gate", "closes", "at", "nine"), ("zq4711",)}))


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (QUOTED, "[1: no longer yours to read]\n\n> Boats leave at ten. [2]\n\n— Plan, Boats"),
        ("At nine [1]. At ten [2].", "[1: no longer yours to read]"),
        (
            "It says: the Gate closes\nat nine!\n\nAnd boats leave [2].",
            "[no longer yours to read]\n\nAnd boats leave [2].",
        ),
        ("The code is ZQ4711 [2].", "[no longer yours to read]"),
        (
            "- nine [1]\n- ten [2]\n- both [1-2]\n",
            "[1: no longer yours to read]\n\n- ten [2]\n[1: no longer yours to read]",
        ),
        ("```\ngate\n\n[1]\n```\n\nTen [2].", "[1: no longer yours to read]\n\nTen [2]."),
        ("No number at all.\n\nNor here.", "[no longer yours to read]"),
        ("An introduction.\n\nTen [2].", "An introduction.\n\nTen [2]."),
        (
            "An introduction.\n\nNine [1].\n\nTen [2].",
            "[no longer yours to read]\n\n[1: no longer yours to read]\n\nTen [2].",
        ),
        ("", ""),
        ("Ten [2], not [7].", "Ten [2], not [7]."),
    ],
)
def test_a_paragraph_goes_with_its_number_or_its_words(said: str, left: str) -> None:
    assert readable(said, GATE) == left
    assert readable(said, Basis()) == said


def test_what_names_no_number_may_come_from_an_earlier_answer_that_is_gone() -> None:
    said = "As I said, the vault code is ZQ4711.\n\nThe pump runs at 1500 rpm [1]."
    gone = Basis(frozenset({1}), is_tainted=True)
    assert readable(said, gone) == "[no longer yours to read]\n\nThe pump runs at 1500 rpm [1]."


def test_words_of_what_one_may_read_still_are_no_quote() -> None:
    assert readable("The harbour opens [2].", GATE) == "The harbour opens [2]."


def test_where_no_blanks_stand_characters_are_compared() -> None:
    words = frozenset({tuple("正門は午後九時に")})
    gone = Basis(frozenset({1, 2}), frozenset({1}), words=words)
    assert "九時" not in readable("正門は午後九時に閉まります。[2]", gone)
    assert readable("船は十時に出ます。[2]", gone) == "船は十時に出ます。[2]"


@pytest.fixture
def chat(alice: User, guide: Source) -> Chat:
    """An answer that quotes the guide, and a paragraph beside it that quotes another source."""
    chat = asked(alice, answer="> The gate closes at nine. [1]\n\n— Guide\n\nBoats leave at ten [2].")
    cite(chat, guide)
    plan = ingest.store(alice, title="Plan", content="Boats leave at ten.", groups=[], public=True)
    cite(chat, plan, 2)
    Citation.objects.filter(number=2).update(context="Boats leave at ten.")
    return chat


def places(chat: Chat) -> list[str]:
    message = chat.messages.get().pk
    return [f"/chats/{chat.pk}/{place}" for place in ("", "chat.md", "chat.json", f"{message}/", f"{message}/text")]


def test_every_page_shows_a_quote_that_is_gone_as_taken_away(alice: User, chat: Chat, harbour: Group) -> None:
    for where in places(chat):
        assert "The gate closes" in signed_in(alice).get(where).content.decode()
    alice.groups.remove(harbour)
    for where in places(chat):
        text = signed_in(alice).get(where).content.decode()
        assert "gate closes" not in text
        assert "no longer yours to read" in text
        assert "Boats leave at ten" in text
    alice.groups.add(harbour)
    for where in places(chat):
        assert "The gate closes" in signed_in(alice).get(where).content.decode()


def test_a_member_who_stays_keeps_the_answer(bob: User, guide: Source, harbour: Group, alice: User) -> None:
    chat = asked(bob)
    cite(chat, guide)
    alice.groups.remove(harbour)
    assert "At nine" in page(bob, chat)


def test_a_search_finds_nothing_by_words_that_are_gone(alice: User, chat: Chat, harbour: Group) -> None:
    assert "gate" in history.search(alice, "gate closes")[0].text
    alice.groups.remove(harbour)
    assert history.search(alice, "gate closes") == []
    found = history.search(alice, "boats")
    assert [hit.chat for hit in found] == [chat]
    assert "gate" not in found[0].text


def test_a_search_finds_an_earlier_question_where_the_last_is_gone(alice: User, chat: Chat, harbour: Group) -> None:
    Message.objects.filter(chat=chat).update(position=1)
    Message.objects.create(chat=chat, position=0, question="What does gate mean?", answer="A door.", state="complete")
    alice.groups.remove(harbour)
    found = history.search(alice, "gate")
    assert [hit.chat for hit in found] == [chat]
    assert "door" in found[0].text


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_source_that_was_deleted_takes_its_quote_along(alice: User, chat: Chat, guide: Source, is_kept: bool) -> None:
    """Also when its citation went with it: the trace has its number."""
    Message.objects.update(trace={"used": [1, 2]})
    if is_kept:
        ingest.put_aside(guide)
    else:
        Source.objects.filter(pk=guide.pk).delete()
    assert "gate closes" not in page(alice, chat)
    assert "Boats leave at ten" in page(alice, chat)


def test_a_trace_of_sources_that_are_gone_withholds_what_was_said_after(alice: User) -> None:
    chat = asked(alice, answer="As I said: nine.", trace={"earlier": [str(uuid4())]})
    assert "nine" not in page(alice, chat)


def test_words_of_an_earlier_answers_source_go_from_a_later_answer_too(
    alice: User, chat: Chat, guide: Source, harbour: Group
) -> None:
    """Though it cites another for them."""
    earlier, plan = chat.messages.get(), Source.objects.get(title="Plan")
    later = Message.objects.create(
        chat=chat,
        position=earlier.position + 1,
        question="And?",
        answer="Again: the gate closes at nine [1].\n\nThe boats are blue [1].",
        state="complete",
        trace={"earlier": [str(guide.pk)]},
    )
    Citation.objects.create(message=later, source=plan, number=1, start=0, end=9, context="Blue boats.", score=1)
    Citation.objects.filter(source=guide).update(context="The gate closes at nine.")
    assert "Again" in page(alice, chat)
    alice.groups.remove(harbour)
    text = page(alice, chat)
    assert "Again" not in text
    assert "boats are blue" in text


def test_whoever_may_read_chats_of_others_sees_no_more_than_their_owner(
    alice: User, chat: Chat, harbour: Group
) -> None:
    root = signed_in(administrator())
    place = f"/admin/privategpt/chat/{chat.pk}/text/"
    assert "gate closes" in root.get(place).content.decode()
    alice.groups.remove(harbour)
    assert "gate closes" not in root.get(place).content.decode()
