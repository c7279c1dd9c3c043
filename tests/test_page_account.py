"""The account's pages: profile, password, second factor, tokens, sessions."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import Group, Token, User
from accounts.sessions import Session
from tests.conftest import PASSWORD
from tests.pages import browser, text

NEW = "another good long sentence"
READING = {"language": "de", "timezone": "Asia/Tokyo", "theme": "dark"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1"
PATHS = ["/account", "/account/tokens", "/account/sessions", "/account/second-factor"]


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_is_sent_to_the_sign_in(db: None, path: str) -> None:
    assert browser().get(path)["Location"] == f"/sign-in?next={path}"


# -- profile -------------------------------------------------------------------------------------


def test_a_name_is_saved_and_shown_as_text(alice: User) -> None:
    page = browser(alice).post("/account/you", {"name": "<img src=x onerror=alert(1)>"}, follow=True)
    assert "Saved." in text(page)
    assert "<img" not in page.content.decode()
    alice.refresh_from_db()
    assert alice.name.startswith("<img")


def test_language_time_zone_and_theme_are_the_readers(alice: User) -> None:
    client = browser(alice)
    page = client.post("/account/reading", READING, follow=True)
    assert '<html lang="de" dir="ltr" data-theme="dark" data-keys="off">' in page.content.decode()
    assert client.cookies["theme"]["httponly"]
    alice.refresh_from_db()
    assert (alice.language, alice.timezone) == ("de", "Asia/Tokyo")


@pytest.mark.parametrize("wrong", [{"language": "xx"}, {"timezone": "Mars/Base"}, {"theme": '"><script>'}])
def test_what_is_no_choice_is_refused(alice: User, wrong: dict[str, str]) -> None:
    client = browser(alice)
    assert client.post("/account/reading", READING | wrong).status_code == 422
    alice.refresh_from_db()
    assert alice.language == "en"


def test_a_forged_theme_cookie_reaches_no_page(alice: User) -> None:
    client = browser(alice)
    client.cookies["theme"] = "x onmouseover=alert(1)"
    assert "onmouseover" not in client.get("/account").content.decode()


def test_a_new_password_keeps_this_session_and_ends_all_others(alice: User) -> None:
    here, elsewhere = browser(alice), browser(alice)
    page = here.post("/account/password", {"present": PASSWORD, "new": NEW}, follow=True)
    assert "The password is changed." in text(page)
    assert elsewhere.get("/account").status_code == 302
    assert Session.objects.of(alice).count() == 1
    alice.refresh_from_db()
    assert alice.check_password(NEW)


@pytest.mark.parametrize(("present", "new"), [("wrong", NEW), (PASSWORD, "password"), (PASSWORD, "short")])
def test_a_wrong_or_weak_password_changes_nothing(alice: User, present: str, new: str) -> None:
    assert browser(alice).post("/account/password", {"present": present, "new": new}).status_code == 422
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


# -- tokens --------------------------------------------------------------------------------------


@pytest.fixture
def engineering(alice: User) -> Group:
    group = Group.objects.create(name="Engineering")
    alice.groups.add(group)
    return group


def test_a_token_is_shown_once_and_works_as_it_was_made(alice: User, engineering: Group) -> None:
    client = browser(alice)
    wanted = {"name": "Build server", "may": ["chats"], "groups": [engineering.pk], "ends": "90"}
    page = client.post("/account/tokens", wanted)
    found = re.search(r"<code>(\d+\|[\w-]+)</code>", page.content.decode())
    assert found
    assert page["Cache-Control"].startswith("max-age=0")
    token = Token.objects.all().with_key(found[1], Token.Kind.API)
    assert token is not None
    assert (token.scopes, token.is_narrowed, list(token.groups.all())) == (["chats"], True, [engineering])
    assert token.expires_at is not None
    assert found[1] not in client.get("/account/tokens").content.decode()


def test_nobody_gives_a_token_what_they_may_not_do(alice: User, engineering: Group) -> None:
    other = Group.objects.create(name="Support")
    client = browser(alice)
    for more in ({"may": ["answer"]}, {"may": ["admin"]}, {"may": ["sources:write"]}, {"groups": [other.pk]}):
        assert client.post("/account/tokens", {"name": "x", "may": ["chats"], "ends": "90"} | more).status_code == 422
    assert not Token.objects.exists()


def test_who_runs_the_system_makes_agent_tokens(alice: User) -> None:
    alice.roles = ["system"]
    alice.save()
    page = browser(alice).post("/account/tokens", {"name": "north-1", "may": ["answer"], "ends": ""})
    assert "sba_" in text(page)
    token = Token.objects.get()
    assert (token.kind, token.expires_at) == (Token.Kind.AGENT, None)


def test_one_revokes_ones_own_tokens_only(alice: User, bob: User) -> None:
    token, key = Token.objects.issue(Token.Kind.API, alice, name="Notebook", scopes=["chats"])
    path = f"/account/tokens/{token.pk}/revoke"
    assert browser(bob).post(path).status_code == 404
    assert browser(alice).get(path).status_code == 405
    assert Token.objects.all().with_key(key, Token.Kind.API)
    assert browser(alice).post(path).status_code == 302
    assert not Token.objects.all().with_key(key, Token.Kind.API)


# -- sessions ------------------------------------------------------------------------------------


def at_device(agent: str) -> Client:
    client = Client(headers={"accept": "text/html", "user-agent": agent})
    client.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    return client


def test_sessions_are_listed_with_their_device_and_without_their_keys(alice: User) -> None:
    here, phone = at_device(FIREFOX), at_device(IPHONE)
    page = here.get("/account/sessions")
    assert "Firefox on Linux" in text(page)
    assert "Safari on iPhone" in text(page)
    assert "This session" in text(page)
    for client in (here, phone):
        assert str(client.session.session_key) not in page.content.decode()


def test_one_session_is_ended_and_others_stay(alice: User) -> None:
    here, phone, laptop = at_device(FIREFOX), at_device(IPHONE), at_device("Windows Edg/140.0")
    page = here.get("/account/sessions").content.decode()
    name = re.search(r'value="(\w{24})"><button[^>]*iPhone', page)
    assert name
    assert here.post("/account/sessions/end", {"session": name[1]}).status_code == 302
    assert phone.get("/account").status_code == 302
    assert laptop.get("/account").status_code == 200
    here.post("/account/sessions/end-others")
    assert laptop.get("/account").status_code == 302
    assert here.get("/account").status_code == 200


def test_nobody_ends_a_session_of_somebody_else(alice: User, bob: User) -> None:
    alices = at_device(FIREFOX)
    at_device(IPHONE)
    name = re.search(r'value="(\w{24})"', alices.get("/account/sessions").content.decode())
    assert name
    assert browser(bob).post("/account/sessions/end", {"session": name[1]}).status_code == 404
    assert Session.objects.of(alice).count() == 2


def test_every_form_takes_a_csrf_token(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    for path in ("you", "reading", "password", "second-factor", "tokens", "sessions/end", "sessions/end-others"):
        assert client.post(f"/account/{path}").status_code == 403, path
