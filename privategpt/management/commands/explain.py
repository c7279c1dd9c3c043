"""`manage.py explain`: which passages a user would get for a question, and how many their rights withhold."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Group, User
from privategpt.models import Source
from privategpt.retrieval.passages import SEPARATOR
from privategpt.retrieval.search import Found, Hit, search

SNIPPET = 90  # characters of a passage


class Command(BaseCommand):
    help = "Ask as a user, without asking: print the passages that an answer would rest on, and what is withheld."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        say = parser.add_argument
        say("question")
        say("--user", required=True, metavar="EMAIL", help="whose rights count")
        say("--group", action="append", default=[], metavar="NAME", help="look there; may be given several times")
        say("--public", action="store_true", help="look among public sources too")
        say("--limit", type=int, default=10, help="most sources (10)")

    def handle(self, *, question: str, user: str, group: list[str], public: bool, limit: int, **options: Any) -> None:
        asker = User.objects.filter(email=user).first()
        if asker is None:
            raise CommandError(f"There is no user {user}.")
        groups = list(Group.objects.filter(name__in=group))
        if unknown := set(group) - {found.name for found in groups}:
            raise CommandError(f"There is no group {', '.join(sorted(unknown))}.")
        if not groups and not public:
            raise CommandError("Without --group or --public an answer rests on no source; say where to look.")
        named = [found.pk for found in groups]
        theirs = search(question, Source.objects.visible_to(asker).among(named, public=public), limit)
        everything = search(question, Source.objects.all().kept().among(named, public=public), limit)
        self._show(theirs, withheld=_withheld(everything, theirs))

    def _show(self, found: Found, withheld: int) -> None:
        for number, hit in enumerate(found.hits, 1):
            self.stdout.write(_line(number, hit))
        if not found.hits:
            self.stdout.write("No passage was found.")
        if found.note:
            self.stdout.write(found.note)
        self.stdout.write(f"Withheld for want of rights: {withheld}")


def _withheld(everything: Found, theirs: Found) -> int:
    """Passages that somebody with every right would get and this user does not."""
    readable = {hit.source for hit in theirs.hits}
    mine = {hit.passage for hit in theirs.hits}
    return sum(hit.passage not in mine and hit.source not in readable for hit in everything.hits)


def _line(number: int, hit: Hit) -> str:
    cosine = "     -" if hit.cosine is None else f"{hit.cosine:6.3f}"
    text = " ".join(hit.text.split())[:SNIPPET]
    place = f"{hit.title}{SEPARATOR}{hit.heading}" if hit.heading else hit.title
    return f"{number:3} {hit.score:6.3f} {cosine}  {place} [{hit.start}:{hit.end}]\n      {text}"
