"""The first steps on the home page: for who runs a new installation, ticked by the truth, and to be hidden."""

from __future__ import annotations

import pytest
from django.utils import timezone

from accounts.models import User
from privategpt import ingest
from privategpt.models import Chat, Message
from relay.models import Agent
from tests.admin_site import administrator
from tests.pages import browser, text


@pytest.fixture
def root(db: None) -> User:
    return administrator()


def done(user: User) -> int:
    return browser(user).get("/").content.decode().count('<span class="sr">, done</span>')


def test_who_runs_the_system_is_led_with_commands_that_name_this_server(root: User) -> None:
    page = browser(root).get("/", headers={"host": "localhost"})
    words = text(page)
    assert "The line is open." in words
    assert "runagent --url ws://localhost" in words
    assert "make run OPENAI_BASE_URL=" in words
    assert "/admin/accounts/user/add/" in page.content.decode()
    assert 'name="question"' in page.content.decode()


def test_everybody_else_is_simply_asked(alice: User) -> None:
    words = text(browser(alice).get("/"))
    assert "Ask your sources" in words
    assert "You can read 0 sources." in words
    assert "The line is open." not in words


def test_a_step_is_done_when_it_was_done(root: User) -> None:
    assert done(root) == 0
    ingest.store(None, title="Manual", content="# M\n\nText.", groups=[], public=True)
    Agent.objects.create(pk="b", name="built-in", seen_at=timezone.now())
    assert done(root) == 0  # neither is somebody's doing
    ingest.store(root, title="Own", content="# O\n\nText.", groups=[], public=True)
    assert done(root) == 1
    Agent.objects.create(pk="n", name="north", seen_at=timezone.now())
    assert done(root) == 2
    Message.objects.create(chat=Chat.objects.create(owner=root), position=0, question="?", state="complete")
    assert done(root) == 3


def test_it_is_over_when_all_is_done(root: User, alice: User) -> None:
    ingest.store(root, title="Own", content="# O\n\nText.", groups=[], public=True)
    Agent.objects.create(pk="n", name="north", seen_at=timezone.now())
    Message.objects.create(chat=Chat.objects.create(owner=root), position=0, question="?", state="complete")
    assert "Ask your sources" in text(browser(root).get("/"))


def test_it_can_be_hidden_by_a_form(root: User) -> None:
    client = browser(root)
    assert client.post("/first-steps/hide")["Location"] == "/"
    assert "Ask your sources" in text(client.get("/"))
    assert client.get("/first-steps/hide").status_code == 405


def test_who_may_not_add_people_is_not_sent_to_do_it(alice: User) -> None:
    alice.roles = ["system"]
    alice.save()
    page = browser(alice).get("/").content.decode()
    assert "Invite people" in page
    assert "/admin/accounts/user/add/" not in page


def test_an_example_is_put_into_the_composer(root: User) -> None:
    page = browser(root).get("/?q=How+do+I+connect+an+agent%3F").content.decode()
    assert "How do I connect an agent?</textarea>" in page
