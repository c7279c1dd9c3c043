"""Sessions end when they are idle, and some time after the sign-in; then their rows go."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from accounts.sessions import Session, row_key
from privategpt.worker import Worker
from tests.conftest import PASSWORD
from tests.embedding import FakeEmbedding
from tests.pages import browser

HOUR = timedelta(hours=1)


def passed(time: timedelta) -> None:
    """As if so much time had passed since anything was done."""
    Session.objects.update(
        created_at=F("created_at") - time, used_at=F("used_at") - time, expire_date=F("expire_date") - time
    )


def is_in(client: Client) -> bool:
    return client.get("/account").status_code == 200


def test_a_session_ends_when_nobody_uses_it(alice: User) -> None:
    client = browser(alice)
    passed(71 * HOUR)
    assert is_in(client)
    passed(71 * HOUR)
    assert is_in(client)
    passed(73 * HOUR)
    assert not is_in(client)


def test_it_ends_some_time_after_the_sign_in_whatever_it_does(alice: User) -> None:
    client = browser(alice)
    for _ in range(13):
        passed(24 * HOUR)
        client.post("/account/you", {"name": "Alice"})  # the message is in the session, which is saved
        assert is_in(client)
    passed(25 * HOUR)
    assert not is_in(client)


@pytest.mark.parametrize("setting", ["SESSION_IDLE", "SESSION_COOKIE_AGE"])
def test_shorter_settings_hold_for_sessions_that_are_there(alice: User, settings: Settings, setting: str) -> None:
    client = browser(alice)
    passed(2 * HOUR)
    setattr(settings, setting, HOUR if setting == "SESSION_IDLE" else 3600)
    assert not is_in(client)
    assert not Session.objects.of(alice).exists()


def test_an_idle_one_is_in_no_list_and_keeps_no_line_open(alice: User) -> None:
    idle, here = browser(alice), browser(alice)
    Session.objects.filter(pk=row_key(idle.session.session_key)).update(used_at=timezone.now() - 73 * HOUR)
    assert Session.objects.of(alice).count() == 1
    assert Session.objects.still_holds(here.session)
    assert not is_in(idle)


def test_the_worker_takes_away_what_is_over_and_nothing_else(alice: User) -> None:
    for _ in range(3):
        browser(alice)
    anonymous = Client().session
    anonymous["seen"] = 1
    anonymous.save()
    passed(73 * HOUR)
    here = browser()
    here.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    Worker(FakeEmbedding())._tidy()
    assert list(Session.objects.values_list("pk", flat=True)) == [row_key(here.session.session_key)]


def test_a_step_is_small(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.sessions.SWEPT", 2)
    for _ in range(3):
        browser(alice)
    passed(73 * HOUR)
    assert [Session.objects.purge() for _ in range(3)] == [2, 1, 0]
