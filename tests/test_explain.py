"""`manage.py explain`: what a user would get, and how much their rights withhold."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from tests.answering import group, source

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cast(alice: User, charlie: User) -> None:
    """Alice reads the vault's papers, Charlie does not; everybody reads the canteen's."""
    held = group("held", alice)
    source("Vault", "The vault's code is 4711.", held)
    source("Safe", "The safe's code is 4712.", held)
    source("Canteen", "The canteen's code is 1234.")


def explained(*given: str) -> str:
    out = StringIO()
    call_command("explain", *given, "What is the code?", stdout=out)
    return out.getvalue()


def test_a_member_is_shown_passages_with_scores(cast: None) -> None:
    told = explained("--user", "alice@example.org", "--group", "held")
    assert "Vault" in told
    assert "The safe's code is 4712." in told
    assert "Canteen" not in told
    assert "Withheld for want of rights: 0" in told


def test_what_is_withheld_is_counted_and_not_shown(cast: None) -> None:
    told = explained("--user", "charlie@example.org", "--group", "held", "--public")
    assert "Canteen" in told
    assert "Vault" not in told
    assert "4711" not in told
    assert "Withheld for want of rights: 2" in told


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--user", "nobody@example.org", "--public"], "no user nobody@example.org"),
        (["--user", "alice@example.org", "--group", "nowhere"], "no group nowhere"),
        (["--user", "alice@example.org"], "say where to look"),
    ],
)
def test_a_slip_is_told(cast: None, given: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        explained(*given)
