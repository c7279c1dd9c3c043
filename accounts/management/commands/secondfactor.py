"""`manage.py secondfactor off EMAIL`: for the administrator who lost the app, and whom nobody else can let in."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import people, secondfactor
from accounts.actors import Actor
from accounts.models import User


class Command(BaseCommand):
    help = "Turn off a user's second factor; from then on the password alone signs in."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("act", choices=["off"])
        parser.add_argument("email", metavar="EMAIL")

    def handle(self, *, act: str, email: str, **options: Any) -> None:
        user = User.objects.exclude(email=None).filter(email=email).first()
        if user is None:
            raise CommandError(f"No user has the e-mail address {email!r}.")
        if not secondfactor.is_on(user):
            raise CommandError(f"{user} has no second factor.")
        people.turn_off_second_factor(Actor(None, way="command"), user)
        self.stdout.write(f"The second factor of {user} is off.")
