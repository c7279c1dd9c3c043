"""The index in SQLite: FTS5 over the analyser's words. FTS5's own BM25 has k1 1.2 and b 0.75."""

import json
from collections.abc import Iterable, Sequence

from django.db import connection

from privategpt.models import Passage, Source
from privategpt.retrieval.analyse import Term
from privategpt.retrieval.index import Draft, StoredIndex, Visible, is_visible


class SqliteIndex(StoredIndex):
    """A row of `privategpt_words` for each passage; it goes with the passage, by a trigger."""

    def _insert_words(self, source: Source, rows: Sequence[tuple[Passage, Draft]]) -> None:
        words = [(row.pk, " ".join(draft.words)) for row, draft in rows]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO privategpt_words (rowid, body) VALUES (%s, %s)", words)

    def _forget_words(self, passages: Sequence[int]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany("DELETE FROM privategpt_words WHERE rowid = %s", [(passage,) for passage in passages])

    def lexical(self, terms: Sequence[Term], visible: Visible, limit: int) -> list[tuple[int, float]]:
        if not terms:
            return []
        readable, parameters = is_visible(visible)
        # FTS5 hands out its rows in rank order, so the right to read is asked for the best ones only,
        # until enough are found. CROSS JOIN keeps that order of the loops.
        sql = f"""
            SELECT words.rowid, -words.rank FROM privategpt_words AS words
            CROSS JOIN privategpt_passage AS passage ON passage.id = words.rowid
            WHERE words.body MATCH %s AND EXISTS ({readable})
            ORDER BY words.rank LIMIT %s
        """  # noqa: S608 - the subquery is Django's own, its values are parameters
        with connection.cursor() as cursor:
            cursor.execute(sql, [_match(terms), *parameters, limit])
            return sorted(cursor.fetchall(), key=lambda row: (-row[1], row[0]))

    def frequencies(self, terms: Sequence[Term]) -> list[int]:
        words = [word for term in terms for word in term.variants]
        sql = "SELECT term, doc FROM privategpt_vocabulary WHERE term IN (SELECT value FROM json_each(%s))"
        with connection.cursor() as cursor:
            cursor.execute(sql, [json.dumps(words)])
            found = dict(cursor.fetchall())
        return [sum(found.get(word, 0) for word in term.variants) for term in terms]

    def visible_among(self, ids: Iterable[int], visible: Visible) -> set[int]:
        readable, parameters = is_visible(visible)
        sql = f"""
            SELECT passage.id FROM privategpt_passage AS passage
            WHERE passage.id IN (SELECT value FROM json_each(%s)) AND EXISTS ({readable})
        """  # noqa: S608 - as above
        with connection.cursor() as cursor:
            cursor.execute(sql, [json.dumps(list(ids)), *parameters])
            return {row[0] for row in cursor.fetchall()}

    def _wordless_ids(self, most: int) -> list[int]:
        sql = "SELECT id FROM privategpt_passage EXCEPT SELECT rowid FROM privategpt_words ORDER BY 1 LIMIT %s"
        with connection.cursor() as cursor:
            cursor.execute(sql, [most])
            return [row[0] for row in cursor.fetchall()]


def _match(terms: Sequence[Term]) -> str:
    """Any of the words. OR, for a passage that lacks one word of a question may well answer it."""
    return " OR ".join(
        f'"{word}"{"*" if term.is_prefix else ""}' for term in terms for word in dict.fromkeys(term.variants)
    )
