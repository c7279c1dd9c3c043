"""Fault 19: the wall clock jumps by an hour, either way. Nobody is thrown out, nothing ends early.

Deadlines go by the monotonic clock. Relay asks: tests/test_dispatch.py; claims on answers: tests/test_answers.py;
claims on sources: tests/test_ingest.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.utils import timezone

from accounts import signin
from accounts.models import Token, User
from privategpt import desk
from privategpt.models import Message
from tests.answering import Scripted, begun, chat, db, followed, text_of
from tests.conftest import PASSWORD
from tests.contract2.server import Loop, Program

HOUR = timedelta(hours=1)
Jump = Callable[[timedelta], None]
both_ways = pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Sets the clock, by so much from the true time."""
    now = timezone.now

    def to(step: timedelta) -> None:
        monkeypatch.setattr(timezone, "now", lambda: now() + step)

    return to


@both_ways
def test_tokens_and_sessions_go_on(alice: User, transactional_db: None, jump: Jump, step: timedelta) -> None:
    loop = Loop()
    keys = [Token.objects.issue(Token.Kind.API, alice, days=days)[1] for days in (None, 1)]
    browser = Client()
    browser.force_login(alice)
    jump(step)
    for key in keys:
        assert Program(loop, key).get("/groups").status == 200
    assert browser.get("/").status_code == 200
    reply = Program(loop).post("/login", {"email": "alice@example.org", "password": PASSWORD})
    jump(timedelta(0))
    assert Program(loop, reply.data["token"]).get("/groups").status == 200
    loop.close()


@both_ways
async def test_an_answer_and_the_line_to_it_go_on(
    scripted: type[Scripted], alice: User, jump: Jump, step: timedelta
) -> None:
    more = asyncio.Event()
    scripted.says("One ", more, "two")
    message = await begun(await db(chat, alice))
    client = AsyncClient()
    await client.aforce_login(alice)
    response: Any = await client.get(f"/chats/{message.chat_id}/{message.pk}/events")
    line = aiter(response.streaming_content)
    assert await anext(line)
    jump(step)
    await desk.current()._look()
    await db(Message.objects.lost().fail)  # as the worker does every five seconds
    more.set()
    heard = b"".join([piece async for piece in line])
    assert text_of(await followed(message)) == "One two"
    assert b'data: "complete"' in heard
    assert (await db(Message.objects.get)).state == Message.State.COMPLETE


def test_a_lock_that_was_set_before_the_clock_went_back_lasts_no_longer(alice: User, jump: Jump) -> None:
    for _ in range(10):
        with pytest.raises(signin.WrongCredentials):
            signin.sign_in("alice@example.org", "wrong", "192.0.2.1")
    jump(-HOUR)
    with pytest.raises(signin.Locked) as locked:
        signin.sign_in("alice@example.org", PASSWORD, "192.0.2.1")
    assert locked.value.seconds <= 601
    jump(-HOUR + timedelta(minutes=11))
    assert signin.sign_in("alice@example.org", PASSWORD, "192.0.2.1") == alice


def test_a_clock_that_goes_forward_ends_a_lock_and_no_more(alice: User, jump: Jump) -> None:
    for _ in range(10):
        with pytest.raises(signin.WrongCredentials):
            signin.sign_in("alice@example.org", "wrong", "192.0.2.1")
    jump(HOUR)
    with pytest.raises(signin.WrongCredentials):
        signin.sign_in("alice@example.org", "wrong", "192.0.2.1")
    assert signin.sign_in("alice@example.org", PASSWORD, "192.0.2.1") == alice
