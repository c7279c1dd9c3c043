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
