"""Chats in the browser by their forms: what Alice sees of hers, and what Bob and Charlie do not."""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Group, User
from privategpt import answers, ingest, sweeping
from privategpt.models import Chat, Citation, Message, Source
from privategpt.pages import history
from privategpt.pages.exports import _closed

State = Message.State
TEXT = "# Guide\n\nThe gate closes at nine."


@pytest.fixture
def harbour(alice: User, bob: User) -> Group:
    group = Group.objects.create(name="Harbour")
    alice.groups.add(group)
    bob.groups.add(group)
    return group


@pytest.fixture
def guide(alice: User, harbour: Group) -> Source:
    return ingest.store(alice, title="Guide", content=TEXT, groups=[harbour], public=False)


def asked(owner: User, question: str = "When?", answer: str = "At nine [1].", **more: Any) -> Chat:
    """A chat with one answered question."""
    chat = Chat.objects.create(owner=owner, title=more.pop("title", question))
    values = {"state": State.COMPLETE, "finished_at": timezone.now(), "position": 0} | more
    Message.objects.create(chat=chat, question=question, answer=answer, **values)
    return chat


def cite(chat: Chat, source: Source, number: int = 1) -> Citation:
    return Citation.objects.create(
        message=chat.messages.get(),
        source=source,
        number=number,
        is_cited=True,
        heading="Guide",
        start=9,
        end=33,
        context="The gate closes at nine.",
        score=1.0,
    )


def signed_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def page(user: User, chat: Chat) -> str:
    return signed_in(user).get(f"/chats/{chat.pk}/").content.decode()


PLACES = ["", "ask", "stop", "rename", "pin", "delete", "restore", "chat.md", "chat.json"]
READ = {"", "chat.md", "chat.json"}
OF_MESSAGE = {"": "get", "text": "get", "held": "get", "events": "get", "again": "post"}


# -- whose it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_a_stranger_finds_nothing(alice: User, charlie: User, place: str) -> None:
    chat = asked(alice)
    client = signed_in(charlie)
    method = client.get if place in READ else client.post
    foreign = method(f"/chats/{chat.pk}/{place}", {"question": "x"})
    unknown = method(f"/chats/{uuid.uuid4()}/{place}", {"question": "x"})
    assert foreign.status_code == unknown.status_code == 404
    assert Message.objects.count() == 1


@pytest.mark.parametrize(("place", "method"), OF_MESSAGE.items())
def test_a_stranger_finds_no_answer(alice: User, charlie: User, place: str, method: str) -> None:
    chat = asked(alice)
    own = asked(charlie)
    client = signed_in(charlie)
    for within in (chat, own):
        path = f"/chats/{within.pk}/{chat.messages.get().pk}/{place}"
        assert getattr(client, method)(path).status_code == 404


@pytest.mark.parametrize("place", PLACES)
def test_nobody_signed_in_is_sent_to_sign_in(alice: User, client: Client, place: str) -> None:
    path = f"/chats/{asked(alice).pk}/{place}"
    response = client.get(path) if place in READ else client.post(path)
    assert (response.status_code, response["Location"].split("?")[0]) == (302, "/sign-in")


@pytest.mark.parametrize("place", sorted(set(PLACES) - READ))
def test_acts_need_a_form_of_ours(alice: User, place: str) -> None:
    path = f"/chats/{asked(alice).pk}/{place}"
    assert signed_in(alice).get(path).status_code == 405
    assert signed_in(alice, enforce_csrf_checks=True).post(path, {"title": "x", "question": "x"}).status_code == 403


# -- the page -------------------------------------------------------------------------------------


def test_a_chat_is_its_questions_as_headings_with_their_answers(alice: User) -> None:
    html = page(alice, asked(alice, "When does the gate close?", "At **nine**."))
    assert '<h2 id="m0-q" dir="auto">When does the gate close?</h2>' in html
    assert "At <strong>nine</strong>." in html


def test_a_citation_leads_to_its_passage(alice: User, guide: Source) -> None:
    chat = asked(alice)
    cite(chat, guide)
    html = page(alice, chat)
    assert '<a class="mark" href="#m0-s1" aria-label="Source 1"' in html
    assert f'href="/sources/{guide.pk}/?start=9&amp;end=33#passage"' in html
    assert "The gate closes at nine." in html


def test_a_source_that_is_not_ones_own_any_more_is_not_shown(alice: User, guide: Source, harbour: Group) -> None:
    chat = asked(alice)
    cite(chat, guide)
    assert "The gate closes" in page(alice, chat)
    alice.groups.remove(harbour)
    for path in ("", "chat.md", "chat.json"):
        text = signed_in(alice).get(f"/chats/{chat.pk}/{path}").content.decode()
        assert "The gate closes" not in text
        assert str(guide.pk) not in text
    assert "no longer yours to read" in page(alice, chat)


def test_what_was_searched_is_said_when_nothing_was_found(alice: User) -> None:
    trace = {"searched": "crane licence", "found": [{"cosine": 0.21}]}
    answer = "Your sources do not contain an answer to this question."
    html = page(alice, asked(alice, "Crane?", answer, trace=trace))
    assert "Nothing in your sources answers this." in html
    assert "crane licence" in html
    assert "0.21" in html
    assert "Ask without sources" in html


def test_a_failure_says_what_happened_and_offers_to_try_again(alice: User) -> None:
    html = page(alice, asked(alice, "Crane?", "Before", state=State.FAILED, error="The agent went away."))
    assert "Before" in html
    assert "The agent went away." in html
    assert "Try again" in html


def test_hostile_words_are_shown_as_words(alice: User, harbour: Group) -> None:
    evil = "<script>trap()</script>\u202e"
    harbour.name = evil
    harbour.save()
    alice.name = evil
    alice.save()
    source = ingest.store(alice, title=evil, content=f"# {evil}\n\n{evil}", groups=[harbour], public=False)
    chat = asked(alice, evil, f"{evil} [1]", title=evil, state=State.FAILED, error=evil)
    Citation.objects.filter(pk=cite(chat, source).pk).update(heading=evil, context=evil)
    for path in (f"/chats/{chat.pk}/", "/", "/chats/", "/chats/?q=trap"):
        html = signed_in(alice).get(path).content.decode()
        assert "<script>trap" not in html
    assert "⟨U+202E⟩" in page(alice, chat)


# -- keeping --------------------------------------------------------------------------------------


def test_a_chat_can_be_renamed_and_an_empty_title_keeps_the_old(alice: User) -> None:
    chat = asked(alice)
    signed_in(alice).post(f"/chats/{chat.pk}/rename", {"title": "  Gates \n and tides "})
    signed_in(alice).post(f"/chats/{chat.pk}/rename", {"title": " "})
    chat.refresh_from_db()
    assert chat.title == "Gates and tides"


def test_a_pinned_chat_stands_first(alice: User) -> None:
    old, new = asked(alice, "Old"), asked(alice, "New")
    assert page(alice, new).index(">New<") < page(alice, new).index(">Old<")
    signed_in(alice).post(f"/chats/{old.pk}/pin")
    html = page(alice, new)
    assert html.index("Pinned") < html.index(">Old<") < html.index(">New<")
    signed_in(alice).post(f"/chats/{old.pk}/pin")
    assert "Pinned" not in page(alice, new)


def test_a_deleted_chat_is_gone_and_can_be_brought_back(alice: User, bob: User) -> None:
    chat = asked(alice, "Gates")
    client = signed_in(alice)
    bar = client.post(f"/chats/{chat.pk}/delete", follow=True).content.decode()
    assert "Undo" in bar
    assert client.get(f"/chats/{chat.pk}/").status_code == 404
    assert str(chat.pk) not in client.get("/chats/").content.decode()
    assert "Undo" not in signed_in(bob).get(f"/?deleted={chat.pk}").content.decode()
    assert client.post(f"/chats/{chat.pk}/restore", follow=True).status_code == 200
    assert "Gates" in page(alice, chat)


def test_what_was_not_brought_back_within_an_hour_is_erased(alice: User) -> None:
    gone, other = asked(alice), asked(alice)
    Chat.objects.filter(pk=gone.pk).update(deleted_at=timezone.now() - timedelta(minutes=61))
    assert signed_in(alice).post(f"/chats/{gone.pk}/restore").status_code == 404
    signed_in(alice).post(f"/chats/{other.pk}/delete")
    assert sweeping.sweep(60)
    assert not Chat.objects.filter(pk=gone.pk).exists()
    assert Chat.objects.filter(pk=other.pk).exists()


@pytest.mark.parametrize(
    ("answer", "closed"),
    [
        ("``` in line ```", "``` in line ```"),
        ("Text\n```py\nx", "Text\n```py\nx\n```"),
        ("- a\n  ````\n  ```", "- a\n  ````\n  ```\n````"),
        ("~~~\n```\n~~~", "~~~\n```\n~~~"),
    ],
)
def test_an_export_closes_only_code_that_is_open(answer: str, closed: str) -> None:
    assert _closed(answer) == closed


@pytest.mark.django_db
def test_a_question_keeps_no_carriage_returns(alice: User) -> None:
    message = answers.begin(Chat(owner=alice), "One\r\ntwo\rthree", user=alice)
    assert message.question == "One\ntwo\nthree"


def test_exports_hold_the_chat(alice: User, guide: Source) -> None:
    chat = asked(alice, "When?", "At nine [1].\n\n```\nopen", title="Gäte / ../x\r\ny")
    cite(chat, guide)
    markdown = signed_in(alice).get(f"/chats/{chat.pk}/chat.md")
    assert markdown["Content-Disposition"] == 'attachment; filename="gate-x-y.md"'
    assert "## When?\n\nAt nine [1].\n\n```\nopen\n```\n\n1. Guide" in markdown.content.decode()
    document = json.loads(signed_in(alice).get(f"/chats/{chat.pk}/chat.json").content)
    assert document["messages"][0]["answer"] == "At nine [1].\n\n```\nopen"
    assert document["messages"][0]["sources"][0]["passage"] == "The gate closes at nine."


def test_the_copied_text_is_what_the_model_wrote(alice: User) -> None:
    chat = asked(alice, answer="**a** <b>\u202e")
    response = signed_in(alice).get(f"/chats/{chat.pk}/{chat.messages.get().pk}/text")
    assert response.content.decode() == "**a** <b>\u202e"
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"


# -- finding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["gate", "GATE nine", "überall", "closes"])
def test_chats_are_found_by_title_question_and_answer(alice: User, words: str) -> None:
    asked(alice, "When does the gate close? Überall?", "It closes at nine.", title="Evening")
    asked(alice, "Other")
    hits = history.search(alice, words)
    assert [hit.chat.title for hit in hits] == ["Evening"]
    assert "<mark>" in hits[0].text


def test_a_title_alone_is_found_and_marked(alice: User) -> None:
    asked(alice, title="Harbour & tides")
    assert [hit.title for hit in history.search(alice, "harbour")] == ["<mark>Harbour</mark> &amp; tides"]


@pytest.mark.parametrize("query", ["", "   ", "%", "_", "nosuch", "'; DROP TABLE", "\\"])
def test_a_search_for_nothing_finds_nothing(alice: User, query: str) -> None:
    asked(alice, "abc", "def")
    assert history.search(alice, query) == []


def test_nobody_finds_anothers_chat(alice: User, bob: User) -> None:
    asked(alice, "When does the gate close?")
    assert history.search(bob, "gate") == []


def test_ten_thousand_messages_are_searched_in_a_tenth_of_a_second(alice: User) -> None:
    chats = Chat.objects.bulk_create(Chat(owner=alice, title=f"Chat {number}") for number in range(500))
    filler = "The quick brown fox jumps over the lazy dog, again and again. " * 20
    Message.objects.bulk_create(
        Message(chat=chat, position=place, question=f"Question {place}", answer=filler, state=State.COMPLETE)
        for chat in chats
        for place in range(20)
    )
    Message.objects.filter(chat=chats[7], position=3).update(answer=f"{filler} zebra {filler}")
    for query, hits in (("zebra", 1), ("nosuchword lazy", 0), ("lazy", history.HITS)):
        times = []
        for _ in range(3):
            begin = time.process_time()
            assert len(history.search(alice, query)) == hits
            times.append(time.process_time() - begin)
        print(query, times)
        assert min(times) < 0.1


# -- cost -----------------------------------------------------------------------------------------


def test_a_page_costs_the_same_queries_with_much_as_with_little(alice: User, guide: Source) -> None:
    chat = asked(alice)
    cite(chat, guide)
    client = signed_in(alice)
    client.get(f"/chats/{chat.pk}/")

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert client.get(f"/chats/{chat.pk}/").status_code == 200
        return len(seen)

    few = queries()
    Chat.objects.bulk_create(Chat(owner=alice, title=f"Chat {number}") for number in range(500))
    Message.objects.bulk_create(
        Message(chat=chat, position=place, question="Q", answer="A **b** [1]\n\n" * 20, state=State.COMPLETE)
        for place in range(1, 201)
    )
    rows = [
        Citation(message=each, source=guide, number=1, is_cited=True, start=0, end=5, context="x", score=1)
        for each in chat.messages.filter(position__gt=0)
    ]
    Citation.objects.bulk_create(rows)
    assert queries() == few
    times = []
    for _ in range(5):
        begin = time.process_time()
        client.get(f"/chats/{chat.pk}/")
        times.append(time.process_time() - begin)
    print(few, times)
    assert sorted(times)[2] < 0.12  # a third of it on a machine that does nothing else


def test_earlier_questions_are_a_page_of_their_own(alice: User) -> None:
    chat = asked(alice, "The first question")
    Message.objects.bulk_create(
        Message(chat=chat, position=place, question=f"Q{place}", answer="A", state=State.COMPLETE)
        for place in range(1, 60)
    )
    assert "The first question</h2>" not in page(alice, chat)
    assert "?before=10" in page(alice, chat)
    earlier = signed_in(alice).get(f"/chats/{chat.pk}/?before=10").content.decode()
    assert "The first question</h2>" in earlier
    assert "Q10</h2>" not in earlier


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=²", "edit=x", "before=" + "9" * 30])
def test_a_nonsense_address_is_no_fault(alice: User, query: str) -> None:
    assert signed_in(alice).get(f"/chats/{asked(alice).pk}/?{query}").status_code == 200


@pytest.mark.parametrize("query", ["page=x", "page=99999", "page=" + "9" * 30, "q=" + "a " * 5_000])
def test_a_nonsense_search_is_no_fault(alice: User, query: str) -> None:
    assert signed_in(alice).get(f"/chats/?{query}").status_code == 200


def test_pages_hold_no_inline_script_and_no_inline_style(alice: User) -> None:
    chat = asked(alice, answer="a | b\n--|-:\n1 | 2\n\n$x$\n\n```python\na\n```")
    for path in (
        "/",
        "/chats/",
        "/chats/?q=a",
        f"/chats/{chat.pk}/",
        f"/chats/{chat.pk}/?edit={chat.messages.get().pk}",
    ):
        response = signed_in(alice).get(path)
        html = response.content.decode()
        assert "style=" not in html
        assert "<script>" not in html
        assert " on" + "click" not in html
        assert "script-src 'self'" in response["Content-Security-Policy"]
