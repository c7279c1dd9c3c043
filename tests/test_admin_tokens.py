"""Keys in the admin site: shown once, never again, and no better than their user."""

import logging
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from accounts import revocation
from accounts.models import AuditEntry, Session, Token, User
from tests.admin_site import act, administrator, page, signed_in, staff


@pytest.fixture
def manager(db: None) -> User:
    return staff("users")


@pytest.fixture
def maker(db: None) -> User:
    """Who may make a key of every kind, for themselves."""
    return staff("users", "system", email="maker@example.org")


def add(client: Client, **fields: Any) -> Any:
    return client.post(page(Token, "add"), {"kind": "relay", "user": "", "name": "a key", "days": ""} | fields)


def shown_key(response: Any) -> str:
    """The key on the page."""
    found: str = response.content.decode().partition('<code id="new-key">')[2].partition("</code>")[0]
    return found


@pytest.mark.parametrize("kind", list(Token.Kind))
def test_the_new_key_is_shown_and_opens_the_door(maker: User, kind: Token.Kind) -> None:
    response = add(signed_in(maker), kind=kind, user=str(maker.pk), days="30")
    token = Token.objects.all().with_key(shown_key(response), kind)
    assert token is not None
    assert token.user == maker
    assert token.expires_at is not None
    assert timedelta(days=29) < token.expires_at - timezone.now() <= timedelta(days=30)


@pytest.mark.parametrize("kind", list(Token.Kind))
def test_the_key_is_shown_once_and_kept_nowhere(
    maker: User, kind: Token.Kind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = signed_in(maker)
    response = add(client, kind=kind, user=str(maker.pk))
    key = shown_key(response)
    assert key
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    token = Token.objects.get()
    paths = [
        page(Token, "changelist"),
        page(Token, "add"),
        page(Token, "change", token.pk),
        page(Token, "history", token.pk),
        page(Token, "delete", token.pk),
        page(User, "change", maker.pk),
        "/admin/",
    ]
    secret = key.rpartition("|")[2]
    later = [client.get(path) for path in paths]
    assert [found.status_code for found in later] == [200] * len(paths)
    kept = [found.content.decode() for found in later]
    kept += [str(cookie) for cookie in client.cookies.values()]
    kept += [str(session.get_decoded()) for session in Session.objects.all()]
    kept += [f"{entry.object_repr} {entry.change_message}" for entry in LogEntry.objects.all()]
    kept += [f"{entry} {entry.what}" for entry in AuditEntry.objects.all()]
    kept += caplog.messages
    assert not [text for text in kept if secret in text]


def test_no_digest_and_no_sealed_key_is_shown_or_can_be_searched_for(alice: User) -> None:
    client = signed_in(administrator())
    token, _ = Token.objects.issue(Token.Kind.RELAY, alice)
    for path in (page(Token, "changelist"), page(Token, "change", token.pk)):
        shown = client.get(path).content.decode()
        assert token.sealed not in shown
        assert token.digest.hex() not in shown
    for secret in ("sealed__startswith=g", "digest__gt=0", "user__password__startswith=md5"):
        assert client.get(f"{page(Token, 'changelist')}?{secret}").status_code == 400


@pytest.mark.parametrize("kind", [Token.Kind.RELAY, Token.Kind.API])
def test_an_askers_key_without_a_user_is_refused(manager: User, kind: Token.Kind) -> None:
    response = add(signed_in(manager), kind=kind)
    assert "belong to nobody" in response.content.decode()
    assert not Token.objects.exists()


@pytest.mark.parametrize(
    "wrong", [{"kind": "root"}, {"days": "0"}, {"days": "-1"}, {"days": "99999"}, {"user": "nobody"}, {"kind": ""}]
)
def test_a_form_with_a_wrong_value_makes_no_key(manager: User, wrong: dict[str, str]) -> None:
    response = add(signed_in(manager), **{"user": str(manager.pk)} | wrong)
    assert response.status_code == 200
    assert not shown_key(response)
    assert not Token.objects.exists()


def test_a_retired_user_gets_no_key(manager: User, alice: User) -> None:
    alice.retire()
    assert not shown_key(add(signed_in(manager), user=str(alice.pk)))


def test_nobody_makes_a_key_for_somebody_with_more_rights(manager: User) -> None:
    root = administrator()
    response = add(signed_in(manager), kind="api", user=str(root.pk))
    assert response.status_code == 403
    assert not Token.objects.exists()


def test_only_name_and_expiry_can_be_changed(manager: User, alice: User, bob: User) -> None:
    token, key = Token.objects.issue(Token.Kind.RELAY, alice, name="old")
    until = {"expires_at_0": "2031-01-02", "expires_at_1": "03:04:05"}
    forged = {"kind": "agent", "user": str(bob.pk), "digest": "00", "sealed": "x", "hint": "abcd", "revoked_at": ""}
    response = signed_in(manager).post(page(Token, "change", token.pk), {"name": "new", **until, **forged})
    assert response.status_code == 302
    changed = Token.objects.get()
    assert (changed.name, changed.kind, changed.user, changed.sealed) == ("new", "relay", alice, token.sealed)
    assert changed.expires_at is not None
    assert changed.expires_at.year == 2031
    assert Token.objects.all().with_key(key, Token.Kind.RELAY) == token


def test_a_superusers_key_is_beyond_a_user_administrator(manager: User) -> None:
    client = signed_in(manager)
    token, key = Token.objects.issue(Token.Kind.RELAY, administrator())
    assert client.post(page(Token, "change", token.pk), {"name": "mine"}).status_code == 403
    assert client.post(page(Token, "delete", token.pk), {"post": "yes"}).status_code == 403
    assert "Nothing was done" in act(client, "revoke", [token]).content.decode()
    assert Token.objects.all().with_key(key, Token.Kind.RELAY) == token


def test_a_revoked_key_opens_nothing(manager: User, alice: User) -> None:
    token, key = Token.objects.issue(Token.Kind.RELAY, alice)
    other, other_key = Token.objects.issue(Token.Kind.RELAY, alice)
    act(signed_in(manager), "revoke", [token])
    token.refresh_from_db()
    assert token.state == "revoked"
    assert token.sealed == ""
    assert Token.objects.all().with_key(key, Token.Kind.RELAY) is None
    assert Token.objects.all().with_key(other_key, Token.Kind.RELAY) == other


def test_a_deleted_key_opens_nothing(manager: User, alice: User) -> None:
    token, key = Token.objects.issue(Token.Kind.RELAY, alice)
    assert signed_in(manager).post(page(Token, "delete", token.pk), {"post": "yes"}).status_code == 302
    assert Token.objects.all().with_key(key, Token.Kind.RELAY) is None


def test_reading_tokens_is_not_revoking_them(alice: User) -> None:
    token, _ = Token.objects.issue(Token.Kind.RELAY, alice)
    act(signed_in(staff("system")), "revoke", [token])
    token.refresh_from_db()
    assert token.state == "live"


def test_the_list_can_be_searched_and_filtered(manager: User, alice: User, bob: User) -> None:
    token, _ = Token.objects.issue(Token.Kind.RELAY, alice, name="laptop")
    Token.objects.issue(Token.Kind.API, bob, name="server")
    ended, _ = Token.objects.issue(Token.Kind.AGENT, name="gone")
    Token.objects.filter(pk=ended.pk).revoke()
    client = signed_in(manager)

    def found(query: str) -> list[str]:
        return [row.name for row in client.get(f"{page(Token, 'changelist')}?{query}").context["cl"].queryset]

    assert found("q=laptop") == found("q=alice@example.org") == ["laptop"]
    assert found(f"q={token.hint}") == ["laptop"]
    assert found("kind__exact=api") == ["server"]
    assert found("state=ended") == ["gone"]
    assert set(found("state=usable")) == {"laptop", "server"}


# -- another date -----------------------------------------------------------------------------------


class Told:
    """Another process, and a memory of this one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.others: list[int] = []
        self.here: list[int] = []
        monkeypatch.setattr(revocation, "_couriers", [self.others.extend])
        revocation.remembers(self)

    def forget(self, tokens: Collection[int]) -> None:
        self.here.extend(tokens)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("days", "has_ended"), [(30, False), (-1, True)])
def test_an_agents_key_ends_by_a_date_that_has_passed_and_by_no_other(
    monkeypatch: pytest.MonkeyPatch, days: int, has_ended: bool
) -> None:
    """Ending it throws its agent off."""
    root = administrator()
    token, _ = Token.objects.issue(Token.Kind.AGENT, root, days=1)
    told, date = Told(monkeypatch), timezone.now() + timedelta(days=days)
    form = {"name": "", "expires_at_0": f"{date:%Y-%m-%d}", "expires_at_1": "00:00:00"}
    assert signed_in(root).post(page(Token, "change", token.pk), form).status_code == 302
    assert told.others == ([token.pk] if has_ended else [])
    assert told.here == [token.pk]
