"""Pages whose subject goes away under them: a sentence or "not found", never a failure, and nothing half done.

Faults 21, 26, 32 and 33 in the browser; in contract 2 see tests/contract2/test_clients.py and test_chats.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient

from accounts.models import Group, User
from privategpt import desk, ingest
from privategpt.models import Chat, Message, Source
from tests.answering import Scripted, begun, chat, db, group, source, until
from tests.pages import browser, text

Acts = dict[str, Callable[[], Any]]


@pytest.fixture
def tea(alice: User) -> Group:
    alice.roles = ["documents"]
    alice.save()
    return group("tea", alice)


def goes_first(monkeypatch: pytest.MonkeyPatch, verb: str, what: Callable[[], object]) -> None:
    """In the worst moment: after the page has looked, before the verb has."""
    real = getattr(ingest, verb)

    def late(*args: Any, **kwargs: Any) -> Any:
        what()
        return real(*args, **kwargs)

    monkeypatch.setattr(ingest, verb, late)


@pytest.mark.parametrize("act", ["upload", "write"])
@pytest.mark.django_db(transaction=True)
def test_a_group_that_goes_while_a_source_comes(
    alice: User, tea: Group, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """Fault 26: nothing is stored, and the page says why."""
    client = browser(alice)
    goes_first(monkeypatch, "store", lambda: Group.objects.all().delete())
    if act == "upload":
        files = [SimpleUploadedFile("a.md", b"# A\n\nText."), SimpleUploadedFile("b.md", b"# B\n\nText.")]
        found = client.post("/sources", {"files": files, "to": str(tea.pk)}, follow=True)
    else:
        found = client.post("/sources/write", {"title": "T", "content": "Text.", "groups": [tea.pk]}, follow=True)
    assert found.status_code in {200, 422}
    assert "A group was deleted just now. Choose again." in text(found)
    assert not Source.objects.exists()


@pytest.mark.parametrize("act", ["edit", "move"])
@pytest.mark.django_db(transaction=True)
def test_a_source_or_its_new_group_that_goes_while_it_is_changed(
    alice: User, tea: Group, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    other = group("other", alice)
    stored = source("T", "Text.", tea)
    client = browser(alice)
    if act == "edit":
        goes_first(monkeypatch, "edit", lambda: Source.objects.all().delete())
        found = client.post(f"/sources/{stored.pk}/edit", {"title": "New", "content": "Other."})
        assert found.status_code == 404
    else:
        goes_first(monkeypatch, "edit", lambda: Group.objects.filter(pk=other.pk).delete())
        found = client.post(f"/sources/{stored.pk}/move", {"groups": [other.pk]})
        assert found.status_code == 422
        assert "A group was deleted just now. Choose again." in text(found)
        assert list(Source.objects.get().groups.all()) == [tea]


@pytest.mark.parametrize("content", ["a\0b", "half \ud83d"])
@pytest.mark.django_db(transaction=True)
def test_what_no_database_stores_is_refused_in_every_field(alice: User, tea: Group, content: str) -> None:
    """Fault 21."""
    client = browser(alice)
    raw = content.encode("utf-8", "surrogatepass")
    sent: dict[str, tuple[str, bytes]] = {
        "/chats/new": ("question", b""),
        "/sources/write": ("title", b"&content=x&groups=%d" % tea.pk),
        "/account/you": ("name", b""),
    }
    for path, (field, more) in sent.items():
        quoted = b"".join(b"%%%02X" % byte for byte in raw)
        found = client.post(path, b"%s=%s%s" % (field.encode(), quoted, more), "application/x-www-form-urlencoded")
        assert found.status_code < 500
    for row in (*Source.objects.values_list("title", flat=True), *User.objects.values_list("name", flat=True)):
        assert "\0" not in row
        assert row.encode()
    for path in (
        "/",
        "/chats/",
        "/sources",
        "/account",
        "/chats/?q=%00",
        "/sources?q=%00&group=%00",
        "/sources/bench?q=%00",
    ):
        assert client.get(path).status_code in {200, 400, 404}


async def test_a_chat_that_is_deleted_while_it_is_answered_stays_deleted(scripted: type[Scripted], alice: User) -> None:
    """Fault 32: put aside, as the page does; the answer ends and the chat does not come back."""
    more = asyncio.Event()
    scripted.says("One ", more, "two")
    message = await begun(await db(chat, alice))
    client = AsyncClient()
    await client.aforce_login(alice)
    assert (await client.post(f"/chats/{message.chat_id}/delete")).status_code == 302
    more.set()
    await until(lambda: not desk.current().running)
    assert (await client.get(f"/chats/{message.chat_id}/")).status_code == 404
    assert (await client.get(f"/chats/{message.chat_id}/{message.pk}/")).status_code == 404
    assert (await client.post(f"/chats/{message.chat_id}/ask", {"question": "More?"})).status_code == 404
    assert await db(Message.objects.count) == 1


async def test_a_user_who_is_deleted_while_asking_leaves_nothing(scripted: type[Scripted], alice: User) -> None:
    """Fault 33."""
    scripted.says("One ", asyncio.Event())
    client = AsyncClient()
    await client.aforce_login(alice)
    assert (await client.post("/chats/new", {"question": "Why?"})).status_code == 302
    await db(User.objects.filter(pk=alice.pk).delete)
    await until(lambda: not desk.current().running)
    assert not await db(Chat.objects.exists)
    assert not await db(Message.objects.exists)
