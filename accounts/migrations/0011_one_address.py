"""Addresses whose domain was stored in ASCII (xn--) get the one form that look-ups ask for now.

Where that form is somebody else's already, both keep their accounts: the one under the odd spelling signs in as
NAME+2@DOMAIN from now on, and the audit log says so. Run again it finds nothing to do."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.models.functions import Cast

from accounts.fields import canonical_email

LONGEST = 254


def rename(apps: Any, schema_editor: Any) -> None:
    """Those who may sign in and did so last choose first, if two odd spellings meet."""
    users, entries = apps.get_model("accounts", "User").objects, apps.get_model("accounts", "AuditEntry").objects
    stored = users.exclude(email=None).annotate(raw=Cast("email", models.TextField()))
    rows = stored.values_list("pk", "raw", "is_active", "last_login", "created_at").iterator(1000)
    odd = [row for row in rows if canonical_email(row[1]) != row[1]]
    odd.sort(key=lambda row: (row[2], row[3].timestamp() if row[3] else 0, -row[4].timestamp()), reverse=True)
    for pk, raw, *_ in odd:
        new = _free(users.exclude(pk=pk), canonical_email(raw) or "")
        users.filter(pk=pk).update(email=new)
        entries.create(action="rename e-mail", what=f"{raw} is {new} now"[:200], actor_name="migration", way="command")


def _free(others: Any, wanted: str) -> str:
    local, _, domain = wanted.rpartition("@")
    number, found = 1, wanted
    while others.filter(email=found).exists():
        number += 1
        end = f"+{number}@{domain}"
        found = local[: LONGEST - len(end)] + end
    return found


class Migration(migrations.Migration):
    dependencies = [("accounts", "0010_audit_times")]

    operations = [migrations.RunPython(rename, migrations.RunPython.noop)]
