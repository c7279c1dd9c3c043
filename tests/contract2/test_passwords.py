"""Passwords that programs set for people, and in which form they open."""

from __future__ import annotations

import unicodedata

import pytest

from accounts.models import User
from tests.contract2.server import Program

NFC = "Bücher für München"
NFD = unicodedata.normalize("NFD", NFC)
EASY = ["Switchboard2026", "Password123!", "Carol2026!carol", "Example1!example", "C4r0l!!2026"]
CAROL = {"name": "Carol", "email": "carol@example.org"}


@pytest.mark.parametrize("easy", EASY)
def test_neither_a_new_user_nor_one_that_is_there_gets_an_easy_password(
    as_root: Program, anybody: Program, easy: str
) -> None:
    refused = as_root.post("/users", CAROL | {"password": easy})
    assert (refused.status, list(refused.json["errors"])) == (422, ["password"])
    assert not User.objects.filter(email="carol@example.org").exists()
    assert as_root.post("/users", CAROL | {"password": NFC}).status == 200
    assert as_root.patch("/users", {"email": "carol@example.org", "password": easy}).status == 422
    assert anybody.post("/login", {"email": "carol@example.org", "password": NFC}).status == 200


def test_nor_one_made_of_the_name_that_comes_with_it(as_root: Program) -> None:
    assert as_root.post("/users", CAROL | {"password": NFC}).status == 200
    edit = {"email": "carol@example.org", "name": "Liddell", "password": "Liddell1862"}
    assert as_root.patch("/users", edit).status == 422


@pytest.mark.parametrize(("stored", "typed"), [(NFC, NFD), (NFD, NFC)])
def test_a_password_opens_in_either_unicode_form(as_root: Program, anybody: Program, stored: str, typed: str) -> None:
    assert as_root.post("/users", CAROL | {"password": stored}).status == 200
    assert anybody.post("/login", {"email": "carol@example.org", "password": typed}).status == 200
    assert anybody.post("/login", {"email": "carol@example.org", "password": typed[:-1]}).status == 401


def test_an_address_is_one_in_either_form_of_its_domain(as_root: Program, anybody: Program) -> None:
    dora = {"name": "Dora", "email": "dora@xn--bcher-kva.example", "password": NFC}
    assert as_root.post("/users", dora).status == 200
    taken = as_root.post("/users", dora | {"email": "dora@bücher.example"})
    assert (taken.status, list(taken.json["errors"])) == (422, ["email"])
    for email in ("dora@bücher.example", unicodedata.normalize("NFD", "dora@bücher.example"), dora["email"]):
        assert anybody.post("/login", {"email": email, "password": NFC}).status == 200
    assert as_root.patch("/users", {"email": "dora@bücher.example", "name": "Theodora"}).status == 200
    assert User.objects.get(email="dora@xn--bcher-kva.example").name == "Theodora"


def test_an_address_that_is_too_long_in_its_one_form_is_refused(as_root: Program) -> None:
    dora = {"name": "Dora", "email": "\ufb03" * 100 + "@example.org", "password": NFC}
    assert as_root.post("/users", dora).status == 422
