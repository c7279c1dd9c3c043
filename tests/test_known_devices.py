"""Strangers' failures do not lock out who was signed in from the same browser or network before."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import signin, signlog
from accounts.devices import COOKIE
from accounts.models import AuditEntry, KnownAddress, User
from tests.conftest import PASSWORD

EMAIL = "alice@example.org"
STRANGER, HOME = "198.51.100.7", "192.0.2.1"


def attempt(client: Client, password: str = PASSWORD, email: str = EMAIL, address: str = STRANGER) -> int:
    """302: signed in; 422: refused."""
    fields = {"email": email, "password": password}
    return client.post("/sign-in", fields, REMOTE_ADDR=address).status_code


def known_browser(email: str = EMAIL) -> Client:
    """Signed in once and out again."""
    client = Client()
    assert attempt(client, email=email, address=HOME) == 302
    client.post("/sign-out")
    return client


def siege(times: int = 11, address: str = STRANGER) -> None:
    for _ in range(times):
        assert attempt(Client(), "wrong", address=address) == 422


def test_a_stranger_locks_strangers_and_not_the_known_browser(alice: User) -> None:
    client = known_browser()
    siege()
    assert attempt(Client()) == 422
    assert attempt(client) == 302


def test_a_known_browser_passes_where_its_network_is_locked_for_everybody(alice: User, settings: Settings) -> None:
    settings.SIGN_IN = settings.SIGN_IN | {"failures_per_address": 5}
    client = known_browser()
    siege(6, HOME)
    assert attempt(Client(), address=HOME) == 422
    assert attempt(client, address=HOME) == 302


def test_guesses_from_a_known_browser_are_counted_for_themselves(alice: User) -> None:
    client = known_browser()
    assert [attempt(client, "wrong") for _ in range(11)] == [422] * 11
    assert attempt(client) == 422
    assert attempt(Client()) == 302  # and lock nobody else out


def test_a_good_sign_in_of_the_owner_does_not_forgive_the_strangers(alice: User) -> None:
    client = known_browser()
    siege()
    assert attempt(client, address=HOME) == 302
    assert attempt(Client()) == 422


def test_a_browser_is_known_to_the_accounts_that_were_signed_in_there(alice: User, bob: User) -> None:
    client = known_browser("bob@example.org")
    siege()
    assert attempt(client) == 422
    both = known_browser("bob@example.org")
    both.cookies[COOKIE] = client.cookies[COOKIE].value
    assert attempt(both) == 422


def test_a_cookie_that_was_made_up_is_nobodys(alice: User) -> None:
    siege()
    for made_up in ("x", "x:y", "W10:x", "é", "\0", ":" * 2000):
        client = Client()
        client.cookies[COOKIE] = made_up
        assert attempt(client) == 422


@pytest.mark.parametrize("way", ["password", "retired"])
def test_a_new_password_or_the_end_of_the_account_forgets_the_browser(alice: User, way: str) -> None:
    client = known_browser()
    if way == "password":
        alice.set_password("another good sentence")
        alice.save()
    else:
        alice.retire()
        alice.reactivate()
    siege()
    assert attempt(client, "another good sentence" if way == "password" else PASSWORD) == 422


def test_who_changes_the_password_stays_known_in_that_browser(alice: User) -> None:
    client = Client()
    attempt(client, address=HOME)
    client.post("/account/password", {"present": PASSWORD, "new": "another good sentence"}, REMOTE_ADDR=HOME)
    client.post("/sign-out")
    siege()
    assert attempt(client, "another good sentence") == 302


def test_strangers_do_not_keep_the_owner_from_a_new_password(alice: User) -> None:
    client = Client()
    attempt(client, address=HOME)
    siege()
    wrong, right = ({"present": present, "new": "another good sentence"} for present in ("wrong", PASSWORD))
    elsewhere = "203.0.113.50"
    assert client.post("/account/password", wrong, REMOTE_ADDR=elsewhere).status_code == 422
    noted = AuditEntry.objects.get(action=signlog.FAILED, address=elsewhere)
    assert (noted.what, noted.way) == (EMAIL, "browser")
    assert client.post("/account/password", right, REMOTE_ADDR=elsewhere).status_code == 302


def test_the_cookie_is_out_of_scripts_reach(alice: User) -> None:
    cookie = known_browser().cookies[COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert alice.pk.hex not in cookie.value


# -- programs, which keep no cookies: by the network that signed in before ----------------------------


def opens(password: str, address: str) -> bool:
    try:
        signin.sign_in(EMAIL, password, address)
    except (signin.WrongCredentials, signin.Locked):
        return False
    return True


def test_a_program_signs_in_from_where_it_did_before_while_strangers_are_locked(alice: User) -> None:
    assert opens(PASSWORD, HOME)
    siege()
    assert not opens(PASSWORD, "203.0.113.9")
    assert opens(PASSWORD, HOME)


def test_a_known_network_is_counted_too_and_stays_locked_with_everybody_in_it(
    alice: User, bob: User, settings: Settings
) -> None:
    assert opens(PASSWORD, HOME)
    assert not any(opens("wrong", HOME) for _ in range(10))
    assert not opens(PASSWORD, HOME)
    settings.SIGN_IN = settings.SIGN_IN | {"failures_per_address": 5}
    with pytest.raises(signin.Locked):
        signin.sign_in("bob@example.org", PASSWORD, HOME)


def test_a_new_password_forgets_the_networks_and_their_number_is_bounded(alice: User) -> None:
    for number in range(60):
        assert opens(PASSWORD, f"2001:db8:0:{number:x}::1")
    assert KnownAddress.objects.count() == 50
    alice.set_password("another good sentence")
    alice.save()
    siege()
    assert not opens("another good sentence", "2001:db8:0:3b::1")
