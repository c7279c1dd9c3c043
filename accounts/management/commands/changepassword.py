"""`manage.py changepassword EMAIL`: Django's, which ends sessions and api tokens as every other door does."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.db import transaction

from accounts import people
from accounts.actors import Actor
from accounts.models import User


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        """Raises CommandError. No transaction around the question: whoever types would hold up every writer."""
        said: str | None = super().handle(*args, **options)
        user = User.objects.get(email=options["username"] or getpass.getuser())
        operator = Actor(None, way="command")
        with transaction.atomic():
            people.end_logins(operator, user)
            operator.record("change user", f"{user} password")
        return said
