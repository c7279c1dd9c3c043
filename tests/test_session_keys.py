"""A session's key is in its browser only: the server keeps a digest, which opens nothing."""

from __future__ import annotations

from importlib import import_module

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings
from django.core import serializers
from django.test import Client

from accounts.models import Session, User
from accounts.sessions import SessionStore
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def signed_in() -> Client:
    client = Client(headers={"accept": "text/html"})
    client.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    return client


def with_cookie(value: str) -> Client:
    client = Client(headers={"accept": "text/html"})
    client.cookies[settings.SESSION_COOKIE_NAME] = value
    return client


def is_in(client: Client) -> bool:
    return client.get("/account").status_code == 200


def test_no_table_holds_the_key(alice: User) -> None:
    """And so no backup does."""
    key = signed_in().cookies[settings.SESSION_COOKIE_NAME].value
    assert is_in(with_cookie(key))
    rows = [row for model in apps.get_models() for row in model._base_manager.all()]
    assert key not in serializers.serialize("json", rows)
    row = Session.objects.of(alice).get()
    assert (len(row.pk), key in row.pk) == (40, False)


def test_what_the_table_holds_opens_nothing(alice: User) -> None:
    client = signed_in()
    row = Session.objects.of(alice).get()
    for guess in (row.pk, row.pk[:32], row.session_data, "", "\0" * 32, "x" * 10_000):
        assert not is_in(with_cookie(guess))
    assert is_in(client)
    assert Session.objects.of(alice).count() == 1


def test_the_digest_is_of_this_servers_secret(alice: User, settings: object) -> None:
    client = signed_in()
    settings.SECRET_KEY = "another secret key that is long enough for it"  # type: ignore[attr-defined]
    assert not is_in(client)


def test_signing_out_and_ending_others_find_their_rows(alice: User) -> None:
    first, second, third = signed_in(), signed_in(), signed_in()
    assert Session.objects.of(alice).count() == 3
    first.post("/sign-out")
    assert Session.objects.of(alice).count() == 2
    assert not is_in(first)
    second.post("/account/sessions/end-others")
    assert (is_in(second), is_in(third)) == (True, False)
    assert Session.objects.of(alice).count() == 1


def test_a_key_that_a_stranger_planted_is_not_taken_up(alice: User) -> None:
    client = with_cookie("planted" * 5)
    client.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != "planted" * 5
    assert is_in(client)
    assert not is_in(with_cookie("planted" * 5))


def test_asynchronous_views_take_the_same_way(alice: User) -> None:
    store = SessionStore()

    async def goes_round() -> None:
        await store.aset("colour", "green")
        await store.asave()
        again = SessionStore(store.session_key)
        assert await again.aget("colour") == "green"
        assert await again.aexists(str(store.session_key))
        assert not await again.aexists("nobody")
        await again.acycle_key()
        assert not await SessionStore().aexists(str(store.session_key))
        await again.aflush()

    async_to_sync(goes_round)()
    assert not Session.objects.exists()


def test_an_upgrade_ends_the_sessions_whose_keys_were_kept(alice: User) -> None:
    client = signed_in()
    migration = import_module("accounts.migrations.0007_end_sessions")
    migration.end_sessions(apps, None)
    assert not Session.objects.exists()
    assert not is_in(client)
