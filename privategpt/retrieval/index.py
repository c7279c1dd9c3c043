"""The index: which passages share words with a question. What every database has in common stands here;
`index_sqlite` and `index_postgres` know one database's SQL each, and `indexes.index()` is the one in use."""

import hashlib
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, TypeVar

from django.db import connection, transaction
from django.db.models import Count, Max, QuerySet
from django.db.models.expressions import RawSQL

from privategpt.models import Passage, Source, Vector
from privategpt.retrieval import passages as cutting
from privategpt.retrieval.analyse import VERSION, Term, detect, index_words
from privategpt.retrieval.matrix import Floats
from privategpt.writing import transaction_in_turn

MINORITY = 0.02  # a language with a smaller share of the passages is searched by its own questions only
STALE = 60.0  # seconds that the shares of the languages are believed
SETTLING = 5.0  # seconds, while passages are being added
FEW = 5_000  # passages; with fewer of them everything is counted anew
COUNTED = ("language", "passages_total", "passages_done")
STEP = 50  # passages of one source that are changed in one piece
REBUILT_AT_ONCE = 100  # passages in one transaction
RENEWED_AT_ONCE = 50  # likewise, where each is read anew

Visible = QuerySet[Source]
T = TypeVar("T")


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


@dataclass
class Draft:
    """A passage that is about to be stored."""

    piece: cutting.Passage
    text: str
    language: str

    @cached_property
    def digest(self) -> bytes:
        """Of what is indexed: equal digests, equal words and vectors."""
        return hashlib.blake2b(self.text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    @cached_property
    def words(self) -> list[str]:
        """What the passage is found by."""
        return index_words(self.text, self.language)


@dataclass(frozen=True, slots=True)
class Cut:
    """A text in its passages, ready to be stored."""

    title: str
    content: str
    language: str
    drafts: tuple[Draft, ...]

    def is_of(self, source: Source) -> bool:
        """Whether it is of the text as it stands there."""
        return (self.title, self.content) == (source.title, source.content)


@dataclass(frozen=True, slots=True)
class Near:
    """What the database knows of a question's vector: the nearest visible passages with their cosines, best first,
    and the cosines of a sample of all passages."""

    nearest: list[tuple[int, float]]
    sample: Floats


class Index(Protocol):
    """Stores passages and finds them by words. Scores are higher for better, comparable within one search only."""

    def steps(self, source: Source, cut: Cut) -> Iterator[Callable[[], object]]:
        """What `store` does, in pieces; `count` comes behind the last."""

    def count(self, source: Source, cut: Cut) -> None:
        """Notes at the source, unsaved, what is COUNTED: how many passages there are, and how many have vectors."""

    def store(self, source: Source, cut: Cut | None = None) -> None:
        """Indexes a saved source; keeps the passages (and vectors) that did not change."""

    def keep(self, vectors: Sequence[Vector]) -> None:
        """Saves new vectors; a passage that has one of the same embedder keeps that."""

    def lexical(self, terms: Sequence[Term], visible: Visible, limit: int) -> list[tuple[int, float]]:
        """The passages of visible sources with any of the terms, best first: (passage id, BM25)."""

    def nearest(self, embedder: str, question: Floats, visible: Visible, limit: int) -> Near | None:
        """The passages of visible sources that mean the same; None when `Matrix` is the way to find them."""

    def without_vector(self, passages: Collection[int], embedder: str) -> list[int]:
        """Those passages that this embedder has yet to embed."""

    def frequencies(self, terms: Sequence[Term]) -> list[int]:
        """In how many passages each term stands, in any of its variants."""

    def visible_among(self, ids: Iterable[int], visible: Visible) -> set[int]:
        """Those passages whose source is visible."""

    def visible_ids(self, visible: Visible) -> list[int]:
        """All passages of visible sources."""

    def statistics(self) -> Statistics:
        """May be some seconds old."""

    def tend(self) -> None:
        """What the worker does for the index every now and then."""

    def rebuild(self) -> int:
        """Indexes the words of passages that came into their table by another way. Returns how many."""

    def renew(self) -> int:
        """Indexes some of the passages anew whose words an older analyser made. Returns how many."""


def indexed_text(title: str, heading: str, text: str) -> str:
    """What a passage is found by: its text under its title and headings, none of them twice."""
    context = dict.fromkeys(line.strip() for line in (title, *heading.split(cutting.SEPARATOR)))
    return "\n".join([*(line for line in context if line and line not in text), text])


def passage_text(row: Passage) -> str:
    """The same for a stored passage: what is to be embedded."""
    return indexed_text(row.source.title, row.heading, row.text)


def cut_text(title: str, content: str, known: Collection[bytes] = ()) -> Cut:
    """The passages of a text, and the words of those whose digest is not `known`.

    A long text takes seconds, so this is done before the transaction that stores it.
    """
    language = detect(f"{title}\n{content}")
    drafts = tuple(_draft(title, piece, language) for piece in cutting.passages(content))
    for draft in drafts:
        if draft.digest not in known:
            _ = draft.words
    return Cut(title, content, language, drafts)


def _draft(title: str, piece: cutting.Passage, language: str) -> Draft:
    text = indexed_text(title, piece.heading, piece.text)
    return Draft(piece, text, detect(text, fallback=language))


class StoredIndex:
    """What is the same in every database: the rows of passages, and what is counted of them."""

    at_once = STEP

    def __init__(self) -> None:
        self._statistics = Statistics(0, ())
        self._newest, self._counted_at = -1, float("-inf")

    @abstractmethod
    def _insert_words(self, source: Source, rows: Sequence[tuple[Passage, Draft]]) -> None:
        """Makes new passages findable by their words."""

    def store(self, source: Source, cut: Cut | None = None) -> None:
        if cut is None or (cut.title, cut.content) != (source.title, source.content):
            cut = cut_text(source.title, source.content)
        with transaction.atomic():
            for step in self.steps(source, cut):
                step()
            self.count(source, cut)
            source.save(update_fields=COUNTED)

    def steps(self, source: Source, cut: Cut) -> Iterator[Callable[[], object]]:
        """What brings the source's passages to this cut, in pieces that take some tens of milliseconds each."""
        drafts = [(_row(source, number, draft), draft) for number, draft in enumerate(cut.drafts)]
        gone = self._matched(source, [row for row, _ in drafts])
        kept = [row for row, _ in drafts if row.pk is not None]
        new = [(row, draft) for row, draft in drafts if row.pk is None]
        for ids in _portions(gone, self.at_once):
            yield Passage.objects.filter(pk__in=ids).delete
        for some in _portions(new, self.at_once):
            yield partial(self._insert, source, some)
        for rows in _portions(kept, self.at_once):
            yield partial(_move, rows)

    def count(self, source: Source, cut: Cut) -> None:
        """Behind the last step."""
        own = Passage.objects.filter(source=source)
        source.language, source.passages_total = cut.language, len(cut.drafts)
        source.passages_done = own.filter(vectors__isnull=False).distinct().count()

    def _matched(self, source: Source, rows: list[Passage]) -> list[int]:
        """Gives rows that the source already has their ids. Returns the ids of the others."""
        old: dict[bytes, list[int]] = {}
        for pk, digest in source.passages.order_by("-position").values_list("pk", "digest"):
            old.setdefault(bytes(digest), []).append(pk)
        for row in rows:
            if known := old.get(bytes(row.digest)):
                row.pk = known.pop()
        return sorted(pk for left in old.values() for pk in left)

    def _insert(self, source: Source, drafts: Sequence[tuple[Passage, Draft]]) -> None:
        Passage.objects.bulk_create([row for row, _ in drafts], batch_size=100)
        self._insert_words(source, drafts)

    def keep(self, vectors: Sequence[Vector]) -> None:
        Vector.objects.bulk_create(vectors, ignore_conflicts=True)

    def nearest(self, embedder: str, question: Floats, visible: Visible, limit: int) -> Near | None:
        return None

    def tend(self) -> None:
        pass

    def without_vector(self, passages: Collection[int], embedder: str) -> list[int]:
        held = set(Vector.objects.filter(passage__in=passages, embedder=embedder).values_list("passage_id", flat=True))
        return [passage for passage in passages if passage not in held]

    def visible_ids(self, visible: Visible) -> list[int]:
        return list(Passage.objects.filter(source__in=visible.values("pk")).order_by().values_list("pk", flat=True))

    def statistics(self) -> Statistics:
        newest = Passage.objects.aggregate(newest=Max("pk"))["newest"] or 0
        age = time.monotonic() - self._counted_at
        if age > STALE or (newest != self._newest and (age > SETTLING or self._statistics.total < FEW)):
            self._statistics = self._counted()
            self._newest, self._counted_at = newest, time.monotonic()
        return self._statistics

    def _counted(self) -> Statistics:
        rows = Passage.objects.order_by().values_list("language").annotate(count=Count("pk"))
        languages = sorted(rows, key=lambda row: (-row[1], row[0]))
        return Statistics(sum(count for _, count in languages), tuple(languages))

    def rebuild(self) -> int:
        """In portions, each a transaction: whatever ends it, the next one goes on behind it."""
        total = 0
        while rows := self._wordless(REBUILT_AT_ONCE):
            with transaction.atomic():
                for row in rows:
                    text = passage_text(row)
                    self._insert_words(row.source, [(row, Draft(_piece(row), text, row.language))])
                Passage.objects.filter(pk__in=[row.pk for row in rows]).update(analyser=VERSION)
            total += len(rows)
        return total

    def renew(self) -> int:
        with transaction_in_turn():
            old = Passage.objects.filter(analyser__lt=VERSION).order_by("pk").select_for_update(of=("self",))
            rows = list(old.select_related("source").defer("source__content")[:RENEWED_AT_ONCE])
            pairs = [(row, Draft(_piece(row), passage_text(row), row.language)) for row in rows]
            self._forget_words([row.pk for row in rows])
            for row, draft in pairs:
                self._insert_words(row.source, [(row, draft)])
            Passage.objects.filter(pk__in=[row.pk for row in rows]).update(analyser=VERSION)
        return len(rows)

    @abstractmethod
    def _forget_words(self, passages: Sequence[int]) -> None:
        """No word leads to these passages any more."""

    def _wordless(self, most: int) -> list[Passage]:
        ids = self._wordless_ids(most)
        return list(Passage.objects.filter(pk__in=ids).select_related("source").defer("source__content"))

    @abstractmethod
    def _wordless_ids(self, most: int) -> list[int]:
        """Passages that no word leads to, because nobody has indexed them yet."""


def _portions(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _piece(row: Passage) -> cutting.Passage:
    return cutting.Passage(row.start, row.end, row.heading, row.text)


def _move(rows: Sequence[Passage]) -> None:
    """To their new places. A statement for each: Django's one for all takes longer the more there are."""
    sql = f'UPDATE {Passage._meta.db_table} SET position = %s, start = %s, "end" = %s, heading = %s WHERE id = %s'  # noqa: S608
    with connection.cursor() as cursor:
        cursor.executemany(sql, [(row.position, row.start, row.end, row.heading, row.pk) for row in rows])


def _row(source: Source, position: int, draft: Draft) -> Passage:
    return Passage(
        source=source,
        position=position,
        start=draft.piece.start,
        end=draft.piece.end,
        heading=draft.piece.heading,
        text=draft.piece.text,
        digest=draft.digest,
        language=draft.language,
        analyser=VERSION,
    )


def is_visible(visible: Visible) -> tuple[str, Sequence[Any]]:
    """A correlated subquery (and its parameters) that has a row when `passage`'s source is visible."""
    mine = visible.filter(pk=RawSQL("passage.source_id", [])).order_by().values("pk")
    sql, parameters = mine.query.get_compiler(using=visible.db).as_sql()
    return sql, parameters


def visible_ids(visible: Visible) -> tuple[str, Sequence[Any]]:
    """A subquery (and its parameters) that lists the visible sources."""
    sql, parameters = visible.order_by().values("pk").query.get_compiler(using=visible.db).as_sql()
    return sql, parameters
