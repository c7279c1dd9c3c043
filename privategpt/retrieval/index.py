"""The index: which passages share words with a question. One class knows one database's SQL."""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import connection, transaction
from django.db.models import Count, Max, QuerySet
from django.db.models.expressions import RawSQL

from privategpt.models import Passage, Source
from privategpt.retrieval import passages as cutting
from privategpt.retrieval.analyse import Term, detect, index_words

MINORITY = 0.02  # a language with a smaller share of the passages is searched by its own questions only
STALE = 60.0  # seconds that the shares of the languages are believed
SETTLING = 5.0  # seconds, while passages are being added

Visible = QuerySet[Source]


@dataclass(frozen=True, slots=True)
class Statistics:
    """How many passages there are, and of which languages, commonest first."""

    total: int
    languages: tuple[tuple[str, int], ...]

    def searched(self, own: str) -> list[str]:
        """By which languages a question is stemmed: its own, if the index has it, and every one with a fair share."""
        present = dict(self.languages)
        shares = [code for code, count in self.languages if count > self.total * MINORITY]
        return list(dict.fromkeys(([own] if own in present else []) + shares)) or [own]


class Index(Protocol):
    """Stores passages and finds them by words. Scores are higher for better, comparable within one search only."""

    def store(self, source: Source) -> None:
        """Cuts and indexes a saved source; keeps the passages (and vectors) that did not change."""

    def lexical(self, terms: Sequence[Term], visible: Visible, limit: int) -> list[tuple[int, float]]:
        """The passages of visible sources with any of the terms, best first: (passage id, BM25)."""

    def frequencies(self, terms: Sequence[Term]) -> list[int]:
        """In how many passages each term stands, in any of its variants."""

    def visible_among(self, ids: Iterable[int], visible: Visible) -> set[int]:
        """Those passages whose source is visible."""

    def visible_ids(self, visible: Visible) -> list[int]:
        """All passages of visible sources."""

    def statistics(self) -> Statistics:
        """May be some seconds old."""


def indexed_text(title: str, heading: str, text: str) -> str:
    """What a passage is found by: its text under its title and headings, none of them twice."""
    context = dict.fromkeys(line.strip() for line in (title, *heading.split(cutting.SEPARATOR)))
    return "\n".join([*(line for line in context if line and line not in text), text])


def passage_text(row: Passage) -> str:
    """The same for a stored passage: what is to be embedded."""
    return indexed_text(row.source.title, row.heading, row.text)


class SqliteIndex:
    """FTS5 over the analyser's words. FTS5's own BM25 has k1 1.2 and b 0.75."""

    def __init__(self) -> None:
        self._statistics = Statistics(0, ())
        self._newest, self._counted_at = -1, float("-inf")

    def store(self, source: Source) -> None:
        language = detect(f"{source.title}\n{source.content}")
        drafts = [
            _row(source, number, piece, language) for number, piece in enumerate(cutting.passages(source.content))
        ]
        with transaction.atomic():
            kept = self._keep_unchanged(source, [row for row, _ in drafts])
            fresh = [(row, text) for row, text in drafts if row.pk is None]
            self._insert(fresh)
            source.language, source.passages_total = language, len(drafts)
            source.passages_done = Passage.objects.filter(pk__in=kept, vectors__isnull=False).distinct().count()
            source.save(update_fields=["language", "passages_total", "passages_done"])

    def _keep_unchanged(self, source: Source, rows: list[Passage]) -> list[int]:
        """Gives rows that the source already has their ids and new places, deletes the others. Returns the kept ids."""
        old: dict[bytes, list[int]] = {}
        for pk, digest in source.passages.order_by("-position").values_list("pk", "digest"):
            old.setdefault(bytes(digest), []).append(pk)
        for row in rows:
            if known := old.get(bytes(row.digest)):
                row.pk = known.pop()
        kept = [row for row in rows if row.pk is not None]
        source.passages.exclude(pk__in=[row.pk for row in kept]).delete()
        Passage.objects.bulk_update(kept, ["position", "start", "end", "heading"], batch_size=100)
        return [row.pk for row in kept]

    def _insert(self, drafts: list[tuple[Passage, str]]) -> None:
        Passage.objects.bulk_create([row for row, _ in drafts], batch_size=100)
        words = [(row.pk, " ".join(index_words(text, row.language))) for row, text in drafts]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO privategpt_words (rowid, body) VALUES (%s, %s)", words)

    def lexical(self, terms: Sequence[Term], visible: Visible, limit: int) -> list[tuple[int, float]]:
        if not terms:
            return []
        readable, parameters = _is_visible(visible)
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
        readable, parameters = _is_visible(visible)
        sql = f"""
            SELECT passage.id FROM privategpt_passage AS passage
            WHERE passage.id IN (SELECT value FROM json_each(%s)) AND EXISTS ({readable})
        """  # noqa: S608 - as above
        with connection.cursor() as cursor:
            cursor.execute(sql, [json.dumps(list(ids)), *parameters])
            return {row[0] for row in cursor.fetchall()}

    def visible_ids(self, visible: Visible) -> list[int]:
        return list(Passage.objects.filter(source__in=visible.values("pk")).order_by().values_list("pk", flat=True))

    def statistics(self) -> Statistics:
        newest = Passage.objects.aggregate(newest=Max("pk"))["newest"] or 0
        age = time.monotonic() - self._counted_at
        if age > STALE or (newest != self._newest and (age > SETTLING or self._statistics.total < 5_000)):
            rows = Passage.objects.order_by().values_list("language").annotate(count=Count("pk"))
            languages = sorted(rows, key=lambda row: (-row[1], row[0]))
            self._statistics = Statistics(sum(count for _, count in languages), tuple(languages))
            self._newest, self._counted_at = newest, time.monotonic()
        return self._statistics


def _row(source: Source, position: int, piece: cutting.Passage, language: str) -> tuple[Passage, str]:
    """An unsaved passage and the text it is found by."""
    text = indexed_text(source.title, piece.heading, piece.text)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    row = Passage(
        source=source,
        position=position,
        start=piece.start,
        end=piece.end,
        heading=piece.heading,
        text=piece.text,
        digest=digest,
        language=detect(text, fallback=language),
    )
    return row, text


def _match(terms: Sequence[Term]) -> str:
    """Any of the words. OR, for a passage that lacks one word of a question may well answer it."""
    return " OR ".join(
        f'"{word}"{"*" if term.is_prefix else ""}' for term in terms for word in dict.fromkeys(term.variants)
    )


def _is_visible(visible: Visible) -> tuple[str, Sequence[Any]]:
    """A correlated subquery (and its parameters) that has a row when `passage`'s source is visible."""
    mine = visible.filter(pk=RawSQL("passage.source_id", [])).order_by().values("pk")
    sql, parameters = mine.query.get_compiler(using=visible.db).as_sql()
    return sql, parameters
