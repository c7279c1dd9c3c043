"""`manage.py token`: a key that works, alone on standard output, or one sentence about what is wrong."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from accounts.models import AuditEntry, Token, User

pytestmark = pytest.mark.django_db


def token(*arguments: str) -> str:
    """What the command writes to standard output."""
    out = StringIO()
    call_command("token", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice@example.com", "a password")


@pytest.mark.parametrize("kind", ["agent", "relay"])
def test_the_key_alone_is_printed_and_it_works(kind: str) -> None:
    said = token("--kind", kind, "--name", "mine")
    assert said.count("\n") == 1
    assert " " not in said
    found = Token.objects.with_key(said.strip(), Token.Kind(kind))
    assert found
    assert found.name == "mine"
    assert found.expires_at is None


def test_an_agents_token_belongs_to_nobody_unless_it_is_said() -> None:
    token("--kind", "agent")
    assert Token.objects.get().user is None
    assert not User.objects.exists()


def test_a_relay_token_without_a_user_makes_a_new_one_without_e_mail() -> None:
    token("--kind", "relay", "--name", "importer")
    user = User.objects.get()
    assert Token.objects.get().user == user
    assert user.email is None
    assert user.name == "importer"
    assert not user.has_usable_password()


def test_a_users_token_is_theirs_whatever_the_letter_case(alice: User) -> None:
    key = token("--kind", "api", "--user", "Alice@Example.COM").strip()
    found = Token.objects.with_key(key, Token.Kind.API)
    assert found
    assert found.user == alice
    assert "|" in key


def test_a_token_with_days_expires() -> None:
    token("--kind", "agent", "--days", "0.5")
    expires = Token.objects.get().expires_at
    assert expires
    assert abs(expires - timezone.now() - timedelta(days=0.5)) < timedelta(minutes=1)


def test_every_issue_leaves_an_audit_row_without_the_key(alice: User) -> None:
    key = token("--kind", "relay", "--user", "alice@example.com", "--name", "laptop").strip()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.way) == ("issue token", "command")
    assert "laptop" in entry.what
    assert "alice@example.com" in entry.what
    assert key not in entry.what


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--kind", "api"], "--user"),
        (["--kind", "api", "--user", "bob@example.com"], "bob@example.com"),
        (["--kind", "relay", "--user", ""], "''"),
        (["--kind", "agent", "--days", "-1"], "-1"),
        (["--kind", "agent", "--days", "0"], "0"),
        (["--kind", "agent", "--days", "nan"], "nan"),
        (["--kind", "agent", "--days", "inf"], "inf"),
        (["--kind", "agent", "--days", "soon"], "soon"),
        (["--kind", "agent", "--name", "n" * 101], "100"),
        (["--kind", "admin"], "admin"),
        ([], "--kind"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_no_token(arguments: list[str], named: str, alice: User) -> None:
    program_user = User.objects.create_user(None)  # must not be found by an empty address
    with pytest.raises(CommandError) as refused:
        token(*arguments)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Token.objects.exists()
    assert set(User.objects.all()) == {alice, program_user}


def test_a_retired_users_address_gets_no_token(alice: User) -> None:
    alice.retire()
    with pytest.raises(CommandError, match=r"alice@example\.com"):
        token("--kind", "relay", "--user", "alice@example.com")
