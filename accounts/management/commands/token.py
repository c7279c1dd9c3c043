"""`manage.py token`: a new key for a program or an agent, and nothing else on standard output."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction

from accounts import issuing
from accounts.actors import Actor
from accounts.models import Token, User

MOST_DAYS = 36_500
LONGEST_NAME = 100  # characters, as the database has it


class Command(BaseCommand):
    help = "Print a new key. It cannot be shown again."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        say = parser.add_argument
        say("--kind", required=True, choices=Token.Kind.values, help="; ".join(map(str, Token.Kind.labels)))
        say("--user", metavar="EMAIL", help="whose it is; api needs one, relay makes a new user without")
        say("--name", default="", help="how the lists show it")
        say("--days", type=float, help="how long it works; for ever without")

    def handle(self, *, kind: str, user: str | None, name: str, days: float | None, **options: Any) -> None:
        if days is not None and not 0 < days <= MOST_DAYS:
            raise CommandError(f"--days is {days:g}; it must be more than 0 and at most {MOST_DAYS}.")
        if len(name) > LONGEST_NAME:
            raise CommandError(f"--name is too long; {LONGEST_NAME} characters are the most.")
        try:
            key = issue(Token.Kind(kind), user, name, days)
        except DatabaseError as error:
            raise CommandError(f"The database refused ({error}); `manage.py migrate` may be due.") from None
        self.stdout.write(key)


@transaction.atomic
def issue(kind: Token.Kind, email: str | None, name: str, days: float | None) -> str:
    """The new token's key; what was done stands in the audit log. Raises CommandError."""
    owner, operator = _owner(kind, email, name), Actor(None, way="command")
    try:
        return issuing.make(operator, kind, owner, name=name, days=days, action="issue token")[1]
    except PermissionDenied as refused:
        raise CommandError(str(refused)) from None


def _owner(kind: Token.Kind, email: str | None, name: str) -> User | None:
    if email is not None:
        found = User.objects.exclude(email=None).filter(email=email, is_active=True).first()
        if found is None:
            raise CommandError(f"No active user has the e-mail address {email!r}.")
        return found
    if kind == Token.Kind.API:
        raise CommandError("A token of kind api belongs to a person: name one with --user EMAIL.")
    return User.objects.create_user(None, name=name) if kind == Token.Kind.RELAY else None
