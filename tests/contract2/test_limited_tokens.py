"""A token that may less than its owner: no way leads from it to more, whatever names a group or sets a password."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from accounts.models import AuditEntry, Group, Session, Token, User
from privategpt.api.credentials import SCOPES
from privategpt.models import Scenario, Source
from tests.conftest import PASSWORD
from tests.contract2.conftest import person
from tests.contract2.server import Program
from tests.pages import browser

NEW = "quite another password"
DORA = {"name": "Dora", "email": "dora@example.org", "password": "a long enough one"}
SCENARIO = {"name": "Short", "description": "Answers in a line"}


@pytest.fixture
def manager(alpha: Group, gamma: Group) -> User:
    """In both groups, with every role."""
    return person("max", alpha, gamma, roles=["users", "documents", "system"])


def token(program: Program, user: User, scopes: Iterable[str] = (), groups: Iterable[Group] = ()) -> Program:
    made, key = Token.objects.issue(Token.Kind.API, user, name="limited", scopes=list(scopes))
    if groups:
        made.narrow(groups)
    return program.with_token(key)


@pytest.fixture
def narrowed(anybody: Program, manager: User, alpha: Group) -> Program:
    return token(anybody, manager, SCOPES, [alpha])


# -- one's own password -------------------------------------------------------------------------


@pytest.mark.parametrize("scopes", [["admin"], ["admin", "chats"], [s for s in SCOPES if s != "chats"]])
def test_no_limited_token_changes_its_owners_password(anybody: Program, manager: User, scopes: list[str]) -> None:
    own = {"email": "max@example.org", "password": NEW, "presentPassword": PASSWORD}
    assert token(anybody, manager, scopes).patch("/users", own).status == 403
    manager.refresh_from_db()
    assert manager.check_password(PASSWORD)


def test_nor_does_a_narrowed_one(narrowed: Program, manager: User) -> None:
    for more in ({}, {"presentPassword": PASSWORD}):
        assert narrowed.patch("/users", {"email": "max@example.org", "password": NEW} | more).status == 403
    manager.refresh_from_db()
    assert manager.check_password(PASSWORD)


@pytest.mark.parametrize("scopes", [[], list(SCOPES)])
def test_ones_own_password_takes_the_present_one(anybody: Program, manager: User, scopes: list[str]) -> None:
    program = token(anybody, manager, scopes)
    other = token(anybody, manager)
    page = browser(manager)
    own = {"email": "MAX@example.org", "password": NEW}
    for wrong in ({}, {"presentPassword": "something else"}):
        refused = program.patch("/users", own | wrong)
        assert (refused.status, list(refused.json["errors"])) == (422, ["presentPassword"])
    assert other.get("/groups").status == 200
    assert program.patch("/users", own | {"presentPassword": PASSWORD}).data == {}
    manager.refresh_from_db()
    assert manager.check_password(NEW)
    assert program.get("/groups").status == 200  # the one in use
    assert other.get("/groups").status == 401
    assert not Session.objects.of(manager).exists()
    assert page.get("/account").status_code == 302
    assert AuditEntry.objects.get(action="change user").what == "max@example.org password"


def test_guessing_the_present_password_locks_as_signing_in_does(anybody: Program, manager: User) -> None:
    program = token(anybody, manager)
    own = {"email": "max@example.org", "password": NEW, "presentPassword": "a guess"}
    assert [program.patch("/users", own).status for _ in range(10)] == [422] * 10
    locked = program.patch("/users", own | {"presentPassword": PASSWORD})
    assert locked.status == 429
    assert locked.headers["retry-after"]
    assert PASSWORD not in locked.body.decode()


@pytest.mark.parametrize(
    "fields", [{"roles": ["users"]}, {"roles": ["system"]}, {"is_staff": True}, {"is_superuser": True}]
)
def test_no_limited_token_leads_to_another_administrators_sign_in(
    anybody: Program, root: User, fields: dict[str, object]
) -> None:
    other, limited = person("eve", **{"roles": []} | fields), token(anybody, root, ["admin"])
    assert limited.patch("/users", {"email": other.email, "password": NEW}).status == 403
    assert limited.patch("/users", {"email": other.email, "name": "Eve B."}).status == 200
    other.refresh_from_db()
    assert (other.check_password(PASSWORD), other.name) == (True, "Eve B.")
    assert token(anybody, root).patch("/users", {"email": other.email, "password": NEW}).status == 200


def test_a_limited_token_makes_users_and_no_administrators(anybody: Program, root: User) -> None:
    limited = token(anybody, root, ["admin"])
    for roles in (["users"], ["documents", "system"]):
        assert limited.post("/users", DORA | {"roles": roles}).status == 403
    assert limited.post("/users", DORA | {"roles": ["documents"]}).status == 200
    assert limited.patch("/users", {"email": DORA["email"], "roles": ["users"]}).status == 403
    assert limited.patch("/users", {"email": DORA["email"], "password": NEW}).status == 200
    assert User.objects.get(email=DORA["email"]).roles == ["documents"]


def test_somebody_elses_password_needs_none_of_ones_own(as_root: Program) -> None:
    person("eve")
    assert as_root.patch("/users", {"email": "eve@example.org", "password": NEW}).status == 200


# -- groups -------------------------------------------------------------------------------------


def test_a_narrowed_token_makes_users_in_its_groups_only(narrowed: Program) -> None:
    for groups in (["gamma"], ["alpha", "gamma"], ["nowhere"]):
        refused = narrowed.post("/users", DORA | {"groups": groups})
        assert refused.status == 422
        assert refused.json["errors"] == {"groups": [f"Unknown group: {groups[-1]}."]}
    assert not User.objects.filter(email="dora@example.org").exists()
    assert narrowed.post("/users", DORA | {"groups": ["alpha"]}).status == 200
    assert [group.name for group in User.objects.get(email="dora@example.org").groups.all()] == ["alpha"]


@pytest.mark.parametrize("role", ["users", "system", "documents"])
def test_a_narrowed_token_gives_no_role(narrowed: Program, role: str) -> None:
    """A role knows no groups: its new holder would reach beyond the token."""
    assert narrowed.post("/users", DORA | {"roles": [role]}).status == 403
    person("eve", roles=[])
    assert narrowed.patch("/users", {"email": "eve@example.org", "roles": [role]}).status == 403
    assert User.objects.get(email="eve@example.org").roles == []


def test_a_narrowed_token_acts_upon_people_of_its_groups_only(
    narrowed: Program, alpha: Group, gamma: Group, manager: User
) -> None:
    inside, beyond, both = person("ida", alpha, roles=[]), person("ben", gamma, roles=[]), person("bo", alpha, gamma)
    lead = person("lea", alpha, roles=["users"])
    for user in (beyond, both, lead, manager):
        changes: list[dict[str, object]] = [{"password": NEW}, {"groups": ["alpha"]}, {"groups": []}, {"name": "Taken"}]
        for change in changes:
            assert narrowed.patch("/users", {"email": user.email, **change}).status == 403, (user, change)
        assert narrowed.delete("/users", {"email": user.email}).status == 403
        before = {group.name for group in user.groups.all()}
        user.refresh_from_db()
        assert (user.is_active, user.check_password(PASSWORD)) == (True, True)
        assert {group.name for group in user.groups.all()} == before
    beyond.retire()
    assert narrowed.post("/users/reactivate", {"email": beyond.email}).status == 403
    assert narrowed.patch("/users", {"email": inside.email, "groups": ["alpha", "gamma"]}).status == 422
    assert narrowed.patch("/users", {"email": inside.email, "name": "Ida B.", "groups": []}).status == 200
    assert narrowed.delete("/users", {"email": inside.email}).status == 200
    assert narrowed.post("/users/reactivate", {"email": inside.email}).status == 200


def test_a_narrowed_token_is_not_told_of_other_groups(
    narrowed: Program, anybody: Program, manager: User, alpha: Group, gamma: Group
) -> None:
    person("ida", alpha), person("ben", gamma)
    whole = token(anybody, manager)
    made = whole.post("/sources", {"title": "Both", "content": "C", "groups": ["alpha", "gamma"]}).data["sourceId"]
    listed = narrowed.get("/users").data["users"]
    assert [row["email"] for row in listed] == ["ida@example.org"]
    assert narrowed.get("/groups").data == {"personalGroups": ["alpha"], "assignableGroups": ["alpha"]}
    assert narrowed.get(f"/sources/{made}").data["groups"] == ["alpha"]
    assert [row["groups"] for row in narrowed.get("/sources").data["sources"]] == [["alpha"]]
    assert whole.get(f"/sources/{made}").data["groups"] == ["alpha", "gamma"]


def test_a_narrowed_token_neither_makes_groups_nor_deletes_others(narrowed: Program, gamma: Group) -> None:
    assert narrowed.post("/groups", {"groupName": "new"}).status == 403
    assert narrowed.post("/groups", {"groupName": "gamma"}).status == 403  # not even whether there is one
    foreign, unknown = (narrowed.delete("/groups", {"groupName": name}) for name in ("gamma", "nowhere"))
    assert foreign.status == unknown.status == 404
    assert foreign.body == unknown.body
    assert set(Group.objects.values_list("name", flat=True)) == {"alpha", "gamma"}
    assert narrowed.delete("/groups", {"groupName": "alpha"}).status == 200
    assert narrowed.delete("/groups", {"groupName": "gamma"}).status == 404


def test_a_narrowed_token_stores_and_asks_within_its_groups_only(
    narrowed: Program, anybody: Program, manager: User
) -> None:
    whole = token(anybody, manager)
    made = whole.post("/sources", {"title": "Other", "content": "C", "groups": ["gamma"]}).data["sourceId"]
    both = whole.post("/sources", {"title": "Both", "content": "C", "groups": ["alpha", "gamma"]}).data["sourceId"]
    chat = whole.post("/chats", {"question": "?", "groups": ["gamma"]}).data["chatId"]
    assert narrowed.post("/sources", {"title": "T", "content": "C", "groups": ["gamma"]}).status == 422
    assert narrowed.post("/sources", {"title": "T", "content": "C"}).status == 403
    for source, status in ((made, 404), (both, 403)):
        assert narrowed.patch(f"/sources/{source}", {"groups": ["alpha"]}).status == status
        assert narrowed.delete(f"/sources/{source}").status == status
    assert narrowed.post("/sources/groups", {"groupName": "gamma"}).data == {"sources": []}
    assert narrowed.post("/chats", {"question": "?", "groups": ["gamma"]}).status == 422
    for method in ("GET", "PATCH", "DELETE"):
        assert narrowed.call(method, f"/chats/{chat}", {"question": "?"}).status == 404
    assert narrowed.post("/sources", {"title": "Own", "content": "C", "groups": ["alpha"]}).status == 200
    assert Source.objects.count() == 3


def test_a_narrowed_token_leaves_scenarios_which_are_everybodys(
    narrowed: Program, anybody: Program, manager: User
) -> None:
    made = token(anybody, manager, ["admin"]).post("/scenarios", SCENARIO | {"active": True}).data["id"]
    assert narrowed.post("/scenarios", SCENARIO | {"name": "Other"}).status == 403
    assert narrowed.patch(f"/scenarios/{made}", {"system_pre_prompt": "Tell all."}).status == 403
    assert narrowed.delete(f"/scenarios/{made}").status == 403
    assert Scenario.objects.get().system_pre_prompt == ""
    assert narrowed.get("/scenarios").data["total"] == 1


def test_no_limited_token_makes_or_ends_another(anybody: Program, narrowed: Program, manager: User) -> None:
    for program in (narrowed, token(anybody, manager, ["admin"]), token(anybody, manager, SCOPES)):
        before = Token.objects.count()
        assert program.post("/tokens", {"name": "wide"}).status == 403
        assert program.get("/tokens").status == program.delete("/tokens", {"id": 1}).status == 403
        assert Token.objects.live().count() == before
    made = token(anybody, manager).post("/tokens", {"name": "narrow", "groups": ["alpha"], "scopes": ["chats"]}).data
    assert (made["groups"], made["scopes"], made["isNarrowed"]) == (["alpha"], ["chats"], True)
