"""Numbers that no column holds, or that are none, in every query, form, header and path: refused or read as nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry, Group, Token, User
from accounts.numerals import whole
from privategpt.models import Chat, Message
from tests.pages import browser
from tests.wire_server import Web

HUGE, LONG = "1" * 5_000, "9" * 30
ODD = [HUGE, LONG, "-1", "²", "١٢", "1e999", "nan", "inf", "1.5", " 1", "+1", "1_0", "0x1", "", "\0"]
IDS = [f"{text[:6]!r}, {len(text)} long" for text in ODD]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root@example.org", "a long enough password")


@pytest.fixture
def here(root: User) -> Client:
    client = browser(root)
    client.raise_request_exception = False
    return client


@pytest.fixture
def message(root: User) -> Message:
    chat = Chat.objects.create(owner=root)
    return Message.objects.create(chat=chat, position=0, question="Why?", answer="So.", state=Message.State.STOPPED)


def test_digits_are_read_and_nothing_else() -> None:
    assert [whole(text) for text in ("0", "007", b"12", "9" * 18)] == [0, 7, 12, 10**18 - 1]
    assert [whole(text) for text in ODD] == [None] * len(ODD)
    assert (whole("5", most=5), whole("6", most=5)) == (5, None)


@pytest.mark.parametrize("odd", ODD, ids=IDS)
def test_no_page_fails_over_a_number_in_its_query(here: Client, message: Message, odd: str) -> None:
    Group.objects.create(name="Pumps").members.add(message.chat.owner)
    pages = {
        "/sources": ["page", "group", "state", "deleted"],
        "/chats/": ["page", "q"],
        f"/chats/{message.chat_id}/": ["before", "edit"],
        f"/chats/{message.chat_id}/{message.pk}/events": ["after"],
        "/sources/bench": ["group", "limit", "number", "k", "language"],
        "/dashboard": ["days", "period", "hours"],
        "/dashboard/figures.csv": ["days", "period", "hours"],
        "/": ["scope", "backend"],
    }
    for path, fields in pages.items():
        for field in fields:
            found = here.get(path, {field: odd})
            assert found.status_code < 500, (path, field)
            if found.streaming:
                found.close()


@pytest.mark.parametrize("odd", ODD, ids=IDS)
def test_no_form_or_path_fails_over_a_number(here: Client, message: Message, odd: str) -> None:
    chat = f"/chats/{message.chat_id}"
    for path, data in {
        "/chats/new": {"question": "Why?", "groups": odd},
        f"{chat}/ask": {"question": "Why?", "groups": odd, "scope": odd},
        f"{chat}/{message.pk}/again?scope={odd if odd.isprintable() else ''}": {"question": "Why?"},
        "/sources/write": {"title": "T", "content": "C", "groups": odd},
        "/account/tokens": {"name": "T", "days": odd, "groups": odd, "expires": odd},
        "/account/sessions/end": {"session": odd, "number": odd, "pk": odd},
    }.items():
        assert here.post(path, data).status_code < 500, path
    for path in ("/account/tokens/%s/revoke", "/admin/accounts/token/%s/change/", "/admin/accounts/group/%s/delete/"):
        assert here.post(path % (odd if odd.isalnum() else "x")).status_code < 500, path


@pytest.mark.parametrize("odd", ODD, ids=IDS)
def test_no_page_of_the_admin_site_fails_over_a_number(here: Client, root: User, odd: str) -> None:
    AuditEntry.objects.create(actor_name="x", action="y", what="z")
    Token.objects.issue(Token.Kind.AGENT)
    queries = {
        "accounts/auditentry": ["p", "o", "at__year", "at__month", "at__day", "id__exact", "all", "_facets", "e"],
        "accounts/user": ["p", "o", "groups__id__exact", "id__exact"],
        "accounts/token": ["p", "o", "id__exact", "state"],
        "privategpt/source": ["p", "o", "groups__id__exact"],
        "privategpt/chat": ["p", "o"],
        "relay/agent": ["p", "o"],
    }
    for path, fields in queries.items():
        for field in fields:
            assert here.get(f"/admin/{path}/", {field: odd}).status_code < 500, (path, field)


@pytest.mark.parametrize("odd", ODD, ids=IDS)
def test_no_header_of_a_page_fails_over_a_number(here: Client, message: Message, odd: str) -> None:
    plain = odd if odd.isprintable() and odd.isascii() else "x"
    events = f"/chats/{message.chat_id}/{message.pk}/events"
    for name in ("Last-Event-ID", "Range", "If-Modified-Since", "Accept-Language", "Content-Length", "HX-Request"):
        for value in (plain, f"bytes={plain}-", f"Mon, 01 Jan {plain} 00:00:00 GMT", f"de;q={plain}"):
            found = here.get(events, headers={name: value})
            assert found.status_code < 500, (name, value[:30])
            if found.streaming:
                found.close()


def test_the_wire_survives_them_too(lane: Web) -> None:
    for odd in (HUGE, LONG, "1e999", "-1", "0x1"):
        for name, value in {
            "Content-Length": odd,
            "Range": f"bytes={odd}-{odd}",
            "If-Modified-Since": f"Mon, 01 Jan {odd} 00:00:00 GMT",
            "Accept-Language": f"de;q={odd}",
            "Host": f"127.0.0.1:{odd}",
            "Sec-WebSocket-Version": odd,
            "Keep-Alive": f"timeout={odd}",
        }.items():
            host = "" if name == "Host" else "Host: 127.0.0.1\r\n"
            for path in ("/static/favicon.svg", "/sign-in", "/api/v1/groups", "/api/ask", "/client/register"):
                method = "POST" if path == "/api/ask" else "GET"
                head = f"{method} {path} HTTP/1.1\r\n{host}{name}: {value}\r\nConnection: close\r\n\r\n"
                for found in lane.raw(head.encode()):
                    assert found.status < 500, (name, path, odd[:9])
    assert "Traceback" not in lane.log


def test_numbers_in_json_are_refused_by_name(here: Client, root: User) -> None:
    _, key = Token.objects.issue(Token.Kind.API, root)

    def call(method: str, path: str, body: str = "") -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {key}"}
        found = here.generic(method, f"/api/v1/{path}", body, "application/json", headers=headers)
        return found.status_code, json.loads(found.content)

    for number in ("9" * 400, "-" + "9" * 400, "1" * 5_000, "1e999", "1.5", "NaN", "Infinity"):
        for field in ("similarity_threshold", "k", "creativity"):
            body = f'{{"name": "Scenario", "description": "For tests", "{field}": {number}}}'
            assert call("POST", "scenarios", body)[0] in {400, 422}, (field, number[:9])
        assert call("DELETE", "tokens", f'{{"id": {number}}}')[0] in {400, 404, 422}
    for moment in ("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+12:00", HUGE):
        assert call("POST", "tokens", json.dumps({"name": "T", "expiresAt": moment}))[0] in {200, 422}
    for query in (f"page={HUGE}", f"page={LONG}", f"perPage={HUGE}", "page=²", "perPage=1e3"):
        assert call("GET", f"users?{query}")[0] == 422


def test_a_moment_behind_the_last_year_is_no_failure_of_the_admin_site(here: Client, root: User) -> None:
    User.objects.filter(pk=root.pk).update(timezone="America/New_York")
    token, _ = Token.objects.issue(Token.Kind.AGENT)
    form = {"name": "", "expires_at_0": "9999-12-31", "expires_at_1": "23:59:59"}
    assert here.post(f"/admin/accounts/token/{token.pk}/change/", form).status_code < 500
    assert here.get("/admin/accounts/token/").status_code < 500
