"""Lines that stay open: nobody hears another's answer, and a line ends soon after the right to it does.

Attacks 43 and 44. The browser has no socket: it hears an answer as server-sent events."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import AsyncClient
from django.utils import timezone

from accounts.models import User
from accounts.sessions import Session
from privategpt.models import Chat
from privategpt.models import Message as Asked
from privategpt.pages import streaming
from tests.answering import Scripted, begun, chat, db

WITHIN = 5.0  # seconds from the end of the right to the end of the line


async def browser(user: User) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(user)
    return client


def events(message: Asked) -> str:
    return f"/chats/{message.chat_id}/{message.pk}/events"


async def opened(client: AsyncClient, message: Asked) -> AsyncIterator[bytes]:
    """The line behind its first piece of text."""
    response: Any = await client.get(events(message))
    assert response.status_code == 200
    assert not any(name.lower().startswith("access-control") for name in response.headers)
    line: AsyncIterator[bytes] = aiter(response.streaming_content)
    async with asyncio.timeout(WITHIN):
        async for piece in line:
            if b"event: text" in piece:
                return line
    raise AssertionError("no text came")


async def rest_of(line: AsyncIterator[bytes]) -> bytes:
    """What still comes until the line ends. Raises TimeoutError."""
    async with asyncio.timeout(WITHIN):
        return b"".join([piece async for piece in line])


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks ten times as often, so that tests wait less."""
    assert streaming.CHECKED_EVERY < WITHIN - 1
    monkeypatch.setattr(streaming, "CHECKED_EVERY", 0.1)


# -- whose answer ---------------------------------------------------------------------------------


async def test_anothers_stream_is_refused_like_an_unknown_one(
    scripted: type[Scripted], alice: User, charlie: User
) -> None:
    """Attack 43: by the chat's own path, and smuggled into a chat of one's own."""
    scripted.says("Secret", asyncio.Event())
    message = await begun(await db(chat, alice))
    own: Chat = await db(chat, charlie)
    client = await browser(charlie)
    unknown = await client.get(f"/chats/{uuid.uuid4()}/{uuid.uuid4()}/events")
    for path in (events(message), f"/chats/{own.pk}/{message.pk}/events", f"/chats/{message.chat_id}/{own.pk}/events"):
        found = await client.get(path)
        assert (found.status_code, found.content) == (404, unknown.content)
        assert b"Secret" not in found.content


async def test_a_stream_takes_a_session(scripted: type[Scripted], alice: User) -> None:
    scripted.says("Secret", asyncio.Event())
    message = await begun(await db(chat, alice))
    found = await AsyncClient().get(events(message))
    assert found.status_code == 302
    assert found.headers["Location"].startswith("/sign-in")
    assert (await AsyncClient().get(events(message), headers={"Authorization": "Bearer 1|x"})).status_code == 302


async def test_nobody_writes_into_anothers_chat(scripted: type[Scripted], alice: User, charlie: User) -> None:
    """Attack 43: neither a question, nor a stop, nor one more try; and a page of elsewhere writes nowhere."""
    more = asyncio.Event()
    scripted.says("One ", more, "two")
    message = await begun(await db(chat, alice))
    client = await browser(charlie)
    for act in ("ask", "stop", f"{message.pk}/again"):
        found = await client.post(f"/chats/{message.chat_id}/{act}", {"question": "Mine?"})
        unknown = await client.post(f"/chats/{uuid.uuid4()}/{act}", {"question": "Mine?"})
        assert (found.status_code, found.content) == (404, unknown.content)
    elsewhere = AsyncClient(enforce_csrf_checks=True, headers={"Origin": "https://evil.example"})
    await elsewhere.aforce_login(alice)
    assert (await elsewhere.post("/chats/new", {"question": "Mine?"})).status_code == 403
    more.set()
    line = await opened(await browser(alice), message)
    assert b'data: "complete"' in await rest_of(line)
    assert await db(Asked.objects.count) == 1


# -- when the right ends --------------------------------------------------------------------------


def signs_out(user: User) -> None:
    Session.objects.of(user)[0].delete()


def is_retired(user: User) -> None:
    User.objects.get(pk=user.pk).retire()


def gets_another_password(user: User) -> None:
    user = User.objects.get(pk=user.pk)
    user.set_password("quite another password")
    user.save()


def is_deleted(user: User) -> None:
    User.objects.get(pk=user.pk).delete()


@pytest.mark.parametrize("ending", [signs_out, is_retired, gets_another_password, is_deleted])
async def test_a_line_ends_when_its_reader_may_read_no_more(
    scripted: type[Scripted], alice: User, bob: User, often: None, ending: Callable[[User], None]
) -> None:
    """Attack 44: within five seconds; the answer's own way on is another matter, and others hear theirs."""
    scripted.says("One ", asyncio.Event())
    scripted.says("Uno ", more := asyncio.Event(), "due")
    line = await opened(await browser(alice), await begun(await db(chat, alice)))
    other = await opened(await browser(bob), await begun(await db(chat, bob)))
    began = time.monotonic()
    await db(ending, alice)
    await rest_of(line)
    assert time.monotonic() - began < WITHIN
    more.set()
    assert b"due" in await rest_of(other)


async def test_who_comes_back_to_an_ended_line_is_sent_to_the_sign_in(
    scripted: type[Scripted], alice: User, often: None
) -> None:
    scripted.says("One ", asyncio.Event())
    client, message = await browser(alice), await begun(await db(chat, alice))
    line = await opened(client, message)
    await client.post("/sign-out")
    await rest_of(line)
    assert (await client.get(events(message))).status_code == 302


async def test_a_line_says_now_and_then_that_it_lives(scripted: type[Scripted], alice: User, often: None) -> None:
    scripted.says("One ", asyncio.Event())
    line = await opened(await browser(alice), await begun(await db(chat, alice)))
    async with asyncio.timeout(WITHIN):
        assert await anext(line) == b": alive\n\n"
        assert await anext(line) == b": alive\n\n"
    await line.aclose()  # type: ignore[attr-defined]


def test_a_look_is_one_query(alice: User, client: Any, django_assert_num_queries: Any) -> None:
    client.force_login(alice)
    session = client.session
    assert session["_auth_user_id"] == str(alice.pk)  # read, as the request has read it
    with django_assert_num_queries(1):
        assert Session.objects.still_holds(session)
    Session.objects.update(expire_date="2020-01-01T00:00:00Z")
    assert not Session.objects.still_holds(session)


async def test_a_session_that_an_asynchronous_view_began_is_in_the_list_too(
    alice: User, transactional_db: None
) -> None:
    client = await browser(alice)
    assert await db(lambda: Session.objects.of(alice).count()) == 1
    before = timezone.now() - timedelta(hours=3)
    await db(Session.objects.update, used_at=before)
    await client.get(f"/chats/{uuid.uuid4()}/{uuid.uuid4()}/events")
    assert (await db(Session.objects.get)).used_at > before
