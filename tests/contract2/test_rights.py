"""Who may do what: Alice owns, Bob shares her group, Charlie may not, Root may all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, Group, Token, User
from privategpt.api.urls import ROUTES
from privategpt.models import Chat, Scenario, Source
from tests.conftest import PASSWORD
from tests.contract2.conftest import person, program
from tests.contract2.server import Program

NEW_USER = {"name": "Dora", "email": "dora@example.org", "password": "a long enough one"}


@pytest.fixture
def source(as_alice: Program) -> str:
    body = {"title": "Secret recipe", "content": "# Soup\n\nThe spice is saffron.", "groups": ["alpha"]}
    return str(as_alice.post("/sources", body).data["sourceId"])


@pytest.fixture
def public(as_root: Program) -> str:
    return str(as_root.post("/sources", {"title": "Manual", "content": "Press the button."}).data["sourceId"])


@pytest.fixture
def chat(as_alice: Program, source: str) -> str:
    return str(as_alice.post("/chats", {"question": "Which spice?", "groups": ["alpha"]}).data["chatId"])


# -- no token -----------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "login"])
@pytest.mark.parametrize("token", ["", "1|nobody", "null", "%", "eyJhbGciOiJub25lIn0.e30."])
def test_no_route_opens_without_a_valid_token(anybody: Program, alice: User, route: str, token: str) -> None:
    """Attacks 2, 4 and 18."""
    path = "/" + route.replace("<str:", "").replace(">", "")
    for method in ROUTES[route].methods():
        reply = anybody.with_token(token).call(method, path, b"[not json")
        assert reply.status == 401
        assert reply.json["data"] is None


@pytest.mark.parametrize("cut", [slice(0, -1), slice(1, None), slice(0, 5)])
def test_a_part_of_a_token_opens_nothing(anybody: Program, as_alice: Program, cut: slice) -> None:
    """Attack 4."""
    assert anybody.with_token(as_alice.token[cut]).get("/groups").status == 401
    assert anybody.with_token(as_alice.token.swapcase()).get("/groups").status == 401


def test_other_methods_are_405_and_say_which_there_are(as_alice: Program) -> None:
    reply = as_alice.patch("/chats", {"question": "Again?"})
    assert reply.status == 405
    assert reply.headers["allow"] == "GET, POST"
    assert reply.json == {"data": None, "message": "This path knows no PATCH.", "status": 405}
    assert Chat.objects.count() == 0


# -- sources ------------------------------------------------------------------------------------


def test_members_see_a_source_and_others_get_what_an_unknown_one_gets(
    as_alice: Program, as_bob: Program, as_charlie: Program, source: str
) -> None:
    """Attack 25."""
    assert as_alice.get(f"/sources/{source}").data["title"] == "Secret recipe"
    assert as_bob.get(f"/sources/{source}").status == 200
    foreign = as_charlie.get(f"/sources/{source}")
    unknown = as_charlie.get("/sources/00000000-0000-4000-8000-000000000000")
    assert foreign.status == 404
    assert foreign.body == unknown.body


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_stranger_cannot_change_a_source(as_charlie: Program, source: str, method: str) -> None:
    """Attack 26."""
    assert as_charlie.call(method, f"/sources/{source}", {"title": "Mine", "groups": []}).status == 404
    assert Source.objects.get().title == "Secret recipe"
    assert not Source.objects.get().is_public


def test_a_member_without_the_role_cannot_write(anybody: Program, alpha: Group, source: str) -> None:
    """Attack 35."""
    reader = program(anybody, person("dora", alpha, roles=[]))
    body = {"title": "T", "content": "C", "groups": ["alpha"]}
    assert reader.post("/sources", body).status == 403
    assert reader.patch(f"/sources/{source}", {"title": "T"}).status == 403
    assert reader.delete(f"/sources/{source}").status == 403
    assert reader.get(f"/sources/{source}").status == 200


@pytest.mark.parametrize("groups", [["gamma"], ["alpha", "gamma"], ["nowhere"]])
def test_nobody_stores_into_a_group_that_is_not_theirs(as_alice: Program, gamma: Group, groups: list[str]) -> None:
    """Attack 27: foreign and unknown groups get the same answer."""
    reply = as_alice.post("/sources", {"title": "T", "content": "C", "groups": groups})
    assert reply.status == 422
    assert reply.json["errors"] == {"groups": [f"Unknown group: {groups[-1]}."]}
    assert Source.objects.count() == 0


def test_an_administrator_too_stores_into_own_groups_only(as_root: Program, alpha: Group) -> None:
    assert as_root.post("/sources", {"title": "T", "content": "C", "groups": ["alpha"]}).status == 403
    as_root.post("/groups", {"groupName": "own"})
    assert as_root.post("/sources", {"title": "T", "content": "C", "groups": ["own"]}).status == 200


def test_a_source_moves_to_own_groups_only(as_alice: Program, gamma: Group, source: str) -> None:
    assert as_alice.patch(f"/sources/{source}", {"groups": ["gamma"]}).status == 422
    assert [group.name for group in Source.objects.get().groups.all()] == ["alpha"]


def test_who_shares_only_one_of_its_groups_cannot_take_a_source_from_the_others(
    as_bob: Program, alice: User, gamma: Group, source: str
) -> None:
    Source.objects.get().groups.add(gamma)
    assert as_bob.delete(f"/sources/{source}").status == 403
    assert as_bob.get(f"/sources/{source}").status == 200


def test_lists_hold_what_one_may_read(
    as_alice: Program, as_bob: Program, as_charlie: Program, source: str, public: str
) -> None:
    """Attack 29."""
    for reader, seen in ((as_alice, {source, public}), (as_bob, {source, public}), (as_charlie, {public})):
        assert {row["sourceId"] for row in reader.get("/sources").data["sources"]} == seen
    assert as_bob.post("/sources/groups", {"groupName": "alpha"}).data == {"sources": [source]}
    assert as_charlie.post("/sources/groups", {"groupName": "alpha"}).data == {"sources": []}
    assert as_charlie.post("/sources/groups", {"groupName": "nowhere"}).data == {"sources": []}
    assert as_charlie.post("/sources/groups", {"groupName": ""}).data == {"sources": [public]}


def test_who_may_not_use_public_sources_neither_publishes_nor_sees_them(
    anybody: Program, alpha: Group, public: str
) -> None:
    """Attack 36."""
    dora = program(anybody, person("dora", alpha, may_use_public=False))
    assert dora.post("/sources", {"title": "T", "content": "C"}).status == 403
    assert dora.get(f"/sources/{public}").status == 404
    assert dora.get("/sources").data["sources"] == []
    answer = dora.post("/chats", {"question": "Which button?", "usePublic": True}).data
    assert answer["sources"] == []
    assert "Press" not in answer["answer"]


# -- taking away --------------------------------------------------------------------------------


def test_leaving_a_group_works_at_once(as_bob: Program, bob: User, source: str) -> None:
    """Attack 32."""
    assert as_bob.get(f"/sources/{source}").status == 200
    bob.groups.clear()
    assert as_bob.get(f"/sources/{source}").status == 404
    assert as_bob.delete(f"/sources/{source}").status == 404
    assert as_bob.get("/groups").data["personalGroups"] == []


def test_losing_a_role_works_at_once(as_bob: Program, bob: User) -> None:
    """Attack 32."""
    bob.roles = []
    bob.save()
    assert as_bob.post("/sources", {"title": "T", "content": "C", "groups": ["alpha"]}).status == 403


def test_an_old_answer_no_longer_shows_passages_that_may_not_be_read_any_more(
    as_alice: Program, alice: User, chat: str, source: str
) -> None:
    """Attack 72."""
    assert as_alice.get(f"/chats/{chat}").data["messages"][0]["sources"] == [source]
    alice.groups.clear()
    message = as_alice.get(f"/chats/{chat}").data["messages"][0]
    assert message["sources"] == message["sourceDetails"] == []


def test_a_group_that_is_made_again_under_its_name_is_another_one(
    as_root: Program, as_alice: Program, alice: User, source: str
) -> None:
    """Attack 34."""
    assert as_root.delete("/groups", {"groupName": "alpha"}).json["data"] == {}
    as_root.post("/groups", {"groupName": "alpha"})
    assert as_alice.get("/groups").data["personalGroups"] == []
    assert as_alice.get(f"/sources/{source}").status == 404
    assert as_root.post("/sources/groups", {"groupName": "alpha"}).data == {"sources": []}


def test_deleting_a_group_deletes_what_only_it_could_read(as_root: Program, as_alice: Program, alice: User) -> None:
    alice.groups.add(Group.objects.create(name="beta"))
    for groups in (["alpha"], ["alpha", "beta"], ["beta"], []):
        assert as_alice.post("/sources", {"title": str(groups), "content": "C", "groups": groups}).status == 200
    as_root.delete("/groups", {"groupName": "alpha"})
    assert {source.title for source in Source.objects.not_deleted()} == {"['alpha', 'beta']", "['beta']", "[]"}
    assert AuditEntry.objects.get(action="delete group").what == "alpha with 1 sources"


# -- chats --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("POST", {"question": "?"}), ("PATCH", {"question": "?"}), ("DELETE", None)]
)
def test_anothers_chat_is_unknown_even_to_the_administrator(
    as_bob: Program, as_charlie: Program, as_root: Program, chat: str, method: str, body: object
) -> None:
    """Attacks 22, 23 and 24."""
    for stranger in (as_bob, as_charlie, as_root):
        foreign = stranger.call(method, f"/chats/{chat}", body)
        unknown = stranger.call(method, "/chats/00000000-0000-4000-8000-000000000000", body)
        assert foreign.status == unknown.status == 404
        assert foreign.body == unknown.body
    assert Chat.objects.get().messages.count() == 1


def test_a_flush_takes_ones_own_chats_only(as_alice: Program, as_bob: Program, chat: str) -> None:
    """Attack 24."""
    as_bob.post("/chats", {"question": "Hello?"})
    assert as_bob.delete("/chats/flush").json == {"data": {}, "message": "success", "status": 200}
    assert as_alice.get(f"/chats/{chat}").status == 200
    assert as_bob.get("/chats").data["total"] == 0


@pytest.mark.parametrize("groups", [["alpha"], ["gamma", "alpha"]])
@pytest.mark.parametrize("public", [True, False])
def test_a_chat_with_a_foreign_group_is_refused(
    as_charlie: Program, source: str, groups: list[str], public: bool
) -> None:
    """Attack 28."""
    reply = as_charlie.post("/chats", {"question": "Which spice?", "groups": groups, "usePublic": public})
    assert reply.status == 422
    assert b"saffron" not in reply.body
    assert source.encode() not in reply.body


def test_an_answer_rests_on_what_its_asker_may_read(as_charlie: Program, source: str) -> None:
    """Attack 28."""
    reply = as_charlie.post("/chats", {"question": "Which spice?", "groups": ["gamma"], "usePublic": True})
    assert reply.status == 200
    assert b"saffron" not in reply.body


# -- groups and users ---------------------------------------------------------------------------


def test_groups_of_others_are_seen_by_who_administers_users_only(
    as_alice: Program, as_root: Program, gamma: Group
) -> None:
    """Attack 30."""
    assert as_alice.get("/groups").data == {"personalGroups": ["alpha"], "assignableGroups": ["alpha"]}
    assert as_root.get("/groups").data == {"personalGroups": [], "assignableGroups": ["alpha", "gamma"]}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/users", None),
        ("POST", "/users", NEW_USER),
        ("PATCH", "/users", {"email": "bob@example.org", "name": "Bobby"}),
        ("DELETE", "/users", {"email": "bob@example.org"}),
        ("POST", "/users/reactivate", {"email": "bob@example.org"}),
        ("POST", "/groups", {"groupName": "new"}),
        ("DELETE", "/groups", {"groupName": "alpha"}),
        ("POST", "/scenarios", {"name": "Name", "description": "Text"}),
        ("PATCH", "/scenarios/00000000-0000-4000-8000-000000000000", {"name": "Name"}),
        ("DELETE", "/scenarios/00000000-0000-4000-8000-000000000000", None),
    ],
)
def test_a_plain_user_administers_nothing(as_alice: Program, bob: User, method: str, path: str, body: object) -> None:
    """Attacks 19 and 21."""
    before = list(User.objects.values()), list(Group.objects.values())
    assert as_alice.call(method, path, body).status == 403
    assert (list(User.objects.values()), list(Group.objects.values())) == before
    assert not Scenario.objects.exists()


def test_extra_fields_raise_nobody(as_root: Program, anybody: Program) -> None:
    """Attack 20."""
    extra = {
        "is_superuser": True,
        "isSuperuser": True,
        "is_staff": True,
        "id": 1,
        "session_salt": "x",
        "is_active": False,
    }
    assert as_root.post("/users", NEW_USER | extra).status == 200
    dora = User.objects.get(email="dora@example.org")
    assert not dora.is_superuser
    assert not dora.is_staff
    assert dora.is_active


@pytest.fixture
def as_manager(anybody: Program, db: None) -> Program:
    return program(anybody, person("max", roles=["users", "documents"]))


def test_nobody_gives_a_role_that_they_lack(as_manager: Program) -> None:
    """Attack 20."""
    assert as_manager.post("/users", NEW_USER | {"roles": ["Sources"]}).status == 200
    assert as_manager.patch("/users", {"email": "dora@example.org", "roles": ["system"]}).status == 403
    assert as_manager.patch("/users", {"email": "max@example.org", "roles": ["users", "system"]}).status == 403
    assert as_manager.post("/users", NEW_USER | {"email": "e@example.org", "roles": ["analytics"]}).status == 403
    assert User.objects.get(email="dora@example.org").roles == ["documents"]


def test_nobody_acts_upon_who_has_more_rights(as_manager: Program, root: User) -> None:
    for method, path, body in (
        ("PATCH", "/users", {"email": "root@example.org", "password": "another long one"}),
        ("DELETE", "/users", {"email": "root@example.org"}),
    ):
        assert as_manager.call(method, path, body).status == 403
    root.refresh_from_db()
    assert root.is_active
    assert root.check_password(PASSWORD)


def test_nobody_deletes_themselves(as_root: Program, root: User) -> None:
    assert as_root.delete("/users", {"email": "root@example.org"}).status == 403
    assert as_root.get("/groups").status == 200


def test_a_deleted_user_is_out_at_once_and_comes_back_without_the_old_tokens(
    as_root: Program, as_alice: Program, anybody: Program
) -> None:
    """Attack 8."""
    browser = Client()
    assert browser.login(username="alice@example.org", password=PASSWORD)
    assert as_alice.get("/groups").status == 200
    assert as_root.delete("/users", {"email": "alice@example.org"}).data == {}
    credentials = {"email": "alice@example.org", "password": PASSWORD}
    assert as_alice.get("/groups").status == 401
    assert anybody.post("/login", credentials).status == 401
    assert as_root.delete("/users", {"email": "alice@example.org"}).status == 404
    assert as_root.post("/users/reactivate", {"email": "alice@example.org"}).data == {}
    assert as_alice.get("/groups").status == 401
    assert anybody.post("/login", credentials).status == 200
    request = HttpRequest()
    request.session = browser.session
    assert get_user(request).is_anonymous


def test_a_new_password_ends_the_old_one_and_the_tokens(as_root: Program, as_alice: Program, anybody: Program) -> None:
    """Attack 9."""
    new = "quite another password"
    reply = as_root.patch("/users", {"email": "alice@example.org", "password": new})
    assert reply.data == {}
    assert new not in reply.body.decode()
    assert as_alice.get("/groups").status == 401
    assert anybody.post("/login", {"email": "alice@example.org", "password": PASSWORD}).status == 401
    assert anybody.post("/login", {"email": "alice@example.org", "password": new}).status == 200


def test_every_administrative_act_leaves_an_audit_row(as_root: Program, root: User) -> None:
    """Attack 83."""
    as_root.post("/groups", {"groupName": "new"})
    as_root.post("/users", NEW_USER)
    as_root.patch("/users", {"email": "dora@example.org", "password": "another long one", "groups": ["new"]})
    as_root.delete("/users", {"email": "dora@example.org"})
    as_root.post("/users/reactivate", {"email": "dora@example.org"})
    as_root.delete("/groups", {"groupName": "new"})
    scenario = as_root.post("/scenarios", {"name": "Name", "description": "Text"}).data["id"]
    as_root.patch(f"/scenarios/{scenario}", {"active": True})
    as_root.delete(f"/scenarios/{scenario}")
    token = as_root.post("/tokens", {"name": "robot"}).data["id"]
    as_root.delete(f"/tokens/{token}")
    rows = list(AuditEntry.objects.order_by("pk"))
    assert [row.action for row in rows] == [
        *("add group", "add user", "change user", "delete user", "reactivate user", "delete group"),
        *("add scenario", "change scenario", "delete scenario", "add token", "revoke token"),
    ]
    assert {(row.actor, row.way, row.address) for row in rows} == {(root, "api", "192.0.2.1")}
    assert "another long one" not in str([row.what for row in rows])


def test_the_first_administrator_has_every_role(root: User) -> None:
    assert all(root.has_role(role) for role in ("documents", "users", "system", "ad"))


# -- narrowed and scoped tokens -----------------------------------------------------------------


def test_a_scoped_token_does_what_its_scopes_say(anybody: Program, root: User) -> None:
    allowed = {
        ("GET", "/chats"): "chats",
        ("DELETE", "/chats/flush"): "chats",
        ("GET", "/scenarios"): "chats",
        ("GET", "/sources"): "sources:read",
        ("POST", "/sources/groups"): "sources:read",
        ("POST", "/sources"): "sources:write",
        ("GET", "/users"): "admin",
        ("POST", "/groups"): "admin",
    }
    for scope in ("chats", "sources:read", "sources:write", "admin"):
        limited = program(anybody, root, scopes=[scope])
        for (method, path), needed in allowed.items():
            assert (limited.call(method, path).status == 403) == (scope != needed), (scope, method, path)
        assert limited.get("/groups").status == 200
        assert limited.get("/tokens").status == limited.post("/tokens", {"name": "more"}).status == 403


@pytest.fixture
def narrowed(anybody: Program, as_alice: Program, alice: User) -> Program:
    """Alice's token for the group beta alone."""
    alice.groups.add(Group.objects.create(name="beta"))
    return anybody.with_token(as_alice.post("/tokens", {"name": "narrow", "groups": ["beta"]}).data["token"])


def test_a_narrowed_token_reaches_its_groups_only(
    narrowed: Program, as_alice: Program, source: str, chat: str, public: str
) -> None:
    assert narrowed.get("/groups").data["personalGroups"] == ["beta"]
    assert narrowed.get(f"/sources/{source}").status == 404
    assert narrowed.get(f"/chats/{chat}").status == 404
    assert narrowed.post("/chats", {"question": "?", "groups": ["alpha"]}).status == 422
    assert narrowed.post("/sources", {"title": "T", "content": "C", "groups": ["alpha"]}).status == 422
    assert narrowed.post("/sources", {"title": "T", "content": "C"}).status == 403
    assert narrowed.post("/sources", {"title": "T", "content": "C", "groups": ["beta"]}).status == 200
    assert {row["sourceId"] for row in narrowed.get("/sources").data["sources"]} >= {public}


def test_a_group_that_is_deleted_does_not_widen_the_token(narrowed: Program, as_root: Program, source: str) -> None:
    as_root.delete("/groups", {"groupName": "beta"})
    assert narrowed.get("/groups").data["personalGroups"] == []
    assert narrowed.get(f"/sources/{source}").status == 404


def test_a_token_of_a_login_can_make_and_end_others(as_alice: Program, anybody: Program) -> None:
    made = as_alice.post("/tokens", {"name": "robot", "scopes": ["chats"], "expiresAt": "2090-01-01T00:00:00Z"})
    assert made.data["scopes"] == ["chats"]
    assert made.data["expiresAt"] == "2090-01-01T00:00:00.000000Z"
    robot = anybody.with_token(made.data["token"])
    assert robot.get("/chats").status == 200
    listed = {row["name"]: row for row in as_alice.get("/tokens").data["tokens"]}
    assert "token" not in listed["robot"]
    assert not listed["robot"]["isCurrent"]
    assert as_alice.delete("/tokens", {"id": made.data["id"]}).data == {}
    assert robot.get("/chats").status == 401
    assert as_alice.delete(f"/tokens/{made.data['id']}").status == 404


def test_tokens_of_others_are_unknown(as_alice: Program, as_bob: Program) -> None:
    made = as_alice.post("/tokens", {"name": "robot"}).data
    assert as_bob.delete(f"/tokens/{made['id']}").status == as_bob.delete("/tokens/1234567").status == 404
    assert "robot" not in as_bob.get("/tokens").body.decode()


def test_no_token_outlives_its_maker(anybody: Program, alice: User) -> None:
    short = program(anybody, alice, days=1)
    expiry = short.post("/tokens", {"name": "robot"}).data["expiresAt"]
    assert expiry == short.get("/tokens").data["tokens"][1]["expiresAt"]


def test_an_expired_token_opens_nothing(anybody: Program, alice: User) -> None:
    key = program(anybody, alice, days=1)
    assert key.get("/groups").status == 200
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert key.get("/groups").status == 401
