"""How people are called who have given themselves no name."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from accounts.models import User
from privategpt.serving import firststart
from tests.conftest import PASSWORD
from tests.pages import browser, text


def test_the_first_administrator_has_a_name(db: None, settings: Settings) -> None:
    settings.ADMIN_EMAIL, settings.ADMIN_PASSWORD = "boss@example.org", PASSWORD
    assert firststart.first_administrator()
    assert (User.objects.get().name, User.objects.get().called) == ("Administrator", "Administrator")


@pytest.mark.parametrize(("name", "called"), [("", "dora"), ("  ", "dora"), ("Dora Maar", "Dora Maar")])
def test_without_a_name_it_is_the_part_before_the_at(db: None, name: str, called: str) -> None:
    dora = User.objects.create_user("dora@example.org", PASSWORD, name=name)
    assert dora.called == called
    page = text(browser(dora).get("/"))
    assert f"Welcome, {called}." in page or f" {called} " in page
    assert "dora@example.org" not in page


def test_a_program_without_name_and_address_is_called_by_its_id(db: None) -> None:
    program = User.objects.create_user(None)
    assert program.called == str(program.pk)
