"""The words of passages in PostgreSQL: what FTS5 is to SQLite."""

from django.db import migrations

# No foreign keys: a trigger takes all rows of a deletion at once, and tables that Django does not know
# would keep it from emptying those that they refer to.
CREATE = """
CREATE TABLE privategpt_words (
    passage_id bigint PRIMARY KEY,
    source_id uuid NOT NULL,
    length integer NOT NULL
);
CREATE INDEX privategpt_words_source ON privategpt_words (source_id, passage_id);
CREATE TABLE privategpt_posting (
    word text COLLATE "C" NOT NULL,
    passage_id bigint NOT NULL,
    tf smallint NOT NULL,
    length smallint NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE UNIQUE INDEX privategpt_posting_word ON privategpt_posting (word, passage_id) INCLUDE (tf, length);
CREATE INDEX privategpt_posting_passage ON privategpt_posting (passage_id);
CREATE FUNCTION privategpt_passages_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM privategpt_posting WHERE passage_id IN (SELECT id FROM gone);
    DELETE FROM privategpt_words WHERE passage_id IN (SELECT id FROM gone);
    RETURN NULL;
END $$;
CREATE TRIGGER privategpt_passages_gone AFTER DELETE ON privategpt_passage
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION privategpt_passages_gone();
CREATE FUNCTION privategpt_no_passages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE privategpt_posting, privategpt_words;
    RETURN NULL;
END $$;
CREATE TRIGGER privategpt_no_passages AFTER TRUNCATE ON privategpt_passage
    FOR EACH STATEMENT EXECUTE FUNCTION privategpt_no_passages();
"""
DROP = """
DROP TRIGGER privategpt_passages_gone ON privategpt_passage;
DROP TRIGGER privategpt_no_passages ON privategpt_passage;
DROP FUNCTION privategpt_passages_gone;
DROP FUNCTION privategpt_no_passages;
DROP TABLE privategpt_posting;
DROP TABLE privategpt_words;
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP)


class Migration(migrations.Migration):
    dependencies = [("privategpt", "0006_deleted_sources")]
    operations = [migrations.RunPython(create, drop)]
