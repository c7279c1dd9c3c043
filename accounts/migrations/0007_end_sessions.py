"""Ends every session: the rows held the keys themselves, which backups and whoever read the table have too."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def end_sessions(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("accounts", "Session").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_labels")]

    operations = [migrations.RunPython(end_sessions, migrations.RunPython.noop, elidable=True)]
