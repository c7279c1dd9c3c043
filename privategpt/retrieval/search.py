"""The one door to what is known: the passages that a question's words and meaning lead to.

Who may read what comes in as a queryset and is part of every query; no passage of another
source is ever read."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol
from uuid import UUID

import numpy as np
from django.conf import settings

from privategpt.models import Passage
from privategpt.retrieval.analyse import Term, detect, question_terms
from privategpt.retrieval.embedders import EmbedderUnavailable
from privategpt.retrieval.embedding_process import Client, socket_path
from privategpt.retrieval.index import Index, Visible
from privategpt.retrieval.indexes import index
from privategpt.retrieval.matrix import Floats, Integers, Matrix

log = logging.getLogger(__name__)

CANDIDATES = 200  # of each list: their best and worst scores span the scale on which both are added
FIRST_LOOK = 600  # nearest passages whose readers are looked up: enough where one may read a third of what there is
LONGEST_LOOK = 3_200  # more costs as much as to look up all that one may read
PER_SOURCE = 3  # passages of one source among the hits: variety is worth more than a fourth
LOOK = 64  # passages whose sources are looked up at a time
WORDS_CHOSEN = "Searched by words alone, as was asked."
QUESTION_SECONDS = 1.0  # for the question's vector; after that the words alone must do


class Embedded(Protocol):
    """Unit rows, and the identity of the embedder that made them: only its vectors may be compared with them."""

    @property
    def rows(self) -> Floats: ...
    @property
    def identity(self) -> str: ...
    @property
    def related(self) -> float | None: ...


class Pending(Protocol):
    def embedded(self, timeout: float) -> Embedded:
        """The question as one row. Raises EmbedderUnavailable when it does not come in so many seconds."""


class Questions(Protocol):
    """Where questions become vectors."""

    def ask(self, question: str) -> Pending:
        """Returns at once; the work goes on elsewhere."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. `score` orders the hits of one search and means nothing beyond it;
    `cosine` is the similarity with the question, None when the search went by words alone."""

    passage: int
    source: UUID
    title: str
    heading: str
    start: int
    end: int
    text: str
    language: str
    score: float
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Weighed:
    """A term of the question and its weight: the rarer in the index, the more it says."""

    term: Term
    idf: float


@dataclass(frozen=True, slots=True)
class Background:
    """How near the index as a whole is to a question: the median and the 90th percentile of the cosines."""

    median: float
    high: float
    passages: int
    related: float | None = None  # the embedder's own mark, see `Embedder`

    def spreads(self, cosine: float) -> float:
        """How far a cosine stands out, in units that no embedder and no language changes."""
        return (cosine - self.high) / max(self.high - self.median, 1e-3)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the vectors say: passages with their cosines, best first."""

    nearest: list[tuple[int, float]]
    embedded: Integers = field(default_factory=lambda: np.empty(0, np.int64))  # every passage that has a vector
    vector: Floats | None = None
    background: Background | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, best first; `sources` are the ids in order, each once. `note` says why the search went by words alone;
    else `vector` is the question's and `background` what it compares to."""

    hits: list[Hit]
    sources: list[UUID]
    terms: list[Weighed]
    vector: Floats | None = None
    background: Background | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ways:
    """By what is searched; by neither, nothing is found."""

    words: bool = True
    meaning: bool = True


BOTH = Ways()


class Searcher:
    def __init__(self, index: Index, questions: Questions | None = None) -> None:
        self.index, self.questions = index, questions
        self._matrix: Matrix | None = None

    def search(self, question: str, visible: Visible, limit: int = 10, ways: Ways = BOTH) -> Found:
        """The best passages of at most `limit` visible sources. Waits at most QUESTION_SECONDS for the vector.

        Asked twice, it says the same: equal scores keep the order of passage ids.
        """
        pending = self.questions.ask(question) if self.questions and ways.meaning else None
        statistics = self.index.statistics()
        terms = question_terms(
            question, statistics.searched(detect(question, fallback=_commonest(statistics.languages)))
        )
        by_words = self.index.lexical(terms, visible, CANDIDATES) if ways.words else []
        asked = np.array([passage for passage, _ in by_words], np.int64)
        meaning = self._by_meaning(pending, visible, asked) if ways.meaning else Meaning([], note=WORDS_CHOSEN)
        ranked = fused(by_words, meaning.nearest, asked[~np.isin(asked, meaning.embedded)].tolist())
        hits = self._hits(ranked, dict(meaning.nearest), visible, limit)
        sources = list(dict.fromkeys(hit.source for hit in hits))
        weighed = self._weighed(terms, statistics.total)
        return Found(hits, sources, weighed, meaning.vector, meaning.background, meaning.note)

    def _by_meaning(self, pending: Pending | None, visible: Visible, asked: Integers) -> Meaning:
        if pending is None:
            return Meaning([], note="No embedder is set up: searched by words alone.")
        try:
            question = pending.embedded(QUESTION_SECONDS)
        except EmbedderUnavailable as reason:
            return Meaning([], note=f"{reason} Searched by words alone.")
        vector = question.rows[0]
        if near := self.index.nearest(question.identity, vector, visible, CANDIDATES):
            # Here the database compares; of the passages found by words it says which have no vector.
            without = self.index.without_vector(asked.tolist(), question.identity)
            embedded = np.setdiff1d(asked, np.array(without, np.int64))
            return Meaning(near.nearest, embedded, vector, _background(near.sample, question.related))
        passages, scores = self._matrix_of(question.identity, len(vector)).nearest(vector)
        if not len(passages):
            return Meaning([], note="No passage has a vector yet: searched by words alone.")
        nearest = self._visible_nearest(passages, scores, visible)
        return Meaning(nearest, passages, vector, _background(scores, question.related))

    def _matrix_of(self, embedder: str, size: int) -> Matrix:
        """This embedder's vectors; another's are dropped, for nothing asks for them any more."""
        matrix = self._matrix
        if matrix is None or (matrix.embedder, matrix.size) != (embedder, size):
            self._matrix = matrix = Matrix(embedder, size)
        return matrix

    def _visible_nearest(self, passages: Integers, scores: Floats, visible: Visible) -> list[tuple[int, float]]:
        """The CANDIDATES nearest passages of visible sources."""
        look = FIRST_LOOK
        while look <= LONGEST_LOOK:
            ids, best = _top(passages, scores, look)
            allowed = self.index.visible_among(ids.tolist(), visible)
            if len(allowed) >= CANDIDATES or len(ids) == len(passages):
                return _pairs(ids, best, allowed)
            # So far as one may tell from these, this many will do; else what may be read is counted out.
            look = max(2 * look, int(1.5 * look * CANDIDATES / max(len(allowed), 1)))
        mine = np.isin(passages, np.array(self.index.visible_ids(visible), np.int64))
        ids, best = _top(passages[mine], scores[mine], CANDIDATES)
        return _pairs(ids, best, set(ids.tolist()))

    def _hits(
        self, scores: Sequence[tuple[int, float]], cosines: dict[int, float], visible: Visible, limit: int
    ) -> list[Hit]:
        chosen = self._per_source(scores, limit)
        # Read by right once more: what changed hands since it was found is not shown.
        allowed = self.index.visible_among(chosen, visible)
        rows = Passage.objects.filter(pk__in=allowed).select_related("source").only(*PASSAGE_FIELDS)
        known = {row.pk: row for row in rows}
        return [_hit(known[pk], score, cosines.get(pk)) for pk, score in chosen.items() if pk in known]

    def _per_source(self, scores: Sequence[tuple[int, float]], limit: int) -> dict[int, float]:
        """The best passages of the best sources: PER_SOURCE of each of `limit`."""
        taken: dict[UUID, int] = {}
        chosen: dict[int, float] = {}
        for at in range(0, len(scores), LOOK):
            if len(taken) == limit and at > LOOK:
                break  # what else these sources have stands far down
            part = scores[at : at + LOOK]
            owners = dict(Passage.objects.filter(pk__in=[pk for pk, _ in part]).values_list("pk", "source_id"))
            for pk, score in part:
                owner = owners.get(pk)
                if owner is None or (owner not in taken and len(taken) == limit) or taken.get(owner) == PER_SOURCE:
                    continue
                taken[owner] = taken.get(owner, 0) + 1
                chosen[pk] = score
        return chosen

    def _weighed(self, terms: list[Term], total: int) -> list[Weighed]:
        counts = self.index.frequencies(terms)
        return [Weighed(term, idf(count, total)) for term, count in zip(terms, counts, strict=True)]


FEW = 100  # passages
ORDINARY = 0.02  # share of them that an ordinary word of a question stands in
PASSAGE_FIELDS = ("source__title", "heading", "start", "end", "text", "language")


def _hit(row: Passage, score: float, cosine: float | None) -> Hit:
    return Hit(
        passage=row.pk,
        source=row.source_id,
        title=row.source.title,
        heading=row.heading,
        start=row.start,
        end=row.end,
        text=row.text,
        language=row.language,
        score=score,
        cosine=cosine,
    )


def _commonest(languages: Sequence[tuple[str, int]]) -> str:
    return languages[0][0] if languages else "en"


def idf(count: int, total: int) -> float:
    """Inverse document frequency as BM25 has it (Lucene's form: never below zero).

    An index of a few passages says little of how rare a word is: one that it lacks would outweigh all that it has.
    So it is thought of as `FEW` passages at least, the others ordinary ones.
    """
    others = max(FEW - total, 0)
    count, total = count + round(others * ORDINARY), total + others
    return float(np.log1p((total - min(count, total) + 0.5) / (count + 0.5)))


def _background(scores: Floats, related: float | None) -> Background:
    median, high = np.percentile(scores, [50, 90])
    return Background(float(median), float(high), len(scores), related)


def _top(passages: Integers, scores: Floats, limit: int) -> tuple[Integers, Floats]:
    """The best `limit`, best first, equal ones by id."""
    if len(scores) > limit:
        chosen = np.argpartition(-scores, limit - 1)[:limit]
        passages, scores = passages[chosen], scores[chosen]
    order = np.lexsort((passages, -scores))
    return passages[order], scores[order]


def _pairs(passages: Integers, scores: Floats, allowed: Collection[int]) -> list[tuple[int, float]]:
    """The first CANDIDATES of those that may be read."""
    pairs = zip(passages.tolist(), scores.tolist(), strict=True)
    return [pair for pair in pairs if pair[0] in allowed][:CANDIDATES]


def fused(
    by_words: Sequence[tuple[int, float]],
    by_meaning: Sequence[tuple[int, float]],
    without_vector: Collection[int] = (),
) -> list[tuple[int, float]]:
    """Both lists as one, best first: each list's scores stretched to 0..1 and added.

    Better than the sum of ranks: a list that cannot tell its candidates apart does not vote as if it could.
    A passage that has no vector yet is taken to be as near in meaning as it is in words; else whatever was
    embedded first would stand before it, however far from the question.
    """
    words, meaning = _stretched(by_words), _stretched(by_meaning)
    if meaning:
        meaning |= {passage: words[passage] for passage in without_vector}
    total = {passage: words.get(passage, 0.0) + meaning.get(passage, 0.0) for passage in words.keys() | meaning.keys()}
    return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))


def _stretched(pairs: Sequence[tuple[int, float]]) -> dict[int, float]:
    low = min((score for _, score in pairs), default=0.0)
    span = max((score for _, score in pairs), default=0.0) - low
    return {passage: (score - low) / span if span else 1.0 for passage, score in pairs}


@cache
def searcher() -> Searcher:
    """This process's searcher. Questions go to the embedding process of the data folder."""
    try:
        questions = Client(socket_path(settings.DATA_DIR))
    except EmbedderUnavailable as reason:
        log.warning("Questions are searched by words alone: %s", reason)
        return Searcher(index())
    return Searcher(index(), questions)


def search(question: str, visible: Visible, limit: int = 10) -> Found:
    """See `Searcher.search`."""
    return searcher().search(question, visible, limit)
