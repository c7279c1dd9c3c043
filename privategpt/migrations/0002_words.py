"""The full-text table of SQLite. PostgreSQL indexes the same words by its own means (postgres_words)."""

from django.db import migrations

# Words come from the analyser, joined by blanks: all that this tokenizer does is to split them again.
TABLE = """
CREATE VIRTUAL TABLE privategpt_words USING fts5(body, tokenize="ascii tokenchars '_'")
"""
# Document frequencies, for the weight of a word.
VOCABULARY = "CREATE VIRTUAL TABLE privategpt_vocabulary USING fts5vocab(privategpt_words, row)"
# However a passage goes, by whatever cascade: its words go with it, in the same transaction.
TRIGGER = """
CREATE TRIGGER privategpt_passage_words AFTER DELETE ON privategpt_passage
BEGIN DELETE FROM privategpt_words WHERE rowid = old.id; END
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for statement in (TABLE, VOCABULARY, TRIGGER):
            schema_editor.execute(statement)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TRIGGER privategpt_passage_words")
        schema_editor.execute("DROP TABLE privategpt_vocabulary")
        schema_editor.execute("DROP TABLE privategpt_words")


class Migration(migrations.Migration):
    dependencies = [("privategpt", "0001_sources")]
    operations = [migrations.RunPython(create, drop)]
