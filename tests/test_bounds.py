"""What one person may have at once: at the limit it works, beyond it a sentence says so, and others are not touched."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from accounts.models import Group, User
from accounts.sessions import Session
from privategpt import ingest
from privategpt.desk import peek
from privategpt.models import Chat, Message, Source
from tests.conftest import PASSWORD
from tests.contract2.conftest import anybody, loop, program  # noqa: F401 - a real event loop behind the client
from tests.contract2.server import Program
from tests.pages import browser, text
from tests.running import until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)
LONG = "\n\n".join(f"## Part {n}\n\n" + f"Word{n} stands here among others of its kind. " * 30 for n in range(20))


def under_way() -> dict[str, Any]:
    """Of an answer that some process is at work on."""
    return {"state": Message.State.WAITING, "claimed_until": timezone.now() + timedelta(seconds=15)}


@pytest.fixture
def keeper(alice: User) -> User:
    """May store sources."""
    alice.roles = ["documents"]
    alice.save()
    alice.groups.add(Group.objects.create(name="Pumps"))
    return alice


def stored(owner: User, title: str, content: str = "Some text.") -> Source:
    return ingest.store(owner, title=title, content=content, groups=[], public=True)


def test_sources_are_as_many_as_one_may_have(settings: Settings, keeper: User, bob: User) -> None:
    settings.PER_USER = settings.PER_USER | {"sources": 2}
    first = stored(keeper, "First")
    stored(keeper, "Second")
    form = {"title": "Third", "content": "Text", "groups": [str(keeper.groups.get().pk)]}
    refused = browser(keeper).post("/sources/write", form)
    assert "as many sources as one person may have" in text(refused)
    assert Source.objects.filter(creator=keeper).count() == 2
    stored(bob, "Another's")
    ingest.edit(first, content="Other text.")
    ingest.delete(first)
    assert browser(keeper).post("/sources/write", form).status_code == 302


def test_text_is_as_much_as_one_may_have(settings: Settings, keeper: User) -> None:
    short, long = stored(keeper, "Short"), stored(keeper, "Long", LONG)
    settings.PER_USER = settings.PER_USER | {"passages": long.passages_total + 1}
    group = str(keeper.groups.get().pk)
    refused = browser(keeper).post("/sources/write", {"title": "T", "content": "Text", "groups": [group]})
    assert "as much text as one person may have" in text(refused)
    page = f"/sources/{short.pk}/edit"
    assert "as much text as one person may have" in text(browser(keeper).post(page, {"title": "T", "content": LONG}))
    assert browser(keeper).post(page, {"title": "T", "content": "As short as before."}).status_code == 302


def test_the_api_says_so_with_507(settings: Settings, keeper: User, anybody: Program) -> None:  # noqa: F811
    settings.PER_USER = settings.PER_USER | {"sources": 1}
    as_keeper = program(anybody, keeper)
    body = {"name": "T", "content": "Text", "groups": ["Pumps"]}
    assert as_keeper.post("/sources", body).status == 200
    refused = as_keeper.post("/sources", body)
    assert refused.status == refused.json["status"] == 507
    assert refused.json["message"] == "You have as many sources as one person may have; delete some first."
    assert refused.json["data"] is None


def test_the_session_longest_unused_makes_room(settings: Settings, alice: User, bob: User) -> None:
    settings.PER_USER = settings.PER_USER | {"sessions": 3}
    other = browser()
    other.post("/sign-in", {"email": str(bob.email), "password": PASSWORD})
    signed_in = [browser() for _ in range(5)]
    for each in signed_in:
        assert each.post("/sign-in", {"email": str(alice.email), "password": PASSWORD}).status_code == 302
    assert [each.get("/account").status_code for each in signed_in] == [302, 302, 200, 200, 200]
    assert Session.objects.filter(user=alice).count() == 3
    assert other.get("/account").status_code == 200


def test_streams_are_as_many_as_one_may_follow(settings: Settings, alice: User, bob: User, anybody: Program) -> None:  # noqa: F811
    settings.PER_USER = settings.PER_USER | {"streams": 2}
    as_alice, as_bob = program(anybody, alice), program(anybody, bob)
    chat = Chat.objects.create(owner=alice)
    waiting = Message.objects.create(chat=chat, position=0, question="Why?", **under_way())
    bobs = Chat.objects.create(owner=bob)
    his = Message.objects.create(chat=bobs, position=0, question="Why?", **under_way())

    def follow(who: Program, chat: Chat, message: Message) -> object:
        return who.stream("POST", f"/chats/{chat.pk}", {}, {"Last-Event-ID": f"{message.pk}:0"})

    open_now = [follow(as_alice, chat, waiting) for _ in range(2)]
    until(lambda: sum(desk.readers.values()) == 2 if (desk := peek()) else False, "both are open")
    refused = as_alice.call(
        "POST",
        f"/chats/{chat.pk}",
        {},
        {
            "Authorization": f"Bearer {as_alice.token}",
            "Last-Event-ID": f"{waiting.pk}:0",
            "Accept": "text/event-stream",
        },
    )
    assert (refused.status, refused.headers["retry-after"]) == (429, "2")
    assert "as many answers at once" in refused.json["message"]
    open_now.append(follow(as_bob, bobs, his))
    for stream in open_now:
        stream.leave()  # type: ignore[attr-defined]
