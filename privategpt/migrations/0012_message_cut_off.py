"""Answers that the model, or its server, ended before they were whole."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("privategpt", "0011_message_groups")]

    operations = [
        migrations.AddField(
            "message",
            "cut_off",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Why a complete answer is not whole, as a code; see `Cut`.",
                max_length=20,
            ),
        ),
    ]
