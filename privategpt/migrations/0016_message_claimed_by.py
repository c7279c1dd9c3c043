"""Which process makes an answer."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("privategpt", "0015_backup_state")]

    operations = [
        migrations.AddField("message", "claimed_by", models.UUIDField(blank=True, editable=False, null=True)),
    ]
