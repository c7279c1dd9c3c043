"""Passwords that are known or made of names are taken nowhere; one password in two Unicode forms is one password."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts import passwords
from accounts.models import User
from tests.admin_site import administrator, page, signed_in, user_fields
from tests.conftest import PASSWORD
from tests.pages import browser
from tests.running import manage

EASY = [
    "Switchboard2026",
    "Password123!",
    "P@ssw0rd!2026",
    "sw1tchb0ard!",
    "2026-Switch-Board",
    "draobhctiws1",
    "Passwort2026",
    "drowssap1",
    "monkey1monkey1",
    "SwitchboardAdmin1!",
    "MyPassword2026",
    "Summer2026!",
    "qwertz123456",
    "abcd1234",
    "aaaaaaaa1",
    "31.12.1999",
    "Alice2026!!",
    "Liddell1862",
    "2026Example!",
    "Intranet2026!",
    "\uff30\uff41\uff53\uff53\uff57\uff4f\uff52\uff44123",
]
GOOD = [
    "correct horse battery staple",
    "k7#mQ2x!9z",
    "Switchboard connects people",
    "alice-8f3k2j9x",
    "東京タワーが大好き",
]
NEW = "quite another sentence"
NFC, NFD = "Bücher für München", unicodedata.normalize("NFD", "Bücher für München")


@pytest.fixture
def liddell(alice: User, settings: Settings) -> User:
    settings.ALLOWED_HOSTS = ["testserver", "intranet.acme.example"]
    alice.name = "Alice Liddell"
    alice.save()
    return alice


def take_at_account(user: User, new: str) -> int:
    fields = {"present": PASSWORD, "new": new}
    return browser(user).post("/account/password", fields).status_code


@pytest.mark.parametrize("easy", EASY)
def test_the_account_page_takes_no_easy_password(liddell: User, easy: str) -> None:
    assert take_at_account(liddell, easy) == 422
    liddell.refresh_from_db()
    assert liddell.check_password(PASSWORD)


@pytest.mark.parametrize("good", GOOD)
def test_the_account_page_takes_good_ones(liddell: User, good: str) -> None:
    assert take_at_account(liddell, good) == 302


def test_two_characters_for_one_letter_make_no_password_longer(alice: User) -> None:
    assert take_at_account(alice, unicodedata.normalize("NFD", "éüöäñ")) == 422


def test_the_admin_site_takes_none_for_a_new_user_nor_for_one_that_is_there(liddell: User) -> None:
    client = signed_in(administrator())
    added = user_fields(email="bob@example.org", name="Bob", usable_password="true")
    for easy in ("Switchboard2026", "Bob2026!bob"):
        client.post(page(User, "add"), added | {"password1": easy, "password2": easy})
        assert not User.objects.filter(email="bob@example.org").exists()
    client.post(page(User, "add"), added | {"password1": NEW, "password2": NEW})
    assert User.objects.get(email="bob@example.org").check_password(NEW)
    path = f"/admin/accounts/user/{liddell.pk}/password/"
    fields = {"usable_password": "true", "password1": "Liddell1862", "password2": "Liddell1862"}
    assert client.post(path, fields).status_code == 200
    liddell.refresh_from_db()
    assert liddell.check_password(PASSWORD)


def test_the_command_that_makes_a_superuser_takes_none(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "Switchboard2026")
    with pytest.raises(CommandError, match="too easily guessed"):
        call_command("createsuperuser", interactive=False, email="root@example.org", verbosity=0)
    assert not User.objects.exists()
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", NEW)
    call_command("createsuperuser", interactive=False, email="root@example.org", verbosity=0)
    assert User.objects.get().is_superuser


def test_the_first_administrator_gets_none_from_the_environment(tmp_path: Path) -> None:
    done = manage(tmp_path, "setup", ADMIN_PASSWORD="Switchboard2026")
    assert done.returncode == 1
    assert "ADMIN_PASSWORD cannot be taken. This password is too easily guessed." in done.stderr
    assert "Switchboard2026" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_long_one_takes_no_long_time() -> None:
    """The part that is compared letter by letter is bounded."""
    assert not passwords.is_guessable("aB1!x" * 200 + "passwordadmin12345" * 40)


@pytest.mark.parametrize("long", ["1234" * 300 + "a", "quite another sentence " * 50, "⑽⑾⑿⒀ a" * 150])
@pytest.mark.parametrize("door", ["the account", "a new user", "another's password"])
def test_one_that_is_too_long_is_refused_in_whichever_form(alice: User, long: str, door: str) -> None:
    """The last one is shorter as it is typed than as it is hashed."""
    client = signed_in(administrator())
    wanted: dict[str, Any] = {"usable_password": "true", "password1": long, "password2": long}
    if door == "the account":
        reply = browser(alice).post("/account/password", {"present": PASSWORD, "new": long})
    elif door == "a new user":
        reply = client.post(page(User, "add"), user_fields(email="bob@example.org", **wanted))
    else:
        reply = client.post(f"/admin/accounts/user/{alice.pk}/password/", wanted)
    assert "at most 1024 characters" in reply.content.decode()
    assert not User.objects.filter(email="bob@example.org").exists()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_the_form_for_somebody_elses_password_holds_no_transaction_while_it_is_shown(alice: User) -> None:
    client = signed_in(administrator())
    with CaptureQueriesContext(connection) as asked:
        assert client.get(f"/admin/accounts/user/{alice.pk}/password/").status_code == 200
    assert not [each["sql"] for each in asked if each["sql"].startswith(("BEGIN", "SAVEPOINT"))]


# -- one password, two Unicode forms --------------------------------------------------------------


def enters(password: str) -> bool:
    return browser().post("/sign-in", {"email": "alice@example.org", "password": password}).status_code == 302


@pytest.mark.parametrize(("stored", "typed"), [(NFC, NFD), (NFD, NFC), ("ﬁn de siècle 8x", "fin de siècle 8x")])
def test_a_password_opens_in_either_form(alice: User, stored: str, typed: str) -> None:
    assert take_at_account(alice, stored) == 302
    assert enters(typed)
    assert enters(stored)
    assert not enters(typed + "x")


@pytest.mark.parametrize(("stored", "typed"), [(NFD, NFD), (NFD, NFC), ("ﬁn de siècle", "ﬁn de siècle")])
def test_one_that_was_hashed_as_it_was_typed_still_opens(alice: User, stored: str, typed: str) -> None:
    super(User, alice).set_password(stored)
    alice.save()
    assert enters(typed)


def test_the_present_password_is_known_in_either_form(alice: User) -> None:
    alice.set_password(NFC)
    alice.save()
    assert browser(alice).post("/account/password", {"present": NFD, "new": NEW}).status_code == 302
