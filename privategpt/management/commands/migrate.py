"""`manage.py migrate`: Django's, with the record of each migration in the migration's own transaction.

Django writes it down after the transaction where indexes or foreign keys are made last: killed in between, the next
start finds tables that it takes for missing, and no start gets past them."""

from __future__ import annotations

import contextlib
from typing import Any

from django.core.management.commands.migrate import Command as Migrate
from django.db import connections, transaction
from django.db.migrations import Migration


class Command(Migrate):
    def handle(self, *args: Any, **options: Any) -> None:
        self._database: str = options["database"]
        with contextlib.ExitStack() as self._around:  # rolls back what a failure leaves open
            super().handle(*args, **options)

    def migration_progress_callback(self, action: str, migration: Migration | None = None, fake: bool = False) -> None:
        if migration and migration.atomic:
            if action in {"apply_start", "unapply_start"}:
                # Before the transaction, for SQLite takes no notice of it inside of one.
                self._around.enter_context(connections[self._database].constraint_checks_disabled())
                self._around.enter_context(transaction.atomic(self._database))
            elif action in {"apply_success", "unapply_success"}:
                self._around.pop_all().close()
        super().migration_progress_callback(action, migration, fake)
