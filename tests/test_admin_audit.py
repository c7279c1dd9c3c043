"""Every act in the admin site leaves a row: who, what, when, from where. Nobody can change the log."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.admin_audit import AuditedAdmin
from accounts.models import AuditEntry, Group, Token, User
from privategpt import sweeping
from relay.models import Agent, Conversation
from tests.admin_site import act, administrator, page, signed_in, staff, user_fields
from tests.conftest import PASSWORD


@pytest.fixture
def root(db: None) -> User:
    return administrator()


@pytest.fixture
def client(root: User) -> Client:
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(root)
    return client


def last() -> AuditEntry:
    return AuditEntry.objects.all()[0]


def test_a_row_says_who_what_when_and_from_where(client: Client, root: User) -> None:
    client.post(page(Group, "add"), {"name": "Readers"})
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.actor_name) == (root, "root@example.org")
    assert (entry.action, entry.way, entry.address) == ("add group", "admin site", "192.0.2.7")
    assert entry.what == f"Readers [{Group.objects.get().pk}]"
    assert abs((timezone.now() - entry.at).total_seconds()) < 60


def test_users_leave_rows(client: Client, alice: User) -> None:
    client.post(page(User, "add"), user_fields(name="program", usable_password="false"))
    assert last().action == "add user"
    client.post(page(User, "change", alice.pk), user_fields(alice, roles=["ad"]))
    assert last().action == "change user"
    assert last().what == f"alice@example.org [{alice.pk}] Changed Roles."
    path = f"/admin/accounts/user/{alice.pk}/password/"
    client.post(path, {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD, "set-password": "1"})
    assert last().what.endswith("Changed password.")
    for action in ("retire", "reactivate"):
        act(client, action, [alice])
        assert last().action == f"{action} user"
    client.post(page(User, "delete", alice.pk), {"post": "yes"})
    assert last().action == "delete user"
    assert str(alice.pk) in last().what


def test_tokens_leave_rows(client: Client, alice: User) -> None:
    client.post(page(Token, "add"), {"kind": "agent", "name": "door"})
    token = Token.objects.get()
    assert (last().action, last().what) == ("add token", f"agent …{token.hint} door [{token.pk}]")
    client.post(page(Token, "change", token.pk), {"name": "gate"})
    assert last().action == "change token"
    act(client, "revoke", [token])
    assert last().action == "revoke token"
    act(client, "delete_selected", [token], post="yes")
    assert last().action == "delete token"
    assert not Token.objects.exists()


def test_the_relays_pages_leave_rows(client: Client) -> None:
    now = timezone.now()
    agent = Agent.objects.create(pk="a1", name="Otto", seen_at=now)
    for action in ("rest", "wake", "disconnect"):
        act(client, action, [agent])
        assert (last().action, last().what) == (f"{action} agent", "Otto [a1]")
    talk = Conversation.objects.create(conversation_id="c1", agent_id="a1", created_at=now, used_at=now)
    client.post(page(Conversation, "delete", talk.pk), {"post": "yes"})
    assert last().action == "delete conversation"


def test_a_refused_act_changes_nothing_and_leaves_no_row(root: User, alice: User) -> None:
    member = signed_in(staff("users"))
    act(member, "retire", [root])
    member.post(page(User, "change", root.pk), user_fields(root, email="mine@example.org"))
    assert not AuditEntry.objects.exists()


def test_an_act_whose_row_cannot_be_written_is_undone(
    client: Client, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise OSError

    monkeypatch.setattr("accounts.audit.AuditEntry.objects.create", broken)
    with pytest.raises(OSError):  # noqa: PT011
        act(client, "retire", [alice])
    alice.refresh_from_db()
    assert alice.is_active


def test_the_rows_stay_when_their_actor_is_deleted(client: Client, root: User, db: None) -> None:
    member = staff("users")
    signed_in(member).post(page(Group, "add"), {"name": "Readers"})
    client.post(page(User, "delete", member.pk), {"post": "yes"})
    assert sweeping.sweep(10)
    entry = AuditEntry.objects.get(action="add group")
    assert (entry.actor, entry.actor_name) == (None, "staff@example.org")


def test_not_even_an_administrator_changes_the_log(client: Client) -> None:
    client.post(page(Group, "add"), {"name": "Readers"})
    entry = AuditEntry.objects.get()
    assert client.get(page(AuditEntry, "change", entry.pk)).status_code == 200
    assert client.get(page(AuditEntry, "add")).status_code == 403
    assert client.post(page(AuditEntry, "change", entry.pk), {"what": "nothing"}).status_code == 403
    assert client.post(page(AuditEntry, "delete", entry.pk), {"post": "yes"}).status_code == 403
    act(client, "delete_selected", [entry], post="yes")
    assert AuditEntry.objects.get().what == entry.what


# -- two at once ------------------------------------------------------------------------------------


def beforehand(monkeypatch: pytest.MonkeyPatch, name: str, obj: User | Group) -> None:
    """Somebody else deletes it just before this step of the admin site's."""
    step = getattr(AuditedAdmin, name)

    def late(*args: Any, **named: Any) -> Any:
        kind: Any = type(obj)
        if found := kind.objects.filter(pk=obj.pk).first():
            found.remove()
        return step(*args, **named)

    monkeypatch.setattr(AuditedAdmin, name, late)


@pytest.mark.parametrize("kind", [User, Group])
@pytest.mark.parametrize("way", ["page", "action"])
def test_what_somebody_else_has_just_deleted_is_deleted_without_an_error(
    client: Client, kind: type[User | Group], way: str, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    obj = User.objects.create_user("x@example.org") if kind is User else Group.objects.create(name="tea")
    beforehand(monkeypatch, "_delete", obj)
    if way == "page":
        assert client.post(page(kind, "delete", obj.pk), {"post": "yes"}).status_code == 302
    else:
        assert act(client, "delete_selected", [obj], post="yes").status_code == 200
    assert not AuditEntry.objects.exists(), "it was the other one's act"


@pytest.mark.parametrize("kind", [User, Group])
def test_what_somebody_else_has_just_deleted_cannot_be_changed(
    client: Client, kind: type[User | Group], db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    obj: User | Group = Group.objects.create(name="tea")
    fields: dict[str, Any] = {"name": "milk"}
    if kind is User:
        obj = User.objects.create_user("x@example.org")
        fields = user_fields(obj, name="Milk")
    beforehand(monkeypatch, "save_form", obj)
    assert client.post(page(kind, "change", obj.pk), fields).status_code == 404
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("verb", ["retire", "reactivate"])
def test_of_chosen_users_one_that_somebody_else_has_just_deleted_is_passed_over(
    client: Client, alice: User, bob: User, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beforehand(monkeypatch, "all_changeable", alice)
    assert act(client, verb, [alice, bob]).status_code == 200
    assert [entry.what for entry in AuditEntry.objects.filter(action=f"{verb} user")] == ["bob@example.org"]
