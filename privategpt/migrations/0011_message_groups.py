"""Which groups were asked is kept with each question: its chat may ask others later, and a group may go.

Of the questions that there are 0017 copies those that their chats ask."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("privategpt", "0010_labels")]

    operations = [
        migrations.AddField(
            "message",
            "groups",
            models.JSONField(
                blank=True,
                db_default=[],
                default=list,
                help_text="Ids of the groups that were asked, also of such as are gone since.",
            ),
        ),
    ]
