"""What the programs in the field send, each with its ways and slips, gets what they expect."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from accounts.models import Group, User
from privategpt import ingest, sweeping
from privategpt.api.urls import ROUTES
from privategpt.models import Source
from tests.conftest import PASSWORD
from tests.contract2.server import Program, Reply

PAIRS = json.loads((Path(__file__).parent / "recorded.json").read_text())
CREDENTIALS = {"email": "root@example.org", "password": PASSWORD}
PROXY = "Basic " + base64.b64encode(b"proxy:secret").decode()


# -- recorded requests and replies ----------------------------------------------------------------


def filled(value: Any, names: dict[str, Any]) -> Any:
    """`$name` stands for something that an earlier reply gave."""
    if isinstance(value, str):
        if value.removeprefix("$") in names and value.startswith("$"):
            return names[value[1:]]
        for name, found in names.items():
            value = value.replace(f"${name}", str(found))
        return value
    if isinstance(value, list):
        return [filled(each, names) for each in value]
    return {key: filled(each, names) for key, each in value.items()} if isinstance(value, dict) else value


def same(expected: Any, found: Any, names: dict[str, Any], place: str = "") -> None:
    """Compares; `<name>` takes any text or number and keeps it, `<time>` a time, `...` lets more keys pass."""
    if isinstance(expected, str) and expected.startswith("<") and expected.endswith(">"):
        kind = expected[1:-1]
        assert isinstance(found, str | int), place
        if kind == "time":
            assert datetime.fromisoformat(str(found)).tzinfo
            assert str(found).endswith("Z")
        elif kind != "text":
            names[kind] = found
    elif isinstance(expected, dict):
        wanted = {key: value for key, value in expected.items() if key != "..."}
        assert wanted.keys() <= found.keys(), place
        assert "..." in expected or wanted.keys() == found.keys(), (place, found)
        for key, value in wanted.items():
            same(value, found[key], names, f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(expected) == len(found), (place, found)
        for number, value in enumerate(expected):
            same(value, found[number], names, f"{place}[{number}]")
    else:
        assert filled(expected, names) == found, place


@pytest.mark.parametrize("name", PAIRS)
def test_a_recorded_conversation_goes_as_it_went(anybody: Program, root: User, name: str) -> None:
    names: dict[str, Any] = {"password": PASSWORD}
    for pair in PAIRS[name]:
        method, path = filled(pair["request"], names).split(" ")
        headers = filled(pair.get("headers", {"Authentication": "Bearer $token"} if "token" in names else {}), names)
        reply = anybody.call(method, path, filled(pair.get("body"), names), headers)
        assert reply.status == pair.get("status", 200), (pair, reply.body)
        if pair.get("status", 200) == 200:
            same(
                {"data": pair["data"], "message": "success", "status": 200, "...": 0},
                reply.json,
                names,
                pair["request"],
            )
        else:
            assert (reply.json["data"], reply.json["status"]) == (None, pair["status"])
            assert reply.json["message"]
            assert ("errors" in reply.json) == (pair["status"] == 422)


def endpoints() -> set[str]:
    """Every method of every route."""
    named = {route: re.sub(r"<str:\w+>", "{}", route) for route in ROUTES}
    return {f"{method} /{named[route]}" for route, view in ROUTES.items() for method in view.methods()}


def recorded(wanted: Callable[[dict[str, Any]], bool]) -> set[str]:
    """The endpoints of these pairs."""
    found = set()
    for pair in (pair for pairs in PAIRS.values() for pair in pairs if wanted(pair)):
        method, path = pair["request"].split("?")[0].split(" ")
        known = path.removeprefix("/") in ROUTES
        found.add(f"{method} {path if known else path.rsplit('/', 1)[0] + '/{}'}")
    return found


def test_every_endpoint_is_recorded_with_a_success_and_with_a_refusal() -> None:
    assert recorded(lambda pair: pair.get("status", 200) == 200) == endpoints()
    assert recorded(lambda pair: pair.get("status", 200) != 200) - {"PATCH /chats"} == endpoints()


# -- client kinds ---------------------------------------------------------------------------------


def test_the_node_clients_send_a_json_type_with_every_request(anybody: Program, root: User) -> None:
    headers = {"Accept": "application/json", "Content-Type": "application/json", "X-Custom-Header": "proxy secret"}
    token = anybody.post("/login", CREDENTIALS, headers=headers).data["token"]
    assert "|" in token
    assert len(token) > 10
    headers["Authorization"] = f"Bearer {token}"
    assert anybody.get("/groups", headers=headers).status == 200
    chat = anybody.post("/chats", {"question": "?", "language": "en"}, headers=headers).data["chatId"]
    assert anybody.get(f"/chats/{chat}", headers=headers).status == 200
    assert anybody.delete(f"/chats/{chat}", headers=headers).data == {}
    assert anybody.delete("/chats/flush", headers=headers).data == {}
    assert anybody.delete("/logout", headers=headers).data == {}


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""]
)
def test_curl_says_that_json_is_a_form(anybody: Program, root: User, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    token = anybody.post("/login", CREDENTIALS, headers=headers).data["token"]
    headers["Authorization"] = f"Bearer {token}"
    assert anybody.post("/groups", {"groupName": "mine"}, headers=headers).status == 200
    assert anybody.delete("/groups", {"groupName": "mine"}, headers=headers).status == 200


def test_the_adapters_append_tokens_and_carry_a_proxys_credentials(anybody: Program, root: User) -> None:
    old = anybody.post("/login", CREDENTIALS, headers={"Authorization": PROXY}).data["token"]
    new = anybody.post("/login", CREDENTIALS, headers={"Authorization": f"{PROXY}, Bearer {old}"}).data["token"]
    value = f"{PROXY}, Bearer {old}, Bearer {new}"
    assert anybody.get("/groups", headers={"Authorization": value}).status == 200
    assert anybody.delete("/logout", headers={"Authorization": f"Bearer {old}"}).status == 200
    assert anybody.get("/groups", headers={"Authorization": value}).status == 200
    gone = anybody.patch("/chats/1", {"question": "?"}, headers={"Authorization": f"{PROXY}, Bearer {old}"})
    assert gone.json["data"] is None
    assert "token expired" in gone.json["message"]


def test_a_failed_chat_that_is_repeated_as_patch_makes_no_second_one(as_alice: Program) -> None:
    assert as_alice.patch("/chats", {"question": "Hello?"}).status == 405


def test_the_gateway_sends_lists_of_null_and_doubles_the_prefix(as_root: Program) -> None:
    body = {"question": "?", "groups": [None], "usePublic": False, "language": "de", "chatId": "", "sourceId": ""}
    assert as_root.post("/chats", body).status == 200
    assert as_root.post("/groups", {"groupName": "mine", "description": "what it is for"}).data == {}
    user = {
        "name": "Dora",
        "email": "dora@example.org",
        "password": "a long enough one",
        "language": "de",
        "timezone": "Europe/Berlin",
        "groups": [""],
        "roles": [""],
        "activateFtp": False,
        "ftpPassword": "",
        "usePublic": True,
    }
    assert as_root.post("/users", user).data == {}
    assert as_root.delete("/users", {"email": "dora@example.org"}).data == {}
    slip = as_root.call("POST", "/api/v1/api/v1/users/reactivate", {"email": "dora@example.org"})
    assert slip.json == {"data": {}, "message": "success", "status": 200}


@pytest.mark.parametrize("path", ["/groups/", "/chats/", "/sources/", "/users/"])
def test_a_slash_at_the_end_is_no_redirect(as_root: Program, path: str) -> None:
    assert as_root.get(path).status == 200
    assert as_root.delete("/groups/", {"groupName": "nowhere"}).status == 404


def test_polling_a_group_that_is_not_there_yet_is_no_error(as_root: Program) -> None:
    assert as_root.post("/sources/groups", {"groupName": "temp"}).data == {"sources": []}


def test_an_early_readme_lists_by_group_where_it_stores(as_alice: Program) -> None:
    made = as_alice.post("/sources", {"title": "T", "content": "C", "groups": ["alpha"]}).data["sourceId"]
    assert as_alice.post("/sources", {"groupName": ["alpha"]}).data == {"sources": [made]}
    assert as_alice.post("/sources/group", {"groupName": ["alpha"]}).data == {"sources": [made]}


def test_name_wins_over_title(as_alice: Program) -> None:
    body = {"title": "Old", "name": "New", "content": "C", "groups": ["alpha"]}
    made = as_alice.post("/sources", body).data
    assert made == {"sourceId": made["sourceId"], "documentId": made["sourceId"]}
    assert as_alice.get(f"/sources/{made['sourceId']}").data["title"] == "New"


def test_titles_and_texts_are_kept_as_they_came(as_alice: Program) -> None:
    """Faults 21 and 23, attack 73."""
    title, content = (
        "../../etc/passwd %2e CON \u202e e\u0301 ",
        "\ufeff# \u05d0\u200f\r\n\ttext \U0001f469\u200d\U0001f52c  \n",
    )
    made = as_alice.post("/sources", {"title": title, "content": content, "groups": ["alpha"]}).data["sourceId"]
    assert as_alice.get(f"/sources/{made}").data["title"] == title
    assert Source.objects.get().content == content


def test_strict_release_1_5_wants_groups(as_root: Program, settings: Any) -> None:
    settings.API = settings.API | {"groups_required": True}
    assert as_root.post("/sources", {"title": "T", "content": "C"}).status == 422
    assert as_root.post("/sources", {"title": "T", "content": "C", "groups": []}).status == 200


# -- waiting for a source -------------------------------------------------------------------------


def test_waiting_for_a_source_ends_with_its_state_and_holds_no_thread(as_alice: Program, alpha: Group) -> None:
    made = as_alice.post("/sources", {"title": "T", "content": "C", "groups": ["alpha"]}).data["sourceId"]
    Source.objects.update(state=Source.State.PROCESSING)
    with ThreadPoolExecutor(40) as pool:
        # More waiters than the server has threads: others must still be served.
        waiting = [pool.submit(as_alice.get, f"/sources/{made}?wait=10") for _ in range(40)]
        assert as_alice.get("/groups").status == 200
        assert not any(each.done() for each in waiting)
        Source.objects.update(state=Source.State.VECTORIZED)
        assert {each.result(10).data["state"] for each in waiting} == {"vectorized"}


def test_a_wait_ends_when_its_time_is_over_or_the_right_is(as_alice: Program, alice: User) -> None:
    made = as_alice.post("/sources", {"title": "T", "content": "C", "groups": ["alpha"]}).data["sourceId"]
    Source.objects.update(state=Source.State.PROCESSING)
    assert as_alice.get(f"/sources/{made}?wait=0.1").data["state"] == "processing"
    assert as_alice.get(f"/sources/{made}?wait=x").status == 422
    assert as_alice.get(f"/sources/{made}?wait=-1").status == 422
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(as_alice.get, f"/sources/{made}?wait=30")
        alice.groups.clear()
        assert waiting.result(10).status == 404


# -- at once --------------------------------------------------------------------------------------


def at_once(calls: list[Callable[[], Reply]]) -> list[int]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return sorted(reply.status for reply in pool.map(lambda call: call(), calls))


def test_one_address_in_two_spellings_at_once_is_one_user(as_root: Program) -> None:
    """Fault 25."""
    spellings = ["dora@example.org", "DORA@example.org", " Dora@Example.ORG", "\uff24ora@example.org"] * 3
    bodies = [{"name": "D", "email": each, "password": "a long enough one"} for each in spellings]
    statuses = at_once([lambda body=body: as_root.post("/users", body) for body in bodies])  # type: ignore[misc]
    assert statuses == [200] + [422] * 11
    assert User.objects.filter(email="dora@example.org").count() == 1


def test_one_group_at_once_is_one_group(as_root: Program) -> None:
    """Fault 27."""
    statuses = at_once([lambda: as_root.post("/groups", {"groupName": "same"})] * 20)
    assert statuses == [200] + [422] * 19


def test_a_group_that_goes_while_sources_come_leaves_nothing_behind(
    as_alice: Program, as_root: Program, alpha: Group
) -> None:
    """Fault 26."""
    body = {"title": "T", "content": "C", "groups": ["alpha"]}
    calls: list[Callable[[], Reply]] = [lambda: as_alice.post("/sources", body)] * 12
    calls.insert(6, lambda: as_root.delete("/groups", {"groupName": "alpha"}))
    assert set(at_once(calls)) <= {200, 422}
    assert sweeping.sweep(60)
    assert not Group.objects.filter(name="alpha").exists()
    assert not Source.objects.exists()


def test_a_group_that_was_deleted_a_moment_ago_takes_the_source_along(
    as_alice: Program, alpha: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 26, in the worst moment."""
    publish = ingest.publish

    def late(*args: Any, **kwargs: Any) -> Any:
        Group.objects.all().delete()
        return publish(*args, **kwargs)

    monkeypatch.setattr(ingest, "publish", late)
    reply = as_alice.post("/sources", {"title": "T", "content": "C", "groups": ["alpha"]})
    assert reply.status == 422
    assert "groups" in reply.json["errors"]
    assert not Source.objects.exists()
