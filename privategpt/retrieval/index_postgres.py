"""The index in PostgreSQL: rows of (word, passage, how often), and BM25 as FTS5 reckons it.

Not `ts_rank`: that knows neither how rare a word is nor how long a passage. The words are the analyser's,
so both databases find the same."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from privategpt.models import Passage, Source, Vector
from privategpt.retrieval.analyse import Term
from privategpt.retrieval.index import (
    FEW,
    STEP,
    Draft,
    Near,
    Statistics,
    StoredIndex,
    Visible,
    is_visible,
    visible_ids,
)
from privategpt.retrieval.matrix import Floats
from privategpt.retrieval.neighbours import Neighbours, visible_count

K1, B = 1.2, 0.75
LEAST_IDF = 1e-6  # of a word that stands in more than half of the passages, as FTS5 has it
MOST = 32_767  # of what a column of two bytes holds
MANY_KNOWN = 20_000  # words whose frequency is remembered
BELIEVED = 600.0  # seconds; among many passages a word's frequency changes slowly
FEW_READABLE = 0.15  # of all passages; for whoever may read less, those are looked at from the start
FIRST_LOOK = 4  # times as many as are wanted; most people may read most of what there is
BEHIND = "\U0010ffff"  # no word begins so

# BM25 of one word in one passage, but for the word's weight. The constants are worked out beforehand and are
# float8, for PostgreSQL would take 0.75 for a decimal and reckon ten times as long.
SCORE = "tf / (tf + %s::float8 + %s::float8 * length)"
COPY_WORDS = "COPY privategpt_words (passage_id, source_id, length) FROM STDIN"
COPY_POSTINGS = "COPY privategpt_posting (word, passage_id, tf, length) FROM STDIN"


@dataclass(frozen=True, slots=True)
class Phrase:
    """What BM25 weighs as one: a word, or all that begin with a lone character."""

    word: str
    is_prefix: bool


class PostgresIndex(StoredIndex):
    """Rows go with their passage, by a trigger."""

    at_once = STEP // 2  # each word of a passage is a row

    def __init__(self) -> None:
        super().__init__()
        self._length = 1.0  # of a passage, in words, on average
        self._known: dict[Phrase, int] = {}
        self._known_since = float("-inf")
        self._neighbours = Neighbours()

    def _insert_words(self, source: Source, rows: Sequence[tuple[Passage, Draft]]) -> None:
        with connection.cursor() as cursor:
            with cursor.copy(COPY_WORDS) as copy:
                for row, draft in rows:
                    copy.write_row((row.pk, source.pk, len(draft.words)))
            with cursor.copy(COPY_POSTINGS) as copy:
                for row, draft in rows:
                    length = min(len(draft.words), MOST)
                    for word, count in Counter(draft.words).items():
                        copy.write_row((word, row.pk, min(count, MOST), length))

    def _forget_words(self, passages: Sequence[int]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM privategpt_posting WHERE passage_id = ANY(%s)", [list(passages)])
            cursor.execute("DELETE FROM privategpt_words WHERE passage_id = ANY(%s)", [list(passages)])

    def _counted(self) -> Statistics:
        self._measure()
        return super()._counted()

    def _measure(self) -> int:
        """How many passages there are now, and how long they are on average."""
        sql = "SELECT count(*), coalesce(avg(length), 1)::float8 FROM privategpt_words"
        total, self._length = self._rows(sql, [])[0]
        if total < FEW:
            self._known, self._known_since = {}, time.monotonic()  # each one counts
        return int(total)

    # -- by words -------------------------------------------------------------------------------

    def lexical(self, terms: Sequence[Term], visible: Visible, limit: int) -> list[tuple[int, float]]:
        phrases = list(dict.fromkeys(_phrases(terms)))
        total = self.statistics().total
        if total < FEW:
            total = self._measure()
        if not phrases or not total:
            return []
        weights = {phrase: _idf(count, total) for phrase, count in self._counts(phrases).items() if count}
        if not weights:
            return []
        weights = _telling(weights) if total >= FEW else weights
        if total >= FEW and visible_count(visible) < total * FEW_READABLE:
            return self._all_visible(weights, visible, limit)
        found, has_more = self._best(weights, visible, limit)
        return self._all_visible(weights, visible, limit) if len(found) < limit and has_more else found

    def _best(self, weights: dict[Phrase, float], visible: Visible, limit: int) -> tuple[list[tuple[int, float]], bool]:
        """Of the best, those that are visible; and whether there are others behind them."""
        scored, values = self._scored(weights)
        readable, parameters = is_visible(visible)
        sql = f"""
            WITH ranked AS MATERIALIZED (
                SELECT passage_id, sum(score) AS score FROM ({scored}) AS scored
                GROUP BY passage_id ORDER BY score DESC, passage_id LIMIT %s
            )
            SELECT ranked.passage_id, ranked.score, EXISTS ({readable})
            FROM ranked JOIN privategpt_words AS passage USING (passage_id)
            ORDER BY score DESC, passage_id
        """  # noqa: S608 - the names are ours, the subquery is Django's own
        look = FIRST_LOOK * limit
        rows = self._rows(sql, [*values, look, *parameters])
        return [(passage, score) for passage, score, is_readable in rows if is_readable][:limit], len(rows) == look

    def _all_visible(self, weights: dict[Phrase, float], visible: Visible, limit: int) -> list[tuple[int, float]]:
        """The best of what is visible, for whoever may read little."""
        scored, values = self._scored(weights)
        readable, parameters = visible_ids(visible)
        sql = f"""
            WITH mine AS MATERIALIZED (SELECT passage_id FROM privategpt_words WHERE source_id IN ({readable}))
            SELECT passage_id, sum(score) AS score FROM ({scored}) AS scored JOIN mine USING (passage_id)
            GROUP BY passage_id ORDER BY score DESC, passage_id LIMIT %s
        """  # noqa: S608 - as above
        with transaction.atomic():
            # The planner takes a common word for a rare one and would look each passage up by itself.
            connection.cursor().execute("SET LOCAL enable_nestloop = off")
            return self._rows(sql, [*parameters, *values, limit])

    def _scored(self, weights: dict[Phrase, float]) -> tuple[str, list[object]]:
        """Rows of (passage_id, score), one for each phrase that a passage holds; and the values."""
        words = [phrase.word for phrase in weights if not phrase.is_prefix]
        idfs = [(K1 + 1) * idf for phrase, idf in weights.items() if not phrase.is_prefix]
        parts, values = [], []
        if words:
            parts.append(
                f"SELECT passage_id, idf * {SCORE} AS score FROM privategpt_posting "  # noqa: S608 - as above
                "JOIN unnest(%s::text[], %s::float8[]) AS asked (word, idf) USING (word) WHERE word = ANY(%s)"
            )
            values += [*self._saturation(), words, idfs, words]
        for phrase, idf in weights.items():
            if phrase.is_prefix:
                parts.append(
                    f"SELECT passage_id, %s::float8 * {SCORE} AS score FROM (SELECT passage_id, sum(tf)::float8 AS tf, "  # noqa: S608
                    "max(length) AS length FROM privategpt_posting WHERE word >= %s AND word < %s "
                    "GROUP BY passage_id) AS beginning"
                )
                values += [(K1 + 1) * idf, *self._saturation(), phrase.word, phrase.word + BEHIND]
        return " UNION ALL ".join(parts), values

    def _saturation(self) -> tuple[float, float]:
        """By how much a word's repetition and a passage's length count."""
        return K1 * (1 - B), K1 * B / self._length

    # -- how often ------------------------------------------------------------------------------

    def frequencies(self, terms: Sequence[Term]) -> list[int]:
        counts = self._counts([Phrase(word, is_prefix=False) for term in terms for word in term.variants])
        return [sum(counts[Phrase(word, is_prefix=False)] for word in term.variants) for term in terms]

    def _counts(self, phrases: Sequence[Phrase]) -> dict[Phrase, int]:
        """In how many passages each stands; of many passages, as it was up to a minute ago."""
        known = self._known
        if len(known) > MANY_KNOWN or time.monotonic() - self._known_since > BELIEVED:
            self._known = known = {}
            self._known_since = time.monotonic()
        missing = [phrase for phrase in phrases if phrase not in known]
        words = [phrase.word for phrase in missing if not phrase.is_prefix]
        sql = "SELECT word, count(*) FROM privategpt_posting WHERE word = ANY(%s) GROUP BY word"
        counted = dict(self._rows(sql, [words])) if words else {}
        for phrase in missing:
            known[phrase] = self._beginning(phrase) if phrase.is_prefix else counted.get(phrase.word, 0)
        return {phrase: known[phrase] for phrase in phrases}

    def _beginning(self, phrase: Phrase) -> int:
        sql = "SELECT count(DISTINCT passage_id) FROM privategpt_posting WHERE word >= %s AND word < %s"
        return int(self._rows(sql, [phrase.word, phrase.word + BEHIND])[0][0])

    # -- by meaning -----------------------------------------------------------------------------

    def keep(self, vectors: Sequence[Vector]) -> None:
        super().keep(vectors)
        self._neighbours.add(vectors)

    def nearest(self, embedder: str, question: Floats, visible: Visible, limit: int) -> Near | None:
        return self._neighbours.nearest(embedder, question, visible, limit)

    def tend(self) -> None:
        self._neighbours.tend()

    # -- by right -------------------------------------------------------------------------------

    def visible_among(self, ids: Iterable[int], visible: Visible) -> set[int]:
        readable, parameters = is_visible(visible)
        sql = f"SELECT id FROM privategpt_passage AS passage WHERE id = ANY(%s) AND EXISTS ({readable})"  # noqa: S608
        return {row[0] for row in self._rows(sql, [list(ids), *parameters])}

    def _wordless_ids(self, most: int) -> list[int]:
        sql = """
            SELECT id FROM privategpt_passage WHERE NOT EXISTS (
                SELECT FROM privategpt_words WHERE passage_id = privategpt_passage.id
            ) ORDER BY id LIMIT %s
        """
        return [row[0] for row in self._rows(sql, [most])]

    def _rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())


def _telling(weights: dict[Phrase, float]) -> dict[Phrase, float]:
    """Without words that stand in more than half of many passages: they weigh nothing and take the longest."""
    return {phrase: idf for phrase, idf in weights.items() if idf > LEAST_IDF} or weights


def _phrases(terms: Sequence[Term]) -> Iterator[Phrase]:
    for term in terms:
        for word in dict.fromkeys(term.variants):
            yield Phrase(word, term.is_prefix)


def _idf(count: int, total: int) -> float:
    """FTS5's: unlike Lucene's it falls to nothing for what stands in half of all passages."""
    return max(math.log((total - count + 0.5) / (count + 0.5)) if count < total else 0.0, LEAST_IDF)
