from django.db import migrations, models

# Not by Django's own AddField: on SQLite that makes the table anew, and its triggers, which keep the words, go with it.
ADD = "ALTER TABLE privategpt_passage ADD COLUMN analyser smallint NOT NULL DEFAULT 1"
INDEX = "CREATE INDEX privategpt_passage_analyser ON privategpt_passage (analyser)"


class Migration(migrations.Migration):
    """Each passage knows which analyser made its words; the worker makes those of an older one anew."""

    dependencies = [("privategpt", "0013_marks")]

    operations = [
        migrations.RunSQL(
            [ADD, INDEX],
            ["DROP INDEX privategpt_passage_analyser", "ALTER TABLE privategpt_passage DROP COLUMN analyser"],
            state_operations=[
                migrations.AddField(
                    model_name="passage",
                    name="analyser",
                    field=models.SmallIntegerField(
                        db_index=True, default=1, help_text="The version that made its words."
                    ),
                ),
            ],
        ),
    ]
