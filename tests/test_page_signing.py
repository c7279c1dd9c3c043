"""Signing in and out in the browser, and what every page's headers say."""

from __future__ import annotations

import re
import uuid

import pytest
from django.test import Client

from accounts.models import User
from privategpt.models import Chat
from privategpt.urls import urlpatterns
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


def addresses() -> list[str]:
    """Every page's and form's address, with ids that may be there or not."""
    patterns = [str(entry.pattern) for entry in urlpatterns]
    unknown = str(uuid.uuid4())
    return [
        "/" + re.sub(r"<(\w+):\w+>", lambda kind: "1" if kind[1] == "int" else unknown, pattern) for pattern in patterns
    ]


@pytest.mark.parametrize("form", ["{}", "{}?x=1", "/x/..{}", "\\{}", "/.{}", "/%2e{}"])
def test_who_signs_in_never_comes_to_an_address_that_only_takes_a_form(alice: User, form: str) -> None:
    client, _ = sign_in("alice@example.org", PASSWORD)
    for wanted in addresses():
        response = client.get("/sign-in", {"next": form.format(wanted)})
        found = client.get(response["Location"], headers={"accept": "text/html"})
        assert found.status_code in {200, 302, 404}, (response["Location"], found.status_code)
        kind = found.headers.get("Content-Type", "")
        assert kind.startswith("text/html") or wanted.endswith((".md", ".json")), wanted


@pytest.mark.parametrize(
    ("wanted", "page"),
    [
        ("/chats/new", "/"),
        ("/account/you", "/account"),
        ("/account/sessions/end", "/account/sessions"),
        ("/account/tokens/7/revoke", "/account/tokens"),
        ("/first-steps/hide", "/"),
        ("/sign-out", "/"),
        ("/admin/logout/", "/admin/"),
        ("/admin/accounts/user/?q=a", "/admin/accounts/user/?q=a"),
        ("/api/ask", "/"),
        ("/api/v1/chats", "/"),
        ("chats/new", "/"),
        ("/sources?q=a%20b&page=2", "/sources?q=a%20b&page=2"),
    ],
)
def test_a_forms_address_leads_to_its_page(alice: User, wanted: str, page: str) -> None:
    _, response = sign_in("alice@example.org", PASSWORD, next=wanted)
    assert response["Location"] == page  # type: ignore[index]


def test_a_question_that_meets_an_ended_session_leads_back_to_its_chat(alice: User) -> None:
    chat = Chat.objects.create(owner=alice)
    client = Client()
    for act in ("ask", "stop", "rename", "pin", "delete", f"{uuid.uuid4()}/again"):
        refused = client.post(f"/chats/{chat.pk}/{act}", {"question": "Why?"})
        assert refused.status_code == 302
        wanted = refused["Location"].partition("?next=")[2]
        _, response = sign_in("alice@example.org", PASSWORD, next=wanted)
        assert response["Location"] == f"/chats/{chat.pk}/"  # type: ignore[index]


def test_a_page_hears_whether_it_may_send_its_form(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.get("/account/here")["Location"].startswith("/sign-in")
    client.force_login(alice)
    here = client.get("/account/here")
    assert (here.status_code, here["Cache-Control"]) == (204, "no-store")
    assert client.post("/chats/new", {"question": "Why?", "csrfmiddlewaretoken": "x" * 64}).status_code == 403
    assert client.post("/sign-out", {"csrfmiddlewaretoken": here["X-Form-Token"]}).status_code == 302
