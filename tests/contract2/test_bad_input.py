"""What comes in wrong is refused with the field named, and never breaks the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from privategpt.api.fields import Body
from privategpt.api.scenarios import ScenarioEdit
from privategpt.api.urls import ROUTES
from privategpt.models import Chat, Source
from tests.conftest import PASSWORD
from tests.contract2.server import Program

UNKNOWN = "00000000-0000-4000-8000-000000000000"
WRONG: list[Any] = [5, 1.5, True, [], [5], [[]], {}, {"a": 1}, "text", "\0", "x" * 5000, -1, 10**30, 1e308]

# A request of each route that is right but for the one field. Paths lead to things that are there.
GOOD: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/login"): {"email": "root@example.org", "password": PASSWORD},
    ("POST", "/chats"): {"question": "Hello?"},
    ("POST", "/chats/{chat}"): {"question": "Hello?"},
    ("PATCH", "/chats/{chat}"): {"question": "Hello?"},
    ("POST", "/sources"): {"title": "T", "content": "C"},
    ("PATCH", "/sources/{source}"): {"title": "T"},
    ("POST", "/sources/groups"): {"groupName": "own"},
    ("POST", "/sources/group"): {"groupName": "own"},
    ("POST", "/groups"): {"groupName": "new"},
    ("DELETE", "/groups"): {"groupName": "own"},
    ("POST", "/users"): {"name": "Dora", "email": "dora@example.org", "password": PASSWORD},
    ("PATCH", "/users"): {"email": "root@example.org"},
    ("DELETE", "/users"): {"email": "nobody@example.org"},
    ("POST", "/users/reactivate"): {"email": "root@example.org"},
    ("POST", "/scenarios"): {"name": "Poet", "description": "In verse"},
    ("PATCH", "/scenarios/{scenario}"): {"name": "Poet"},
    ("POST", "/tokens"): {"name": "robot"},
    ("DELETE", "/tokens"): {"id": 999_999},
}


def fields() -> list[tuple[str, str, str]]:
    """Every field of every endpoint."""
    found = []
    for method, path in GOOD:
        route = path.removeprefix("/").replace("{", "<str:").replace("}", ">")
        form = ROUTES[route].accepts[method]
        found += [(method, path, str(name)) for name in form().fields]
    return found


def takes(method: str, path: str, field: str, value: Any) -> bool:
    """Whether the value's type is the field's own."""
    route = path.removeprefix("/").replace("{", "<str:").replace("}", ">")
    kinds = {base.__name__ for base in type(_form(route, method).fields[field]).__mro__}
    if "OneOrMore" in kinds and isinstance(value, str):
        return True
    if "ListField" in kinds:
        return isinstance(value, list)
    if "BooleanField" in kinds:
        return isinstance(value, bool)
    if "IntegerField" in kinds:
        return isinstance(value, int) and not isinstance(value, bool)
    if "FloatField" in kinds:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _form(route: str, method: str) -> Body:
    return ROUTES[route].accepts[method]()


@pytest.fixture
def things(as_root: Program) -> dict[str, str]:
    as_root.post("/groups", {"groupName": "own"})
    return {
        "chat": as_root.post("/chats", {"question": "Hello?"}).data["chatId"],
        "source": as_root.post("/sources", {"title": "T", "content": "C", "groups": ["own"]}).data["sourceId"],
        "scenario": as_root.post("/scenarios", {"name": "Painter", "description": "In oil"}).data["id"],
    }


@pytest.mark.parametrize(("method", "path", "field"), fields())
def test_a_wrong_type_is_422_with_the_field_named(
    as_root: Program, things: dict[str, str], method: str, path: str, field: str
) -> None:
    """Attack 62 and fault 21."""
    good = GOOD[method, path]
    for value in WRONG:
        reply = as_root.call(method, path.format(**things), good | {field: value})
        assert reply.status < 500, (value, reply.body)
        if not takes(method, path, field, value):
            assert reply.status == 422, (value, reply.body)
            assert field in reply.json["errors"]
            assert (reply.json["data"], reply.json["status"]) == (None, 422)


@pytest.mark.parametrize(("method", "path"), GOOD)
def test_a_field_that_is_needed_and_missing_or_null_is_named(
    as_root: Program, things: dict[str, str], method: str, path: str
) -> None:
    route = path.removeprefix("/").replace("{", "<str:").replace("}", ">")
    for name, field in _form(route, method).fields.items():
        if field.required:
            for body in ({key: value for key, value in GOOD[method, path].items() if key != name}, {name: None}, None):
                reply = as_root.call(method, path.format(**things), body)
                assert reply.status == 422
                assert name in reply.json["errors"]


def test_null_for_what_may_be_left_out_leaves_it_out(as_root: Program, things: dict[str, str]) -> None:
    nulls = dict.fromkeys(ScenarioEdit().fields)
    assert as_root.patch(f"/scenarios/{things['scenario']}", nulls).data["name"] == "Painter"
    assert as_root.patch(f"/sources/{things['source']}", {"title": None, "groups": None, "content": None}).status == 200
    source = Source.objects.get()
    assert (source.title, source.content, source.is_public) == ("T", "C", False)


@pytest.mark.parametrize("groups", [[None], [""], [None, ""]])
def test_no_names_at_all_publish_nothing(as_root: Program, things: dict[str, str], groups: list[Any]) -> None:
    assert as_root.patch(f"/sources/{things['source']}", {"groups": groups}).status == 200
    assert not Source.objects.get().is_public
    assert as_root.patch(f"/sources/{things['source']}", {"groups": []}).status == 200
    assert Source.objects.get().is_public


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b"5",
        b"null",
        b"NaN",
        b'{"question": NaN}',
        b'{"question": "\xff"}',
        b'{"question": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"question=Hello",
        b"\0",
        b"{} {}",
    ],
)
def test_what_is_no_json_object_is_400(as_root: Program, body: bytes) -> None:
    """Attack 61 and fault 22."""
    reply = as_root.post("/chats", body)
    assert reply.status == 400
    assert reply.json == {"data": None, "message": reply.json["message"], "status": 400}
    assert Chat.objects.count() == 0


def test_huge_numbers_cost_nothing(as_root: Program) -> None:
    """Attack 61."""
    assert as_root.post("/tokens", b'{"name": "x", "id": ' + b"9" * 100_000 + b"}").status in {200, 400, 422}
    assert as_root.delete("/tokens", b'{"id": ' + b"9" * 400 + b"}").status in {400, 422}


@pytest.mark.parametrize("size", [2 << 20, 10 << 20])
def test_a_body_that_is_too_large_is_413(as_root: Program, anybody: Program, root: User, size: int) -> None:
    """Attack 60: with a token and without."""
    body = b'{"question": "' + b"x" * size + b'"}'
    assert as_root.post("/chats", body).status == 413
    assert anybody.post("/chats", body).status == 401
    assert anybody.post("/login", body).status == 413


def test_a_body_beyond_every_limit_is_413_in_the_envelope(as_root: Program) -> None:
    """Attacks 60 and 63: also when the declared length lies."""
    body = b'{"title": "T", "content": "' + b"x" * (17 << 20) + b'"}'
    for length in (str(len(body)), "5", "9" * 30):
        headers = {"Authorization": f"Bearer {as_root.token}", "Content-Length": length}
        reply = as_root.post("/sources", body, headers=headers)
        assert reply.status == 413
        assert reply.json["data"] is None


@pytest.mark.parametrize(
    "odd",
    ["..", "%00", "\0", "9" * 400, "\U0001f600", "-1", "null", "flush.", "{chat}", "'", "1 OR 1=1", "a/b", "../groups"],
)
@pytest.mark.parametrize("root_path", ["chats", "sources", "scenarios", "tokens"])
def test_odd_ids_lead_nowhere(as_root: Program, root_path: str, odd: str) -> None:
    """Attack 37."""
    for method in ("GET", "PATCH", "DELETE"):
        reply = as_root.call(method, f"/{root_path}/{odd}", {"question": "?", "name": "name"})
        assert reply.status in {404, 405}
        assert reply.json["data"] is None


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/chats/a/b", "/login/x", "//chats", "/api/v1/api/v1/login", "/Chats"]
)
def test_an_unknown_path_is_404_in_the_envelope(as_root: Program, path: str) -> None:
    """Attack 86."""
    reply = as_root.get(f"/api/v1{path}")
    assert reply.json == {"data": None, "message": "Not found.", "status": 404}
    assert reply.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "CONNECT", "FOO"])
def test_methods_that_nobody_knows_are_405(as_root: Program, method: str) -> None:
    """Attack 86."""
    reply = as_root.call(method, "/groups", {"groupName": "x"})
    assert reply.status == 405
    assert reply.json["data"] is None


def test_a_host_name_that_is_not_ours_is_refused(as_root: Program) -> None:
    """Attack 85."""
    headers = {"Authorization": f"Bearer {as_root.token}", "X-Forwarded-Host": "evil.example"}
    assert as_root.get("/groups", headers=headers).status == 200
    reply = as_root.get("/groups", headers=headers | {"Host": "evil.example"})
    assert reply.status == 400
    assert b"evil" not in reply.body


def test_no_reply_may_be_kept_or_framed_or_read_by_other_origins(as_root: Program) -> None:
    """Attacks 84, 85 and 86."""
    headers = {"Authorization": f"Bearer {as_root.token}", "Origin": "https://evil.example"}
    for reply in (as_root.get("/groups", headers=headers), as_root.get("/chats/x", headers=headers)):
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert not any(name.startswith("access-control") for name in reply.headers)
        assert "set-cookie" not in reply.headers


def test_a_session_is_no_credential(root: User) -> None:
    """Attack 84: so no page of another origin can use one."""
    browser = Client()
    browser.force_login(root)
    assert browser.get("/api/v1/groups").status_code == 401
    assert browser.post("/api/v1/groups", json.dumps({"groupName": "x"}), "application/json").status_code == 401


def test_logs_hold_no_secret_and_no_text(as_root: Program, caplog: pytest.LogCaptureFixture) -> None:
    """Attacks 17 and 87."""
    with caplog.at_level("DEBUG"):
        as_root.post("/login", {"email": "root@example.org", "password": PASSWORD})
        as_root.post("/login", {"email": "root@example.org", "password": "S3cretGuess"})
        as_root.post("/chats", {"question": "What of the ZQQUESTION?"})
        as_root.post(
            "/users", {"name": "D", "email": "d@example.org", "password": "S3cretGuess1!", "ftpPassword": "F7p"}
        )
        as_root.post("/sources", {"title": "T", "content": "ZQCONTENT"})
    lines = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("django.db"))
    for secret in (PASSWORD, "S3cretGuess", "ZQQUESTION", "ZQCONTENT", "F7p", as_root.token.split("|")[1]):
        assert secret not in lines


def test_an_ftp_password_is_stored_nowhere(as_root: Program) -> None:
    body = {"name": "D", "email": "d@example.org", "password": PASSWORD, "activateFtp": True}
    assert as_root.post("/users", body).json["errors"] == {"ftpPassword": ["Needed with activateFtp."]}
    assert as_root.post("/users", body | {"ftpPassword": "F7p-secret"}).data == {}
    assert "F7p-secret" not in str(User.objects.filter(email="d@example.org").values())


def test_weak_passwords_are_refused_with_a_reason(as_root: Program) -> None:
    for weak in ("pw1", "password123", "d@example.org"):
        reply = as_root.post("/users", {"name": "D", "email": "d@example.org", "password": weak})
        assert reply.status == 422
        assert reply.json["errors"]["password"]
        assert weak not in reply.body.decode()
