"""`manage.py doctor`: what is wrong here, and what to do; exit status 1 when something is bad."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from privategpt.operations import doctor


class Command(BaseCommand):
    help = "Look at settings, files, database, Redis, port, proxy, space, backups and versions; changes nothing."
    requires_system_checks: list[str] = []  # it looks for itself

    def handle(self, **options: Any) -> None:
        bad = 0
        for finding in doctor.examine():
            bad += finding.level == "bad"
            self.stdout.write(str(finding))
        if bad:
            self.stdout.write(f"{bad} to be mended.")
            sys.exit(1)
