"""What a browser is given and what it keeps: cookies, caches, where a sign-in leads, and under which name we answer.

Attacks 85 and 86; what the pages may load is in tests/test_page_signing.py."""

from __future__ import annotations

import time

import pytest
from django.test import Client
from django_otp.oath import totp

from accounts import secondfactor
from accounts.models import User
from tests.conftest import PASSWORD
from tests.pages import browser

SIGN_IN = {"email": "alice@example.org", "password": PASSWORD}
ELSEWHERE = [
    "https://evil.example/",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "http:evil.example",
    "http:///evil.example",
    " //evil.example",
    "\t//evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "https://localhost@evil.example/",
    "//evil.example\\@localhost",
]


@pytest.mark.parametrize("wanted", ELSEWHERE)
@pytest.mark.parametrize("path", ["/sign-in", "/admin/login/"])
def test_no_sign_in_leads_elsewhere(alice: User, path: str, wanted: str) -> None:
    """In the form and in the address, before the sign-in and for who is signed in already."""
    alice.is_staff = True
    alice.save()
    client = Client()
    places = [
        client.post(path, SIGN_IN | {"next": wanted})["Location"],
        client.get(path, {"next": wanted})["Location"],
        Client().post(f"{path}?next=x", SIGN_IN | {"next": wanted})["Location"],
    ]
    assert set(places) <= {"/", "/admin/"}


def test_a_line_break_makes_no_header(alice: User) -> None:
    """Attack 40: it stays in the address, quoted."""
    found = Client().post("/sign-in", SIGN_IN | {"next": "/\r\nSet-Cookie: a=b"})
    assert found["Location"] == "/%0D%0ASet-Cookie:%20a=b"
    assert "a" not in found.cookies


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example/"])
def test_nor_does_one_with_a_code(alice: User, wanted: str) -> None:
    secret = secondfactor.begin(alice).bin_key
    assert secondfactor.confirm(alice, f"{totp(secret, drift=-1):06d}")
    client = Client()
    assert client.post("/sign-in", SIGN_IN | {"next": wanted})["Location"] == "/sign-in/code"
    before = client.session.session_key
    assert client.post("/sign-in/code", {"code": f"{totp(secret):06d}"})["Location"] == "/"
    assert client.session.session_key != before


def test_a_key_that_somebody_planted_is_not_taken_over(alice: User) -> None:
    """Fixation: neither a made-up key nor one of a session that is there."""
    for planted in ("a" * 32, _of_a_stranger()):
        client = Client()
        client.cookies["sessionid"] = planted
        client.post("/sign-in", SIGN_IN)
        assert client.session.session_key != planted
        other = Client()
        other.cookies["sessionid"] = planted
        assert other.get("/").status_code == 302


def _of_a_stranger() -> str:
    session = Client().session
    session["seen"] = time.time()
    session.save()
    return str(session.session_key)


def test_signing_out_ends_the_session_everywhere(alice: User) -> None:
    """Attack 6: the cookie that somebody copied opens nothing."""
    client = browser(alice)
    copied = client.cookies["sessionid"].value
    client.post("/sign-out")
    thief = Client()
    thief.cookies["sessionid"] = copied
    assert thief.get("/")["Location"].startswith("/sign-in")


@pytest.mark.parametrize("is_secure", [True, False])
def test_behind_tls_cookies_go_over_tls_only(alice: User, settings: object, is_secure: bool) -> None:
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = is_secure  # type: ignore[attr-defined]
    client = Client()
    cookies = {**client.get("/sign-in").cookies, **client.post("/sign-in", SIGN_IN).cookies}
    assert set(cookies) == {"csrftoken", "device", "sessionid"}
    for cookie in cookies.values():
        assert bool(cookie["secure"]) == is_secure
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert not cookie["domain"]


@pytest.mark.parametrize("path", ["/", "/chats/", "/sources", "/account", "/account/sessions", "/admin/"])
def test_no_page_of_somebody_is_kept_by_any_cache(alice: User, path: str) -> None:
    """Attack 86: not in a proxy, nor behind the back button of who signed out."""
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    kept = browser(alice).get(path)["Cache-Control"]
    assert "no-store" in kept
    assert "private" in kept


def test_files_are_kept_though(alice: User) -> None:
    found = browser(alice).get("/static/js/chat.js")
    assert "no-store" not in found.headers.get("Cache-Control", "")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost:80@evil.example", "", "[::1"])
def test_a_page_answers_to_its_own_name_only(alice: User, host: str) -> None:
    found = browser(alice).get("/", headers={"host": host or "."})
    assert found.status_code == 400
    assert b"evil" not in found.content


def test_what_a_proxy_claims_without_being_one_is_not_believed(alice: User) -> None:
    """X-Forwarded-Host makes no link, X-Forwarded-Proto no secure cookie."""
    headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    client = Client()
    found = client.get("/chats/", headers=headers)
    assert found["Location"].startswith("/sign-in?next=")
    assert "evil" not in str(found.headers)
    client.post("/sign-in", SIGN_IN, headers=headers)
    assert b"evil" not in client.get("/", headers=headers).content
