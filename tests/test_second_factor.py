"""The second factor: codes from an app, recovery codes, and what the database and the administrators see of them."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from accounts import secondfactor
from accounts.models import AuditEntry, Authenticator, RecoveryCode, User
from tests.admin_site import act
from tests.conftest import PASSWORD
from tests.pages import browser, text

CODE = re.compile(r"\d{4} \d{4} \d{4}")
MIGRATION = import_module("accounts.migrations.0005_second_factor")


def code(user: User, steps: int = 0) -> str:
    """What the user's app shows, so many steps from now."""
    device: Any = Authenticator.objects.get(user=user)
    clock = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    clock.time = time.time() + steps * device.step
    return f"{clock.token():06d}"


def password_only(email: str = "alice@example.org") -> Client:
    client = browser()
    client.post("/sign-in", {"email": email, "password": PASSWORD, "next": "/account"})
    return client


def try_code(shown: str) -> int:
    """The status of a sign-in whose password is right."""
    return password_only().post("/sign-in/code", {"code": shown}).status_code


def pause_is_over() -> None:
    """As if nobody had tried for a day."""
    for device in TOTPDevice.objects.exclude(throttling_failure_timestamp=None):
        device.throttling_failure_timestamp -= timedelta(days=1)
        device.save()


@pytest.fixture
def sheet(alice: User) -> list[str]:
    """Alice's recovery codes, as the page shows them once she has a second factor."""
    client = browser(alice)
    page = client.get("/account/second-factor")
    assert "<svg" in page.content.decode()
    shown = client.post("/account/second-factor", {"code": code(alice)})
    assert "no-store" in shown["Cache-Control"]
    return CODE.findall(shown.content.decode())


@pytest.fixture
def guarded(alice: User, sheet: list[str]) -> User:
    """Alice with a second factor."""
    assert secondfactor.is_on(alice)
    return alice


# -- the app -------------------------------------------------------------------------------------


def test_a_wrong_first_code_does_not_turn_it_on(alice: User) -> None:
    client = browser(alice)
    client.get("/account/second-factor")
    assert client.post("/account/second-factor", {"code": "x"}).status_code == 422
    assert not secondfactor.is_on(alice)


def test_the_password_alone_signs_nobody_in_who_has_a_second_factor(guarded: User) -> None:
    client = password_only()
    assert client.get("/account").status_code == 302
    fields = {"username": "alice@example.org", "password": PASSWORD}
    assert browser().post("/admin/login/", fields)["Location"] == "/sign-in/code"


def test_the_code_finishes_the_sign_in_and_counts_once(guarded: User) -> None:
    shown = code(guarded, 1)
    client, second = password_only(), password_only()
    assert client.post("/sign-in/code", {"code": f"{shown[:3]} {shown[3:]}"})["Location"] == "/account"
    assert client.get("/account").status_code == 200
    assert second.post("/sign-in/code", {"code": shown}).status_code == 422
    assert second.get("/account").status_code == 302


def test_after_a_wrong_code_even_the_right_one_has_to_wait(guarded: User, sheet: list[str]) -> None:
    assert try_code("000000") == 422
    assert try_code(code(guarded, 1)) == 422
    assert try_code(sheet[0]) == 422
    pause_is_over()
    assert try_code(code(guarded, 1)) == 302


def test_wrong_codes_of_both_kinds_make_the_pause_longer_and_raise_an_alarm_once(guarded: User) -> None:
    for wrong in ("000000", "0000 0000 0000", "1", "", "1234 5678 9012", "000000"):
        assert try_code(wrong) == 422
        pause_is_over()
    assert Authenticator.objects.get().throttling_failure_count == 6
    assert AuditEntry.objects.filter(action="wrong codes in a row", what="alice@example.org").count() == 1


def test_a_code_without_a_password_before_it_is_worth_nothing(guarded: User, sheet: list[str]) -> None:
    for shown in (code(guarded, 1), sheet[0]):
        assert browser().post("/sign-in/code", {"code": shown})["Location"] == "/sign-in"


def test_turning_it_off_takes_the_password(guarded: User) -> None:
    client = browser(guarded)
    client.post("/account/second-factor/off", {"password": "wrong"})
    assert secondfactor.is_on(guarded)
    client.post("/account/second-factor/off", {"password": PASSWORD})
    assert not secondfactor.is_on(guarded)
    assert not RecoveryCode.objects.exists()
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"turn on second factor", "turn off second factor"} <= actions


# -- recovery codes ------------------------------------------------------------------------------


def test_ten_recovery_codes_are_shown_once_and_kept_as_digests(guarded: User, sheet: list[str]) -> None:
    assert len(set(sheet)) == 10
    page = browser(guarded).get("/account")
    assert "10 recovery codes are left." in text(page)
    assert not CODE.search(page.content.decode())
    kept = " ".join(RecoveryCode.objects.values_list("digest", flat=True))
    assert not [shown for shown in sheet if shown.replace(" ", "") in kept]


def test_a_recovery_code_signs_in_once(guarded: User, sheet: list[str]) -> None:
    client = password_only()
    page = client.post("/sign-in/code", {"code": sheet[3]}, follow=True)
    assert "9 recovery codes are left." in text(page)
    assert try_code(sheet[3]) == 422
    pause_is_over()
    assert try_code(sheet[4].replace(" ", "")) == 302
    assert AuditEntry.objects.filter(action="use recovery code", actor=guarded).count() == 2


def test_new_recovery_codes_take_the_password_and_void_the_old_ones(guarded: User, sheet: list[str]) -> None:
    client = browser(guarded)
    client.post("/account/second-factor/codes", {"password": "wrong"})
    assert try_code(sheet[0]) == 302
    fresh = CODE.findall(client.post("/account/second-factor/codes", {"password": PASSWORD}).content.decode())
    assert len(fresh) == 10
    assert try_code(sheet[1]) == 422
    pause_is_over()
    assert try_code(fresh[1]) == 302
    assert AuditEntry.objects.filter(action="make recovery codes").count() == 1


def test_nobody_without_a_second_factor_gets_recovery_codes(alice: User) -> None:
    page = browser(alice).post("/account/second-factor/codes", {"password": PASSWORD})
    assert page["Location"] == "/account"
    assert not RecoveryCode.objects.exists()


def test_nobody_signs_in_with_the_code_of_somebody_else(guarded: User, sheet: list[str], bob: User) -> None:
    secondfactor.begin(bob)
    assert secondfactor.confirm(bob, code(bob))
    client = password_only("bob@example.org")
    assert client.post("/sign-in/code", {"code": sheet[0]}).status_code == 422


# -- what the database gives away ----------------------------------------------------------------


def test_the_secret_is_sealed_for_its_user_alone(guarded: User, bob: User, settings: Settings) -> None:
    device = Authenticator.objects.get()
    secret = device.secret
    assert secret is not None
    assert len(secret) == 20
    assert secret.hex() not in device.key
    TOTPDevice.objects.update(user=bob)
    assert Authenticator.objects.get().secret is None
    assert not Authenticator.objects.get().verify_token("000000")
    TOTPDevice.objects.update(user=guarded)
    settings.SECRET_KEY = "another"
    assert Authenticator.objects.get().secret is None


def test_secrets_from_before_are_sealed_by_the_migration_which_may_run_twice(alice: User) -> None:
    device = TOTPDevice.objects.create(user=alice, name="app", confirmed=True)
    clear = device.key
    MIGRATION.seal(apps, None)
    MIGRATION.seal(apps, None)
    sealed = Authenticator.objects.get()
    assert sealed.bin_key.hex() == clear
    assert sealed.key != clear
    assert try_code(code(alice)) == 302
    MIGRATION.unseal(apps, None)
    assert TOTPDevice.objects.get().key == clear


# -- administrators ------------------------------------------------------------------------------


@pytest.fixture
def boss(db: None) -> User:
    return User.objects.create_user("boss@example.org", PASSWORD, is_staff=True, roles=["users"])


def test_an_administrator_turns_it_off_for_who_lost_the_app_and_sees_no_secret(
    guarded: User, boss: User, bob: User
) -> None:
    device = Authenticator.objects.get()
    listed = browser(boss).get(f"/admin/accounts/authenticator/{device.pk}/change/")
    assert listed.status_code == 200
    for secret in (device.key, device.bin_key.hex(), secondfactor.secret(device)):
        assert secret not in listed.content.decode()
    path = f"/admin/accounts/authenticator/{device.pk}/delete/"
    assert browser(bob).post(path, {"post": "yes"}).status_code == 302
    assert secondfactor.is_on(guarded)
    browser(boss).post(path, {"post": "yes"})
    assert not secondfactor.is_on(guarded)
    assert AuditEntry.objects.filter(actor=boss, action="delete second factor").exists()


def test_an_administrator_turns_it_off_from_the_list_of_users(guarded: User, boss: User, bob: User) -> None:
    act(browser(boss), "turn_off_second_factor", [guarded, bob])
    assert not secondfactor.is_on(guarded)
    assert AuditEntry.objects.filter(actor=boss, action="turn off second factor of user").count() == 1


def test_nobody_turns_off_their_own_or_a_superiors_in_the_admin_site(guarded: User, boss: User) -> None:
    secondfactor.begin(boss)
    assert secondfactor.confirm(boss, code(boss))
    User.objects.filter(pk=guarded.pk).update(is_superuser=True)
    for device in Authenticator.objects.all():
        browser(boss).post(f"/admin/accounts/authenticator/{device.pk}/delete/", {"post": "yes"})
    act(browser(boss), "turn_off_second_factor", [boss])
    act(browser(boss), "turn_off_second_factor", [guarded])
    assert Authenticator.objects.count() == 2


def test_django_otps_own_pages_which_show_the_key_are_closed(guarded: User, boss: User) -> None:
    assert browser(boss).get("/admin/otp_totp/totpdevice/").status_code == 404


def test_the_command_lets_in_the_administrator_whom_nobody_else_can(guarded: User, bob: User) -> None:
    call_command("secondfactor", "off", "alice@example.org")
    assert not secondfactor.is_on(guarded)
    assert AuditEntry.objects.filter(action="turn off second factor", way="command").exists()
    for wrong in ("bob@example.org", "nobody@example.org"):
        with pytest.raises(CommandError):
            call_command("secondfactor", "off", wrong)
