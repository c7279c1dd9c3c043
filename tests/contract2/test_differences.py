"""Where releases and clients differ, line by line: both spellings work, and what was added disturbs neither."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Group, Token, User
from privategpt.api.urls import ROUTES
from privategpt.models import Source
from tests.conftest import PASSWORD
from tests.contract2.server import Program

NOWHERE = "00000000-0000-4000-8000-000000000000"


def endpoints() -> list[tuple[str, str]]:
    return [
        (method, "/" + "/".join(NOWHERE if part.startswith("<") else part for part in route.split("/")))
        for route, view in ROUTES.items()
        for method in view.methods()
    ]


@pytest.fixture
def spice(as_alice: Program) -> str:
    body = {"title": "Recipe", "content": "# Soup\n\nThe spice is saffron.", "groups": ["alpha"]}
    return str(as_alice.post("/sources", body).data["sourceId"])


def ask(program: Program, **headers: str) -> Any:
    shown = {"Authorization": f"Bearer {program.token}"} | {
        name.replace("_", "-"): text for name, text in headers.items()
    }
    return program.post("/chats", {"question": "Which spice?", "groups": ["alpha"]}, headers=shown).data


# -- the sources of an answer ---------------------------------------------------------------------


def test_a_deployment_may_give_objects_and_a_client_may_ask_for_ids(
    as_alice: Program, spice: str, settings: Any
) -> None:
    assert ask(as_alice)["sources"] == [spice]
    settings.API = settings.API | {"source_objects": True}
    (found,) = ask(as_alice)["sources"]
    assert (found["documentId"], found["sourceId"], found["page"], found["title"]) == (spice, spice, 0, "Recipe")
    assert "saffron" in found["context"]
    assert ask(as_alice, X_PGPT_Api_Version="1.3")["sources"] == [spice]
    assert ask(as_alice, X_PGPT_Api_Version=" ")["sources"] == [found]


@pytest.mark.parametrize("version", ["1.4", "1.4.2", "1.5", "", "9" * 5000, "\x7f", "1.4\xff"])
def test_no_version_breaks_an_answer(as_alice: Program, spice: str, version: str) -> None:
    assert len(ask(as_alice, X_PGPT_Api_Version=version)["sources"]) == 1


def test_a_chat_that_is_read_has_its_sources_in_the_same_shape(as_alice: Program, spice: str) -> None:
    chat = ask(as_alice)["chatId"]
    headers = {"Authorization": f"Bearer {as_alice.token}", "X-PGPT-Api-Version": "1.4"}
    (message,) = as_alice.get(f"/chats/{chat}", headers=headers).data["messages"]
    assert [found["documentId"] for found in message["sources"]] == [spice]
    (message,) = as_alice.get(f"/chats/{chat}").data["messages"]
    assert message["sources"] == [spice]


def test_details_stand_in_the_order_of_the_sources_best_first(as_alice: Program, spice: str) -> None:
    other = as_alice.post("/sources", {"title": "Shed", "content": "A spice rack.", "groups": ["alpha"]}).data[
        "sourceId"
    ]
    answer = ask(as_alice)
    assert [found["sourceId"] for found in answer["sourceDetails"]] == answer["sources"]
    assert set(answer["sources"]) == {spice, other}
    scores = [found["score"] for found in answer["sourceDetails"]]
    assert scores == sorted(scores, reverse=True)


def test_the_notice_is_with_answers_and_with_nothing_else(as_alice: Program) -> None:
    reply = as_alice.post("/chats", {"question": "Hello?"})
    assert isinstance(reply.json["notice"], str)
    for other in (as_alice.get(f"/chats/{reply.data['chatId']}"), as_alice.get("/chats"), as_alice.get("/groups")):
        assert other.json.keys() == {"data", "message", "status"}


# -- storing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [{}, {"groups": None}, {"groups": []}, {"groups": [None]}, {"groups": [""]}])
def test_a_source_without_a_groups_name_is_public(as_root: Program, groups: dict[str, Any]) -> None:
    made = as_root.post("/sources", {"title": "T", "content": "C"} | groups).data["sourceId"]
    assert as_root.get(f"/sources/{made}").data["isPublic"]


def test_an_edit_without_groups_keeps_them(as_alice: Program, spice: str) -> None:
    as_alice.patch(f"/sources/{spice}", {"name": "Cookbook"})
    found = as_alice.get(f"/sources/{spice}").data
    assert (found["title"], found["groups"], found["isPublic"]) == ("Cookbook", ["alpha"], False)
    assert Source.objects.get().content == "# Soup\n\nThe spice is saffron."


def test_names_that_are_none_are_dropped_beside_those_that_are(as_alice: Program) -> None:
    body = {"title": "T", "content": "C", "groups": [None, "alpha", "", "alpha"]}
    made = as_alice.post("/sources", body).data["sourceId"]
    assert as_alice.get(f"/sources/{made}").data["groups"] == ["alpha"]


def test_a_list_is_bounded(as_alice: Program) -> None:
    """Attack 61."""
    for path, field in (("/chats", "groups"), ("/sources", "groups"), ("/sources/groups", "groupName")):
        reply = as_alice.post(path, {"question": "?", "title": "T", "content": "C", field: ["x"] * 1001})
        assert reply.json["errors"] == {field: ["No more than 1000 names, please."]}
        assert reply.status == 422


# -- people ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["usePublic", "publicUpload"])
def test_both_names_of_the_right_to_public_sources_are_one(as_root: Program, alice: User, name: str) -> None:
    for value in (False, True):
        assert as_root.patch("/users", {"email": "alice@example.org", name: value}).data == {}
        alice.refresh_from_db()
        assert alice.may_use_public is value


def test_an_aliased_role_is_stored_and_shown_as_its_own(as_root: Program, alice: User) -> None:
    assert as_root.patch("/users", {"email": "alice@example.org", "roles": ["Sources", "documents"]}).data == {}
    shown = {user["email"]: user["roles"] for user in as_root.get("/users").data["users"]}
    assert shown["alice@example.org"] == ["documents"]


def test_a_groups_description_is_kept(as_root: Program) -> None:
    as_root.post("/groups", {"groupName": "mine", "description": "what it is for"})
    assert Group.objects.get(name="mine").description == "what it is for"


@pytest.mark.parametrize("days", [0, 2])
def test_a_logins_token_lives_as_long_as_the_deployment_says(
    anybody: Program, alice: User, settings: Any, days: int
) -> None:
    settings.API = settings.API | {"login_days": days}
    token = anybody.post("/login", {"email": "alice@example.org", "password": PASSWORD}).data["token"]
    expires = Token.objects.get(pk=int(token.split("|")[0])).expires_at
    if not days:
        assert expires is None
    else:
        assert expires
        assert abs(expires - timezone.now() - timedelta(days=2)) < timedelta(minutes=1)


# -- paths, types and bodies ----------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), endpoints())
def test_a_slash_at_the_end_changes_nothing(as_root: Program, root: User, method: str, path: str) -> None:
    """Not even a redirect, which would lose the body of PATCH and DELETE."""
    statuses = []
    for end in ("", "/"):
        key = Token.objects.issue(Token.Kind.API, root)[1]  # a new one each: some of these end it
        statuses.append(as_root.with_token(key).call(method, path + end, {"id": 999_999}).status)
    assert statuses[0] == statuses[1]
    assert statuses[0] in {200, 404, 422}


@pytest.mark.parametrize(("method", "path"), endpoints())
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""])
def test_the_type_that_a_request_claims_changes_nothing(
    as_root: Program, root: User, method: str, path: str, kind: str
) -> None:
    """Node clients say JSON with every bodyless request; curl says form of every JSON body; some say nothing."""
    statuses = []
    for body in (None, b"", b"{}", b" \r\n"):
        key = Token.objects.issue(Token.Kind.API, root)[1]
        headers = {"Authorization": f"Bearer {key}"} | ({"Content-Type": kind} if kind else {})
        statuses.append(as_root.call(method, path, body, headers).status)
    assert set(statuses) <= {200, 404, 422}
    assert len(set(statuses)) == 1


@pytest.mark.parametrize("path", ["/chats/{}", "/sources/{}", "/groups", "/users", "/chats/flush"])
def test_the_body_of_a_delete_is_read(as_root: Program, path: str) -> None:
    reply = as_root.delete(path.format(NOWHERE), b"{not json")
    assert reply.status == 400
    assert reply.json["data"] is None


def test_times_are_utc_with_a_z(as_alice: Program, spice: str) -> None:
    found = as_alice.get(f"/sources/{spice}").data
    for name in ("createdAt", "updatedAt"):
        assert found[name].endswith("Z")
        assert datetime.fromisoformat(found[name]).tzinfo is not None
