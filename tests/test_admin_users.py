"""Users and groups in the admin site: what the forms take, and that nobody gives a right they do not have."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import Group, Token, User
from tests.admin_site import act, administrator, everything, page, signed_in, staff, user_fields
from tests.conftest import PASSWORD

NEW_PASSWORD = "quite another password"
WITH_PASSWORD = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
WITHOUT = {"usable_password": "false"}


@pytest.fixture
def root(db: None) -> User:
    return administrator()


@pytest.fixture
def manager(db: None) -> User:
    return staff("users")


def add(client: Client, **fields: Any) -> Any:
    return client.post(page(User, "add"), user_fields(**fields))


def errors(response: Any) -> str:
    """The form's errors; "" when it was taken."""
    return str(response.context["errors"]) if response.status_code == 200 else ""


# -- forms --------------------------------------------------------------------------------------


def test_a_new_user_can_sign_in_with_the_e_mail_in_one_spelling(manager: User) -> None:
    assert not errors(add(signed_in(manager), email=" Dora@Example.ORG ", roles=["users"], **WITH_PASSWORD))
    dora = User.objects.get(email="dora@example.org")
    assert dora.check_password(NEW_PASSWORD)
    assert dora.roles == ["users"]
    assert (dora.language, dora.timezone) == ("en", "Europe/Berlin")


def test_a_program_needs_neither_e_mail_nor_password(manager: User) -> None:
    client = signed_in(manager)
    assert not errors(add(client, name="first", **WITHOUT))
    assert not errors(add(client, name="second", **WITHOUT))
    programs = User.objects.filter(email=None)
    assert programs.count() == 2
    assert not any(program.has_usable_password() for program in programs)


def test_a_password_needs_an_e_mail_to_sign_in_with(manager: User) -> None:
    assert "needs an e-mail" in errors(add(signed_in(manager), name="nobody", **WITH_PASSWORD))


def test_the_same_e_mail_in_another_spelling_is_refused(manager: User, alice: User) -> None:
    assert "already exists" in errors(add(signed_in(manager), email="ALICE@example.org", **WITH_PASSWORD))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timezone", "Mars/Olympus"),
        ("timezone", "../../etc/passwd"),
        ("language", "tlh"),
        ("roles", ["root"]),
        ("groups", ["999"]),
        ("email", "no address"),
        ("password2", "something else"),
    ],
)
def test_a_value_that_is_not_known_is_refused(root: User, field: str, value: object) -> None:
    fields = {"email": "new@example.org", **WITH_PASSWORD, field: value}
    assert errors(add(signed_in(root), **fields))
    assert not User.objects.filter(email="new@example.org").exists()


def test_a_short_password_is_refused(root: User) -> None:
    assert "too short" in errors(add(signed_in(root), email="new@example.org", password1="abc", password2="abc"))


def test_a_change_is_saved_with_roles_and_groups(manager: User, alice: User) -> None:
    readers = Group.objects.create(name="Readers")
    fields = user_fields(alice, name="Alice B.", roles=["users"], groups=[readers.pk], timezone="Asia/Tokyo")
    assert signed_in(manager).post(page(User, "change", alice.pk), fields).status_code == 302
    alice.refresh_from_db()
    assert (alice.name, alice.roles, alice.timezone) == ("Alice B.", ["users"], "Asia/Tokyo")
    assert list(alice.groups.all()) == [readers]
    assert alice.check_password(PASSWORD)


def test_a_new_password_ends_the_users_sessions(manager: User, alice: User) -> None:
    session = signed_in(alice)
    path = f"/admin/accounts/user/{alice.pk}/password/"
    assert signed_in(manager).post(path, WITH_PASSWORD | {"set-password": "1"}).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(NEW_PASSWORD)
    assert not session.get("/sign-in").context["user"].is_authenticated


def test_no_part_of_a_password_is_shown_or_can_be_searched_for(root: User, alice: User) -> None:
    client = signed_in(root)
    shown = client.get(page(User, "change", alice.pk)).content.decode()
    assert alice.password.split("$")[-1][:6] not in shown
    assert str(alice.session_salt) not in shown
    for secret in ("password__startswith=md5", "session_salt__gt=0", "tokens__sealed__contains=a"):
        assert client.get(f"{page(User, 'changelist')}?{secret}").status_code == 400


def test_the_list_counts_live_tokens(root: User, alice: User) -> None:
    Token.objects.issue(Token.Kind.API, alice)
    Token.objects.issue(Token.Kind.API, alice)[0].delete()
    Token.objects.issue(Token.Kind.RELAY, alice)
    Token.objects.filter(kind=Token.Kind.RELAY).revoke()
    rows = signed_in(root).get(page(User, "changelist")).context["cl"].queryset
    assert {str(user): user.live_token_count for user in rows} == {"alice@example.org": 1, "root@example.org": 0}


def test_groups_show_how_many_belong_to_them(manager: User, alice: User, bob: User) -> None:
    client = signed_in(manager)
    client.post(page(Group, "add"), {"name": "Readers", "description": "They read."})
    Group.objects.get(name="Readers").members.add(alice, bob)
    shown = client.get(page(Group, "changelist")).content.decode()
    assert '<td class="field-member_count">2</td>' in shown


# -- retiring -----------------------------------------------------------------------------------


def test_retiring_ends_sessions_and_tokens_at_once(manager: User, alice: User) -> None:
    session = signed_in(alice)
    _, key = Token.objects.issue(Token.Kind.RELAY, alice)
    act(signed_in(manager), "retire", [alice])
    alice.refresh_from_db()
    assert not alice.is_active
    assert Token.objects.all().with_key(key, Token.Kind.RELAY) is None
    assert not session.get("/sign-in").context["user"].is_authenticated


def test_reactivating_brings_no_token_back(manager: User, alice: User) -> None:
    _, key = Token.objects.issue(Token.Kind.RELAY, alice)
    alice.retire()
    act(signed_in(manager), "reactivate", [alice])
    alice.refresh_from_db()
    assert alice.is_active
    assert Token.objects.all().with_key(key, Token.Kind.RELAY) is None


def test_deleting_takes_a_permission_of_its_own(manager: User, root: User, alice: User, bob: User) -> None:
    client = signed_in(manager)
    assert client.post(page(User, "delete", alice.pk), {"post": "yes"}).status_code == 403
    act(client, "delete_selected", [alice], post="yes")
    assert User.objects.filter(pk=alice.pk).exists()
    assert signed_in(root).post(page(User, "delete", alice.pk), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=alice.pk).exists()


def test_nobody_locks_themselves_out(root: User) -> None:
    client = signed_in(root)
    assert "cannot retire yourself" in act(client, "retire", [root]).content.decode()
    assert client.post(page(User, "delete", root.pk), {"post": "yes"}).status_code == 403
    client.post(page(User, "change", root.pk), user_fields(root, roles=[]))
    root.refresh_from_db()
    assert root.is_active
    assert root.is_staff
    assert root.is_superuser


# -- nobody gives more than they have -----------------------------------------------------------


def test_an_administrator_gives_any_right(root: User, alice: User) -> None:
    permission = Permission.objects.get(codename="delete_user")
    fields = user_fields(alice, is_staff="on", is_superuser="on", user_permissions=[permission.pk], roles=["ad"])
    assert signed_in(root).post(page(User, "change", alice.pk), fields).status_code == 302
    alice.refresh_from_db()
    assert alice.is_staff
    assert alice.is_superuser
    assert alice.roles == ["ad"]
    assert list(alice.user_permissions.all()) == [permission]


@pytest.mark.parametrize("whom", ["themselves", "alice"])
def test_a_user_administrator_cannot_give_rights_by_extra_fields(manager: User, alice: User, whom: str) -> None:
    target = manager if whom == "themselves" else alice
    before = (target.is_superuser, target.is_staff)
    fields = user_fields(target, name="New name") | everything()
    refused = signed_in(manager).post(page(User, "change", target.pk), fields)
    assert "not one of the available choices" in errors(refused)
    fields["roles"] = ["users"]
    signed_in(manager).post(page(User, "change", target.pk), fields)
    target.refresh_from_db()
    assert target.name == "New name"
    assert (target.is_superuser, target.is_staff) == before
    assert target.roles == ["users"]
    assert not target.user_permissions.exists()


def test_a_new_user_gets_no_rights_by_extra_fields(manager: User) -> None:
    client = signed_in(manager)
    fields = {"email": "dora@example.org", **WITH_PASSWORD, **everything()}
    assert "not one of the available choices" in errors(add(client, **fields))
    add(client, **fields | {"roles": []})
    dora = User.objects.get(email="dora@example.org")
    assert (dora.is_staff, dora.is_superuser, dora.roles) == (False, False, [])
    assert not dora.user_permissions.exists()


def above(kind: str) -> User:
    """Somebody who has a right that a user administrator lacks."""
    if kind == "superuser":
        return administrator()
    if kind == "retired superuser":
        root = administrator()
        root.retire()
        return root
    if kind == "another role":
        return staff("users", "system", email="above@example.org")
    member = staff("users", email="above@example.org")
    member.user_permissions.add(Permission.objects.get(codename="delete_user"))
    return member


@pytest.mark.parametrize("kind", ["superuser", "retired superuser", "another role", "another permission"])
def test_a_user_administrator_cannot_touch_somebody_with_more_rights(manager: User, kind: str) -> None:
    target, client = above(kind), signed_in(manager)
    before = (target.email, target.password, target.is_active)
    fields = user_fields(target, email="mine@example.org")
    assert client.post(page(User, "change", target.pk), fields).status_code == 403
    path = f"/admin/accounts/user/{target.pk}/password/"
    assert client.get(path).status_code == 403
    assert client.post(path, WITH_PASSWORD).status_code == 403
    for action in ("retire", "reactivate"):
        assert "Nothing was done" in act(client, action, [target]).content.decode()
    target.refresh_from_db()
    assert (target.email, target.password, target.is_active) == before


def test_one_untouchable_in_the_choice_spares_all(manager: User, root: User, alice: User) -> None:
    act(signed_in(manager), "retire", [alice, root])
    assert User.objects.filter(is_active=True).count() == 3


def test_the_right_to_delete_users_does_not_reach_superusers(manager: User, root: User) -> None:
    manager.user_permissions.add(Permission.objects.get(codename="delete_user"))
    client = signed_in(manager)
    assert client.post(page(User, "delete", root.pk), {"post": "yes"}).status_code == 403
    assert (
        client.post(
            page(User, "changelist"), {"action": "delete_selected", "_selected_action": [root.pk], "post": "yes"}
        ).status_code
        == 403
    )
    assert User.objects.filter(pk=root.pk).exists()


def test_markup_in_a_name_stays_text(root: User) -> None:
    evil = User.objects.create_user(None, name="<script>alert(1)</script>")
    client = signed_in(root)
    for path in (page(User, "changelist"), page(User, "change", evil.pk), page(User, "delete", evil.pk)):
        assert "<script>alert(1)" not in client.get(path).content.decode()


def test_a_role_that_needs_entry_says_so(root: User, manager: User) -> None:
    said = "What these roles bring here takes “May enter the admin” as well"
    client = signed_in(root)
    for role, is_said in (("users", True), ("ad", False)):
        fields = user_fields(email=f"{role}@example.org", roles=[role]) | WITHOUT
        added = client.post(page(User, "add"), fields, follow=True)
        assert (said in added.content.decode()) is is_said


def test_nobody_is_told_of_ways_to_sign_in_that_there_are_not(root: User) -> None:
    for name in ("add", "changelist"):
        text = signed_in(root).get(page(User, name)).content.decode()
        assert "LDAP" not in text
        assert "Single Sign-On" not in text
