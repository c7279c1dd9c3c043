"""Acts that more than one door offers, by whom, upon whom: each door asks the same rule."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client

from accounts import people, secondfactor
from accounts.actors import Actor
from accounts.management.commands import changepassword
from accounts.models import AuditEntry, Authenticator, Group, Session, Token, User
from tests.admin_site import act, administrator, page, signed_in, staff, user_fields
from tests.conftest import PASSWORD
from tests.pages import browser

NEW = "quite another password"
SET = {"usable_password": "true", "password1": NEW, "password2": NEW, "set-password": "1"}
ALONE = "root@example.org"

pytestmark = pytest.mark.django_db


def person(email: str, *roles: str, **fields: Any) -> User:
    return User.objects.create_user(email, PASSWORD, roles=list(roles), **fields)


def actor(kind: str) -> User:
    return {
        "nobody": lambda: person("actor@example.org", is_staff=True),
        "users": lambda: staff("users", email="actor@example.org"),
        "users and system": lambda: staff("users", "system", email="actor@example.org"),
        "system": lambda: staff("system", email="actor@example.org"),
        "superuser": lambda: User.objects.create_superuser("actor@example.org", PASSWORD),
    }[kind]()


def target(kind: str) -> User:
    return {
        "plain": lambda: person("target@example.org"),
        "same role": lambda: person("target@example.org", "users"),
        "more roles": lambda: person("target@example.org", "analytics"),
        "staff": lambda: person("target@example.org", is_staff=True),
        "superuser": lambda: User.objects.create_superuser("target@example.org", PASSWORD),
        "superuser, no staff": lambda: person("target@example.org", is_superuser=True),
    }[kind]()


# Whom each may manage: of people, only those who have nothing that they lack; staff are the superuser's.
MANAGES = {
    "nobody": set(),
    "users": {"plain", "same role"},
    "users and system": {"plain", "same role", "more roles"},  # `system` gives every role
    "system": set(),
    "superuser": {"plain", "same role", "more roles", "staff", "superuser", "superuser, no staff"},
}
TARGETS = ["plain", "same role", "more roles", "staff", "superuser", "superuser, no staff"]


def in_admin(who: User, name: str, whom: User) -> None:
    """One act upon somebody through the admin site."""
    client = signed_in(who)
    match name:
        case "password":
            client.post(f"/admin/accounts/user/{whom.pk}/password/", SET)
        case "e-mail" | "name" | "groups" | "roles":
            client.post(page(User, "change", whom.pk), user_fields(whom) | CHANGES[name]())
        case "second factor":
            act(client, "turn_off_second_factor", [whom])
            for device in Authenticator.objects.filter(user=whom):
                client.post(page(Authenticator, "delete", device.pk), {"post": "yes"})
        case "revoke" | "delete key":
            token = Token.objects.get(user=whom)
            if name == "revoke":
                act(client, "revoke", [token])
            client.post(page(Token, "delete", token.pk), {"post": "yes"})
        case _:
            act(client, name, [whom])


CHANGES: dict[str, Any] = {
    "e-mail": lambda: {"email": "taken@example.org"},
    "name": lambda: {"name": "Taken"},
    "groups": lambda: {"groups": [Group.objects.create(name="tea").pk]},
    "roles": lambda: {"roles": ["users"]},
}


def snapshot(user: User) -> tuple[Any, ...]:
    found = User.objects.get(pk=user.pk)
    return (
        *(found.password, found.email, found.name, found.roles, found.is_active),
        [group.name for group in found.groups.all()],
        Authenticator.objects.filter(user=user).count(),
        [(token.pk, token.revoked_at) for token in Token.objects.filter(user=user)],
    )


IN_ADMIN = ["password", "e-mail", "name", "groups", "roles", "retire", "second factor", "revoke", "delete key"]


@pytest.mark.parametrize("who", MANAGES)
@pytest.mark.parametrize("whom", TARGETS)
def test_each_manages_in_the_admin_site_whom_they_may(who: str, whom: str) -> None:
    """Through contract 2 the same ones: contract2/test_managing.py."""
    administrator()  # so that nobody is the last one
    doer = actor(who)
    for name in IN_ADMIN:
        sufferer = target(whom)
        Token.objects.issue(Token.Kind.RELAY, sufferer)
        secondfactor.begin(sufferer)
        Authenticator.objects.update(confirmed=True)
        before = snapshot(sufferer)
        in_admin(doer, name, sufferer)
        same_roles = name == "roles" and before[3] == ["users"]
        assert (snapshot(sufferer) != before) == (whom in MANAGES[who] and not same_roles), name
        User.objects.filter(pk=sufferer.pk).delete()
        Group.objects.all().delete()


@pytest.mark.parametrize("who", MANAGES)
@pytest.mark.parametrize("whom", TARGETS)
def test_the_same_people_are_let_in_again(who: str, whom: str) -> None:
    doer, sufferer = actor(who), target(whom)
    sufferer.retire()
    in_admin(doer, "reactivate", sufferer)
    sufferer.refresh_from_db()
    assert sufferer.is_active == (whom in MANAGES[who])


# -- keys ---------------------------------------------------------------------------------------


def makes(door: str, who: User, kind: str, owner: User | None) -> bool:
    """Whether a key of this kind for this owner was made."""
    before = Token.objects.filter(kind=kind).count()
    if door == "admin site":
        fields = {"kind": kind, "user": str(owner.pk) if owner else "", "name": "k", "days": ""}
        signed_in(who).post(page(Token, "add"), fields)
    else:
        browser(who).post("/account/tokens", {"name": "k", "may": "answer" if kind == "agent" else "chats", "ends": ""})
    return Token.objects.filter(kind=kind).count() > before


@pytest.mark.parametrize("who", MANAGES)
def test_an_agents_key_takes_the_role_for_the_system(who: str) -> None:
    doer = actor(who)
    has_role = who in {"users and system", "system", "superuser"}
    in_the_site = who in {"users and system", "superuser"}  # `system` alone reads the list of keys there
    for owner in (None, doer):
        assert makes("admin site", doer, "agent", owner) == in_the_site
    assert makes("page", doer, "agent", doer) == has_role


@pytest.mark.parametrize("who", MANAGES)
@pytest.mark.parametrize("whom", TARGETS)
@pytest.mark.parametrize("kind", ["api", "relay"])
def test_nobody_makes_a_key_that_opens_somebody_elses_door(who: str, whom: str, kind: str) -> None:
    doer, other = actor(who), target(whom)
    assert not makes("admin site", doer, kind, other)
    assert not makes("admin site", doer, kind, None)
    program = User.objects.create_user(None, name="importer")
    assert not makes("admin site", doer, kind, program)
    assert makes("admin site", doer, kind, doer) == (who in {"users", "users and system", "superuser"})


def test_a_plain_user_makes_api_keys_for_themselves(alice: User) -> None:
    assert makes("page", alice, "api", alice)
    assert not makes("page", alice, "agent", alice)
    assert {token.user for token in Token.objects.all()} == {alice}


def test_a_permission_alone_makes_no_other_rule(alice: User) -> None:
    member = staff()
    member.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    assert makes("admin site", member, "api", member)
    for kind, owner in (("agent", None), ("agent", member), ("api", alice), ("relay", alice)):
        assert not makes("admin site", member, kind, owner)
    token, _ = Token.objects.issue(Token.Kind.AGENT)
    act(signed_in(member), "revoke", [token])
    assert Token.objects.usable().filter(pk=token.pk).exists()


def test_the_form_offers_what_may_be_made(alice: User) -> None:
    shown = signed_in(staff("users")).get(page(Token, "add")).content.decode()
    assert 'value="agent"' not in shown
    assert str(alice.pk) not in shown
    assert 'value="agent"' in signed_in(administrator()).get(page(Token, "add")).content.decode()


def test_the_command_is_whoever_holds_the_machine(alice: User) -> None:
    for kind in ("api", "relay", "agent"):
        call_command("token", "--kind", kind, "--user", "alice@example.org", stdout=StringIO())
    assert {token.kind for token in Token.objects.filter(user=alice)} == {"api", "relay", "agent"}
    alice.retire()
    with pytest.raises(CommandError):
        call_command("token", "--kind", "relay", "--user", "alice@example.org", stdout=StringIO())


def test_who_no_longer_runs_the_system_has_no_agents() -> None:
    root = administrator()
    alice = person("alice@example.org", "system")
    agent, _ = Token.objects.issue(Token.Kind.AGENT, alice)
    api, _ = Token.objects.issue(Token.Kind.API, alice)
    in_admin(root, "roles", alice)  # `users` instead
    assert set(Token.objects.usable().filter(user=alice)) == {api}
    agent.refresh_from_db()
    assert agent.state == "revoked"


# -- the last administrator ---------------------------------------------------------------------


def retire_by_key(user: User, settings: Any) -> Any:
    body = {"admin_key": settings.ADMIN_KEY, "user_id": str(user.pk)}
    return Client().post("/admin/users/delete", body, content_type="application/json")


def test_the_deletion_route_keeps_the_last_administrator(settings: Any) -> None:
    root, program = administrator(), User.objects.create_user(None)
    locked = User.objects.create_superuser("locked@example.org", None)  # cannot sign in
    retired = User.objects.create_superuser("gone@example.org", PASSWORD)
    assert retire_by_key(retired, settings).status_code == 200
    refused = retire_by_key(root, settings)
    assert (refused.status_code, refused.json()) == (409, {"error": f"{ALONE} is the last administrator."})
    assert refused["Cache-Control"] == "no-store"
    root.refresh_from_db()
    assert root.is_active
    for user in (program, locked, retired):
        assert retire_by_key(user, settings).json() == {"message": "User deleted"}
    User.objects.create_superuser("second@example.org", PASSWORD)
    assert retire_by_key(root, settings).status_code == 200
    assert AuditEntry.objects.filter(action="delete user", what=ALONE, way="admin key").count() == 1


def test_no_administrator_is_left_without_a_way_in() -> None:
    root = administrator()
    client = signed_in(root)
    client.post(page(User, "change", root.pk), user_fields(root, email=""))
    root.refresh_from_db()
    assert root.email == ALONE
    with pytest.raises(people.LastAdministrator):
        people.retire(Actor(None), root)


def test_of_two_administrators_one_stays(settings: Any) -> None:
    first, second = administrator(), User.objects.create_superuser("second@example.org", PASSWORD)
    act(signed_in(first), "retire", [second])
    act(signed_in(second), "retire", [first])  # the session has ended
    assert [user.email for user in User.objects.filter(is_active=True)] == [ALONE]


@pytest.mark.django_db(transaction=True)
def test_two_administrators_who_end_each_other_at_once_are_not_both_gone() -> None:
    first, second = administrator(), User.objects.create_superuser("second@example.org", PASSWORD)
    together = Barrier(2)

    def ends(who: User, whom: User) -> bool:
        together.wait()
        try:
            people.retire(Actor(who), whom)
        except people.LastAdministrator:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pair:
        ended = list(pair.map(ends, (first, second), (second, first)))
    assert sorted(ended) == [False, True]
    assert User.objects.filter(is_active=True).count() == 1


# -- passwords ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/admin/password_change/", "/admin/password_change/done/", "own"])
def test_one_changes_ones_own_password_under_account_only(path: str) -> None:
    root = administrator()
    client = signed_in(root)
    path = f"/admin/accounts/user/{root.pk}/password/" if path == "own" else path
    django = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    for found in (client.get(path), client.post(path, SET | django), client.post(path, {"usable_password": "false"})):
        assert (found.status_code, found["Location"]) == (302, "/account")
    root.refresh_from_db()
    assert root.check_password(PASSWORD)
    assert Client().get(path).status_code == 302


def test_a_password_under_account_takes_the_present_one_and_ends_the_rest(alice: User) -> None:
    client, other = browser(alice), browser(alice)
    _, key = Token.objects.issue(Token.Kind.API, alice)
    refused = client.post("/account/password", {"present": "wrong", "new": NEW})
    assert (refused.status_code, "not your present password" in refused.content.decode()) == (422, True)
    assert client.post("/account/password", {"present": PASSWORD, "new": NEW}).status_code == 302
    assert client.get("/account").status_code == 200
    assert other.get("/account").status_code == 302
    assert Session.objects.of(alice).count() == 1
    assert Token.objects.all().with_key(key, Token.Kind.API) is None
    assert AuditEntry.objects.get(action="change user").what == "alice@example.org password"


def test_guessing_the_present_password_is_locked_in_words_of_the_page(alice: User) -> None:
    client = browser(alice)
    for _ in range(10):
        client.post("/account/password", {"present": "wrong", "new": NEW})
    locked = client.post("/account/password", {"present": PASSWORD, "new": NEW})
    assert (locked.status_code, "Too many failed sign-ins" in locked.content.decode()) == (422, True)
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


class Typed(changepassword.Command):
    """Somebody types the new password, twice."""

    def _get_pass(self, prompt: str = "") -> str:
        return NEW


def test_the_command_ends_them_too(alice: User) -> None:
    theirs = browser(alice)
    _, key = Token.objects.issue(Token.Kind.API, alice)
    assert isinstance(load_command_class(get_commands()["changepassword"], "changepassword"), changepassword.Command)
    call_command(Typed(), "alice@example.org", stdout=StringIO())
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    assert theirs.get("/account").status_code == 302
    assert Token.objects.all().with_key(key, Token.Kind.API) is None
    assert AuditEntry.objects.get().way == "command"


@pytest.mark.parametrize("form", [SET, {"usable_password": "false", "unset-password": "1"}])
def test_an_administrator_sets_anothers_and_all_of_theirs_ends(alice: User, form: dict[str, str]) -> None:
    theirs = browser(alice)
    _, key = Token.objects.issue(Token.Kind.API, alice)
    path = f"/admin/accounts/user/{alice.pk}/password/"
    assert signed_in(administrator()).post(path, form).status_code == 302
    assert theirs.get("/account").status_code == 302
    assert not Session.objects.filter(user=alice).exists()
    assert Token.objects.all().with_key(key, Token.Kind.API) is None
    assert AuditEntry.objects.filter(action="change user", actor_name=ALONE).count() == 1
