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
from django.utils import timezone
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


def next_code(user: User) -> str:
    """What it shows a while later, when the codes that were used are long over."""
    TOTPDevice.objects.filter(user=user).update(last_t=-1)
    return code(user)


def set_up(client: Client, password: str = PASSWORD, **more: Any) -> Any:
    """The password, then the first code: the page that this leads to."""
    page = client.post("/account/second-factor", {"password": password})
    proof = re.search(r'name="proof" value="([^"]+)"', page.content.decode())
    user = User.objects.get(pk=client.session["_auth_user_id"])
    if proof is None:
        return page
    return client.post("/account/second-factor", {"proof": proof[1], "code": code(user), **more})


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


def pause() -> None:
    """As after many wrong codes a moment ago."""
    TOTPDevice.objects.update(throttling_failure_count=100, throttling_failure_timestamp=timezone.now())


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the codes stands in the middle of a window."""
    now = time.time() // 30 * 30 + 15
    monkeypatch.setattr(time, "time", lambda: now)


@pytest.fixture
def sheet(alice: User) -> list[str]:
    """Alice's recovery codes, as the page shows them once she has a second factor."""
    shown = set_up(browser(alice))
    assert "no-store" in shown["Cache-Control"]
    return CODE.findall(shown.content.decode())


@pytest.fixture
def guarded(alice: User, sheet: list[str]) -> User:
    """Alice with a second factor."""
    assert secondfactor.is_on(alice)
    alice.refresh_from_db()  # turning it on ended her older sessions
    return alice


# -- the app -------------------------------------------------------------------------------------


def test_the_password_alone_signs_nobody_in_who_has_a_second_factor(guarded: User) -> None:
    client = password_only()
    assert client.get("/account").status_code == 302
    fields = {"username": "alice@example.org", "password": PASSWORD}
    assert browser().post("/admin/login/", fields)["Location"] == "/sign-in/code"


def test_the_code_finishes_the_sign_in_and_counts_once(guarded: User) -> None:
    shown = next_code(guarded)
    client, second = password_only(), password_only()
    assert client.post("/sign-in/code", {"code": f"{shown[:3]} {shown[3:]}"})["Location"] == "/account"
    assert client.get("/account").status_code == 200
    assert second.post("/sign-in/code", {"code": shown}).status_code == 422
    assert second.get("/account").status_code == 302


@pytest.mark.parametrize(("steps", "status"), [(1, 422), (0, 302), (-1, 302), (-2, 422), (2, 422)])
def test_only_the_present_and_the_former_code_count(guarded: User, steps: int, status: int) -> None:
    next_code(guarded)
    assert try_code(code(guarded, steps)) == status


def test_a_code_counts_once_also_the_one_before_it_and_the_one_that_turned_it_on(guarded: User) -> None:
    assert try_code(code(guarded)) == 422
    pause_is_over()
    shown = next_code(guarded)
    assert try_code(shown) == 302
    for used in (shown, code(guarded, -1)):
        assert try_code(used) == 422
        pause_is_over()


def test_a_clock_that_was_moved_by_a_guess_lets_no_other_codes_in(guarded: User) -> None:
    next_code(guarded)
    TOTPDevice.objects.update(drift=5)
    assert try_code(code(guarded)) == 422


def test_after_a_wrong_code_even_the_right_one_has_to_wait(guarded: User) -> None:
    assert try_code("000000") == 422
    TOTPDevice.objects.update(throttling_failure_timestamp=timezone.now())
    assert try_code(next_code(guarded)) == 422
    pause_is_over()
    assert try_code(next_code(guarded)) == 302


def test_the_pause_grows_to_minutes_and_no_further(guarded: User) -> None:
    long_ago = timezone.now() - timedelta(minutes=10)
    TOTPDevice.objects.update(throttling_failure_count=1000, throttling_failure_timestamp=long_ago)
    assert try_code(next_code(guarded)) == 302
    pause()
    assert try_code(next_code(guarded)) == 422


def test_a_browser_that_was_signed_in_before_passes_in_the_pause(guarded: User) -> None:
    client = password_only()
    assert client.post("/sign-in/code", {"code": next_code(guarded)}).status_code == 302
    client.post("/sign-out")
    pause()
    assert try_code(next_code(guarded)) == 422
    client.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    assert client.post("/sign-in/code", {"code": next_code(guarded)}).status_code == 302


def test_guesses_in_a_known_browser_are_counted_for_themselves_and_then_wait_as_all_do(guarded: User) -> None:
    client = password_only()
    client.post("/sign-in/code", {"code": next_code(guarded)})
    client.post("/sign-out")
    client.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    assert [client.post("/sign-in/code", {"code": "000000"}).status_code for _ in range(6)] == [422] * 6
    assert Authenticator.objects.get().throttling_failure_count == 1
    pause()
    assert client.post("/sign-in/code", {"code": next_code(guarded)}).status_code == 422
    assert AuditEntry.objects.filter(action="wrong codes in a row").count() == 1


def test_a_browser_known_before_there_was_a_second_factor_is_not_known_any_more(alice: User) -> None:
    old = browser()
    old.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    old.post("/sign-out")
    set_up(browser(alice))
    pause()
    old.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD})
    assert old.post("/sign-in/code", {"code": next_code(alice)}).status_code == 422


@pytest.mark.parametrize("end", ["new password", "retired", "deactivated", "all sessions ended"])
def test_a_half_way_sign_in_ends_with_what_ends_sessions(guarded: User, sheet: list[str], end: str) -> None:
    clients = password_only(), password_only()
    assert clients[0].get("/sign-in/code").status_code == 200
    if end == "new password":
        guarded.set_password("another good sentence")
        guarded.save()
    elif end == "deactivated":
        User.objects.filter(pk=guarded.pk).update(is_active=False)
    else:
        guarded.retire()
        if end == "all sessions ended":
            guarded.reactivate()
    for client, shown in zip(clients, (next_code(guarded), sheet[0]), strict=True):
        assert client.post("/sign-in/code", {"code": shown})["Location"] == "/sign-in"
        assert client.get("/account").status_code == 302


def test_wrong_codes_of_both_kinds_make_the_pause_longer_and_raise_an_alarm_once(guarded: User) -> None:
    for wrong in ("000000", "0000 0000 0000", "1", "", "1234 5678 9012", "000000"):
        assert try_code(wrong) == 422
        pause_is_over()
    assert Authenticator.objects.get().throttling_failure_count == 6
    assert AuditEntry.objects.filter(action="wrong codes in a row", what="alice@example.org").count() == 1


def test_a_code_without_a_password_before_it_is_worth_nothing(guarded: User, sheet: list[str]) -> None:
    for shown in (next_code(guarded), sheet[0]):
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


def test_a_recovery_code_passes_in_the_pause_of_any_wrong_codes(guarded: User, sheet: list[str]) -> None:
    for wrong in ("000000", "0000 0000 0000", "1234 5678 9012"):
        assert try_code(wrong) == 422
    pause()
    assert try_code(sheet[5]) == 302
    assert try_code(sheet[5]) == 422
    assert try_code(next_code(guarded)) == 422  # for all else the pause goes on


def test_guesses_at_recovery_codes_are_bounded_for_a_network(
    guarded: User, sheet: list[str], settings: Settings
) -> None:
    settings.SIGN_IN = settings.SIGN_IN | {"failures_per_address": 3}
    assert [try_code("1234 5678 9012") for _ in range(3)] == [422] * 3
    assert try_code(sheet[0]) == 422
    client = password_only()
    assert client.post("/sign-in/code", {"code": sheet[0]}, REMOTE_ADDR="192.0.2.9").status_code == 302


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
