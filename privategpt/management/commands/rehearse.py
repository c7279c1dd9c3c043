"""`manage.py rehearse`: would an upgrade of this database go well? The database itself stays as it is."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from privategpt.models import Check
from privategpt.operations import rehearsal
from privategpt.operations.rehearsal import Outcome, Report
from privategpt.operations.stores import CannotStore
from privategpt.serving import database


class Command(BaseCommand):
    help = "Run pending migrations on a copy and see whether the stored questions still find their sources there."
    requires_system_checks: list[str] = []  # `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        say = parser.add_argument
        say("--add", metavar="QUESTION", help="store a question that finds --source today, and end")
        say("--source", metavar="ID", default="", help="the source's id, as its page's address has it")
        say("--user", metavar="EMAIL", default="", help="search what this user may read; default: all sources")
        say("--remove", metavar="NUMBER", type=int, help="forget a stored question, and end")
        say("--list", action="store_true", help="show the stored questions, and end")

    def handle(self, *, add: str | None, source: str, user: str, remove: int | None, **options: Any) -> None:
        try:
            database.check_not_newer()
        except database.NotReady as reason:
            raise CommandError(str(reason)) from reason
        if add:
            self._add(add, source, user)
        elif remove is not None:
            if not Check.objects.filter(pk=remove).delete()[0]:
                raise CommandError(f"There is no stored question {remove}.")
        elif options["list"]:
            for check in Check.objects.select_related("source", "user"):
                self.stdout.write(f"{check.pk:4} {check.question} -> {check.source} ({check.user or 'all sources'})")
        else:
            self._rehearse()

    def _add(self, question: str, source: str, user: str) -> None:
        try:
            check = rehearsal.add(question, source, user)
        except rehearsal.NoCheck as reason:
            raise CommandError(str(reason)) from reason
        self.stdout.write(f"Stored as {check.pk}: {check.source} is number {check.place} of what it finds.")

    def _rehearse(self) -> None:
        try:
            report = rehearsal.rehearse()
        except (CannotStore, DatabaseError, OSError) as fault:
            raise CommandError(f"The upgrade would fail. {' '.join(str(fault).split())}") from fault
        except Exception as fault:  # a migration is anybody's code
            raise CommandError(f"The upgrade would fail: {type(fault).__name__} {fault}") from fault
        self._show(report)
        if not report.is_good:
            raise CommandError("Do not upgrade yet: see what is marked above.")
        self.stdout.write("The upgrade can be made.")

    def _show(self, report: Report) -> None:
        ran = ", ".join(report.migrations) or "none was pending"
        self.stdout.write(f"Migrations on the copy: {ran}.")
        for table, (before, after) in report.lost.items():
            self.stdout.write(f"LOST  {table}: {before} rows before, {after} after")
        for outcome in report.outcomes:
            self.stdout.write(_line(outcome))
        if not report.outcomes:
            self.stdout.write("No question is stored: `manage.py rehearse --add QUESTION --source ID` stores one.")
        if report.note:
            self.stdout.write(report.note)


def _line(outcome: Outcome) -> str:
    mark = "ok   " if outcome.now else "LOST "
    place = f"number {outcome.now}" if outcome.now else f"not among the first {rehearsal.FOUND_WITHIN}"
    return f"{mark} {outcome.question} -> {outcome.title}: {place}, was number {outcome.before}"
