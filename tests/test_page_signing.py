"""Signing in and out in the browser, and what every page's headers say."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from tests.conftest import PASSWORD

MISMATCH = "Email and password do not match."


def sign_in(email: str, password: str, **extra: str) -> tuple[Client, object]:
    client = Client()
    return client, client.post("/sign-in", {"email": email, "password": password, **extra})


def test_the_right_password_opens_and_leads_to_the_page_that_was_wanted(alice: User) -> None:
    client, response = sign_in("alice@example.org", PASSWORD, next="/sources?q=tide")
    assert (response.status_code, response["Location"]) == (302, "/sources?q=tide")  # type: ignore[attr-defined, index]
    assert client.session["_auth_user_id"] == str(alice.pk)


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "\\\\evil.example"]
)
def test_no_other_host_is_led_to(alice: User, elsewhere: str) -> None:
    _, response = sign_in("alice@example.org", PASSWORD, next=elsewhere)
    assert response["Location"] == "/"  # type: ignore[index]


@pytest.mark.parametrize("case", ["wrong password", "nobody", "no address", "retired", "no password set"])
def test_every_failure_reads_the_same(alice: User, bob: User, case: str) -> None:
    bob.retire()
    User.objects.create_user("robot@example.org")
    email = {"nobody": "who@example.org", "no address": "alice", "retired": "bob@example.org"}.get(case)
    email = "robot@example.org" if case == "no password set" else email or "alice@example.org"
    client, response = sign_in(email, PASSWORD if case == "retired" else "not the password")
    assert response.status_code == 422  # type: ignore[attr-defined]
    assert MISMATCH in response.content.decode()  # type: ignore[attr-defined]
    assert "_auth_user_id" not in client.session


def test_the_session_has_a_new_key_after_signing_in(alice: User) -> None:
    client = Client()
    session = client.session
    session["before"] = True
    session.save()
    before = session.session_key
    client.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    assert client.session.session_key != before


def test_signing_out_takes_a_post_and_a_token(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.get("/sign-out").status_code == 405
    assert client.post("/sign-out").status_code == 403
    assert "_auth_user_id" in client.session
    plain = Client()
    plain.force_login(alice)
    assert plain.post("/sign-out")["Location"] == "/sign-in"
    assert "_auth_user_id" not in plain.session


def test_pages_allow_no_inline_script_no_frame_and_no_other_host(db: None) -> None:
    response = Client().get("/sign-in")
    policy = response["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"
    page = response.content.decode()
    assert " style=" not in page
    assert " onclick=" not in page
    assert "://" not in page


def test_cookies_are_out_of_scripts_reach(alice: User) -> None:
    _, response = sign_in("alice@example.org", PASSWORD)
    for cookie in response.cookies.values():  # type: ignore[attr-defined]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"


def test_the_browsers_language_is_spoken(db: None) -> None:
    page = Client().get("/sign-in", headers={"accept-language": "de-AT,de;q=0.9"})
    assert '<html lang="de"' in page.content.decode()
    assert page["Content-Language"] == "de"
    assert '<html lang="en"' in Client().get("/sign-in", headers={"accept-language": "fr"}).content.decode()


def test_a_browser_gets_a_page_for_what_is_not_there_and_a_program_the_contracts_text(db: None) -> None:
    page = Client().get("/nowhere", headers={"accept": "text/html,*/*"})
    assert (page.status_code, "No such line" in page.content.decode()) == (404, True)
    for path, accept in (("/nowhere", "*/*"), ("/api/nowhere", "text/html")):
        answer = Client().get(path, headers={"accept": accept})
        assert (answer.status_code, "No such line" in answer.content.decode()) == (404, False)


def test_a_form_that_cannot_prove_itself_is_refused_by_a_page(alice: User) -> None:
    client = Client(enforce_csrf_checks=True, headers={"accept": "text/html"})
    client.force_login(alice)
    page = client.post("/sign-out")
    assert page.status_code == 403
    assert "Nothing was done" in page.content.decode()
    assert "_auth_user_id" in client.session
