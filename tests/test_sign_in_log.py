"""Sign-ins, failures, refusals and sign-outs: a line in the log and a row in the audit log, few of a flood."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import signin, signlog
from accounts.models import AuditEntry, User
from privategpt.worker import Worker
from tests.conftest import PASSWORD
from tests.embedding import FakeEmbedding
from tests.pages import browser
from tests.test_second_factor import next_code, pause_is_over, set_up

EMAIL = "alice@example.org"
SECRET = "hunter2 is my password"


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "accounts.signlog")


def rows(action: str) -> list[tuple[str, str, str, int]]:
    found = AuditEntry.objects.filter(action=action).order_by("pk")
    return list(found.values_list("what", "way", "address", "times"))


def enter(client: Client, password: str = PASSWORD, email: str = EMAIL, path: str = "/sign-in") -> int:
    return client.post(path, {"email": email, "password": password}).status_code


DOORS = [("/sign-in", "/sign-out", "browser"), ("/admin/login/", "/admin/logout/", "admin site")]


@pytest.mark.parametrize(("path", "out", "way"), DOORS)
def test_a_sign_in_and_its_end_are_on_the_record(
    alice: User, caplog: pytest.LogCaptureFixture, path: str, out: str, way: str
) -> None:
    User.objects.update(is_staff=True)
    client = browser()
    assert enter(client, path=path) == 302
    assert rows("sign in") == [(EMAIL, way, "127.0.0.1", 1)]
    client.post(out)
    client.post(out)  # nobody signs out twice
    assert rows("sign out") == [(EMAIL, way, "127.0.0.1", 1)]
    assert client.get("/account").status_code == 302
    assert [record.getMessage() for record in caplog.records if record.name == "accounts.signlog"] == [
        f"Sign in: {EMAIL}, from 127.0.0.1, {way}",
        f"Sign out: {EMAIL}, from 127.0.0.1, {way}",
    ]
    assert set(AuditEntry.objects.values_list("actor", flat=True)) == {alice.pk}


def test_failures_and_refusals_are_counted_in_one_row_each(alice: User, settings: Settings) -> None:
    settings.SIGN_IN = settings.SIGN_IN | {"failures": 5}
    for _ in range(9):
        enter(browser(), "wrong")
    assert rows("failed sign-in") == [(EMAIL, "browser", "127.0.0.1", 5)]
    assert rows("lock sign-in") == [(EMAIL, "browser", "127.0.0.1", 1)]
    ((what, *_, times),) = rows("refused sign-in")
    assert what == EMAIL
    assert times >= 1


def test_what_strangers_type_is_not_repeated(db: None, caplog: pytest.LogCaptureFixture) -> None:
    typed = [SECRET, "p@ssw0rd!", "victoria@example.org", "evil\r\nSign in: root@example.org", "\u202eabc@example.org"]
    for text in typed:
        enter(browser(), SECRET, text)
    said = caplog.text + " ".join(str(row) for row in AuditEntry.objects.values_list())
    for secret in (SECRET, "hunter2", "p@ssw0rd", "victoria", "root@", "\u202e"):
        assert secret not in said
    assert {row[0] for row in rows("failed sign-in")} == {"unknown: no address", "unknown: vi…@example.org"}


def test_a_flood_of_unknown_addresses_makes_few_rows(db: None, settings: Settings) -> None:
    settings.SIGN_IN = settings.SIGN_IN | {"failures_per_address": 10_000}
    for number in range(150):
        with pytest.raises(signin.WrongCredentials):
            signin.sign_in(f"{number:03}@n{number}.example.org", "wrong", f"2001:db8:0:{number:x}::1")
    found = rows("failed sign-in")
    assert len(found) == 101
    assert found[-1] == ("unknown: many", "many", "", 50)


def test_a_flood_on_one_account_from_everywhere_makes_few_rows_and_hides_no_other(alice: User, bob: User) -> None:
    for number in range(30):
        signlog.note(signlog.FAILED, alice, way="api", address=f"192.0.2.{number}")
    signlog.note(signlog.FAILED, bob, way="api", address="198.51.100.1")
    found = rows("failed sign-in")
    assert len(found) == 12
    assert (EMAIL, "many", "", 20) in found
    assert ("bob@example.org", "api", "198.51.100.1", 1) in found


def test_codes_are_on_the_record_too_and_a_password_alone_is_no_sign_in(alice: User) -> None:
    set_up(browser(alice))
    client = browser()
    enter(client)
    client.post("/sign-in/code", {"code": "123456"})
    assert (rows("sign in"), rows("wrong code")) == ([], [(EMAIL, "browser", "127.0.0.1", 1)])
    alice.refresh_from_db()
    stranger = browser()
    enter(stranger)
    code = next_code(alice)
    pause_is_over()
    stranger.post("/sign-in/code", {"code": code})
    assert rows("sign in") == [(EMAIL, "browser", "127.0.0.1", 1)]


def test_sessions_that_are_ended_are_on_the_record(alice: User) -> None:
    here, _elsewhere = browser(alice), browser(alice)
    here.post("/account/sessions/end-others")
    here.post("/account/sessions/end-others")
    assert rows("end session") == [(EMAIL, "browser", "127.0.0.1", 1)]


def test_rows_end_after_the_days_that_were_set_and_others_stay(alice: User, settings: Settings) -> None:
    settings.SIGN_IN = settings.SIGN_IN | {"log_days": 7}
    enter(browser())
    enter(browser(), "wrong")
    AuditEntry.objects.create(action="add user", what="x", actor_name="x")
    AuditEntry.objects.update(at=timezone.now() - timedelta(days=6))
    Worker(FakeEmbedding())._tidy()
    assert AuditEntry.objects.count() == 3
    AuditEntry.objects.update(at=timezone.now() - timedelta(days=8))
    Worker(FakeEmbedding())._tidy()
    assert AuditEntry.objects.get().action == "add user"
