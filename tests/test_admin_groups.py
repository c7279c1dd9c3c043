"""Deleting a group in the admin site: nothing that only its members could read stays behind, and the log says so."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import AuditEntry, Group, Token, User
from privategpt import knowledge, sweeping
from privategpt.models import Passage, Source
from tests.admin_site import act, administrator, page, signed_in, staff
from tests.answering import group, source
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tea(alice: User, bob: User) -> Group:
    """Alice's and Bob's, with a source of its own, one that it shares, and a public one that it holds too."""
    tea, milk = group("tea", alice, bob), group("milk", bob)
    source("Own", "Green tea.", tea)
    source("Shared", "Tea with milk.", tea, milk)
    public = source("Public", "Tea for all.")
    public.groups.add(tea)
    return tea


def titles() -> set[str]:
    return set(Source.objects.values_list("title", flat=True))


@pytest.mark.parametrize("way", ["page", "action"])
def test_sources_of_nobody_else_go_with_their_group(tea: Group, way: str) -> None:
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(staff("users"))
    if way == "page":
        client.post(page(Group, "delete", tea.pk), {"post": "yes"})
    else:
        act(client, "delete_selected", [tea], post="yes")
    assert sweeping.sweep(60)
    assert not Group.objects.filter(name="tea").exists()
    assert titles() == {"Shared", "Public"}
    assert not Passage.objects.filter(source__title="Own").exists()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.what) == ("delete group", "tea with 1 sources")
    assert (entry.actor_name, entry.way, entry.address) == ("staff@example.org", "admin site", "192.0.2.7")


def test_of_two_groups_that_go_together_what_both_held_goes_too(tea: Group) -> None:
    act(signed_in(administrator()), "delete_selected", list(Group.objects.all()), post="yes")
    assert sweeping.sweep(60)
    assert not Group.objects.exists()
    assert titles() == {"Public"}
    assert AuditEntry.objects.filter(action="delete group").count() == 2


def test_the_confirmation_counts_the_sources_and_does_not_name_them(tea: Group) -> None:
    shown = signed_in(staff("users")).get(page(Group, "delete", tea.pk)).content.decode()
    assert "Sources that nobody else can read: 1" in shown
    assert "Own" not in shown.replace("Owner", "")
    assert titles() == {"Own", "Shared", "Public"}


def test_who_may_not_delete_groups_deletes_no_sources(tea: Group) -> None:
    client = signed_in(staff("documents", "system"))
    assert client.post(page(Group, "delete", tea.pk), {"post": "yes"}).status_code == 403
    act(client, "delete_selected", [tea], post="yes")
    assert titles() == {"Own", "Shared", "Public"}
    assert not AuditEntry.objects.exists()


def test_a_row_that_cannot_be_written_keeps_group_and_sources(tea: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError

    client = signed_in(administrator())
    monkeypatch.setattr("accounts.audit.AuditEntry.objects.create", broken)
    with pytest.raises(OSError):  # noqa: PT011
        client.post(page(Group, "delete", tea.pk), {"post": "yes"})
    assert titles() == {"Own", "Shared", "Public"}
    assert Group.objects.filter(pk=tea.pk).exists()


def test_a_group_that_comes_back_under_its_name_gets_nothing_of_the_old_one(tea: Group, alice: User) -> None:
    """Attack 34."""
    client = signed_in(administrator())
    client.post(page(Group, "delete", tea.pk), {"post": "yes"})
    client.post(page(Group, "add"), {"name": "tea"})
    again = Group.objects.get(name="tea")
    assert not again.members.exists()
    assert not again.sources.exists()
    assert not Source.objects.visible_to(alice).among([again.pk], public=False).exists()


def test_what_only_a_group_can_read_is_asked_in_one_query(tea: Group, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert [found.title for found in knowledge.only_of([tea])] == ["Own"]


@pytest.mark.parametrize("way", ["page", "action", "retire"])
def test_a_user_who_goes_takes_sessions_and_tokens_along(alice: User, way: str) -> None:
    """Attack 8, through the admin site."""
    session = signed_in(alice)
    _, key = Token.objects.issue(Token.Kind.API, alice)
    client = signed_in(administrator())
    if way == "page":
        client.post(page(User, "delete", alice.pk), {"post": "yes"})
    elif way == "action":
        act(client, "delete_selected", [alice], post="yes")
    else:
        act(client, "retire", [alice])
    assert session.get("/").status_code == 302
    assert session.get("/")["Location"].startswith("/sign-in")
    assert Token.objects.all().with_key(key, Token.Kind.API) is None
    assert Client().post("/sign-in", {"email": "alice@example.org", "password": PASSWORD}).status_code == 422


def test_a_password_that_an_administrator_sets_ends_the_api_tokens(alice: User) -> None:
    """Attack 9: as it does through contract 2; relay and agent keys are no log-ins and stay."""
    _, api = Token.objects.issue(Token.Kind.API, alice)
    _, relay = Token.objects.issue(Token.Kind.RELAY, alice)
    client, path = signed_in(administrator()), f"/admin/accounts/user/{alice.pk}/password/"
    new = {"usable_password": "true", "set-password": "1"}
    client.post(path, new | {"password1": "short", "password2": "short"})
    assert Token.objects.all().with_key(api, Token.Kind.API)
    client.post(path, new | {"password1": "quite another password", "password2": "quite another password"})
    assert Token.objects.all().with_key(api, Token.Kind.API) is None
    assert Token.objects.all().with_key(relay, Token.Kind.RELAY)


def test_behind_the_proxy_the_log_has_the_clients_address(settings: object, db: None) -> None:
    """Attack 83: from where."""
    settings.BEHIND_TLS = True  # type: ignore[attr-defined]
    signed_in(administrator()).post(page(Group, "add"), {"name": "Readers"}, headers={"X-Forwarded-For": "203.0.113.9"})
    assert AuditEntry.objects.get().address == "203.0.113.9"
