"""BM25 in PostgreSQL: the same passages in the same order as FTS5 finds, with the same scores."""

from __future__ import annotations

import random
import sqlite3
from itertools import pairwise

import pytest
from django.db import connection

from privategpt.models import Passage, Source
from privategpt.retrieval.analyse import Term, index_words, question_terms
from privategpt.retrieval.index import passage_text
from privategpt.retrieval.indexes import index
from tests import leg

pytestmark = [pytest.mark.django_db, pytest.mark.skipif(leg.SERVER is None, reason="compares PostgreSQL with SQLite")]

WORDS = tuple(
    "pump valve boiler pressure oil grease filter motor steam gauge shaft seal bearing flange pipe".split()  # noqa: SIM905
)


@pytest.fixture
def corpus() -> None:
    """Texts of unlike length, whose words are unlike in how often they stand."""
    dice = random.Random(7)
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    for number in range(60):
        text = " ".join(dice.choices(WORDS, weights, k=dice.randint(5, 120)))
        source = Source.objects.create(title=f"Note {number}", content=text, is_public=True)
        index().store(source)
    for text in ("水泵需要油。", "水位计和水压。", "阀门要上油。"):
        index().store(Source.objects.create(title=text[:2], content=text, is_public=True))


def fts5(terms: list[Term], limit: int) -> list[tuple[int, float]]:
    """What SQLite finds among the same passages."""
    with sqlite3.connect(":memory:") as file:
        file.execute("""CREATE VIRTUAL TABLE words USING fts5(body, tokenize="ascii tokenchars '_'")""")
        for row in Passage.objects.select_related("source"):
            file.execute("INSERT INTO words (rowid, body) VALUES (?, ?)", (row.pk, " ".join(words_of(row))))
        match = " OR ".join(
            f'"{word}"{"*" if term.is_prefix else ""}' for term in terms for word in dict.fromkeys(term.variants)
        )
        sql = "SELECT rowid, -rank FROM words WHERE body MATCH ? ORDER BY rank, rowid LIMIT ?"
        return file.execute(sql, (match, limit)).fetchall()


def words_of(row: Passage) -> list[str]:
    return index_words(passage_text(row), row.language)


@pytest.mark.parametrize(
    "question", ["pump", "grease the rotor", "boiler pressure and steam gauge", "seal bearing pump", "水", "水泵 oil"]
)
def test_both_databases_rank_alike(corpus: None, question: str) -> None:
    terms = question_terms(question, ["en", "zh"])
    assert terms
    found = index().lexical(terms, Source.objects.all(), 50)
    wanted = fts5(terms, 50)
    assert found
    assert len(found) == len(wanted)
    score = dict(fts5(terms, 1000))
    assert [pytest.approx(score[passage], rel=1e-4, abs=1e-7) for passage, _ in found] == [each for _, each in found]
    assert all(here >= there for (_, here), (_, there) in pairwise(found))
    assert sum(each for _, each in found) == pytest.approx(sum(each for _, each in wanted), rel=1e-4, abs=1e-6)


def test_only_visible_passages_are_ranked(corpus: None) -> None:
    few = Source.objects.filter(title__in=["Note 7", "Note 8"])
    terms = question_terms("pump valve", ["en"])
    found = {passage for passage, _ in index().lexical(terms, few, 5)}
    assert found == set(Passage.objects.filter(source__in=few).values_list("pk", flat=True))


def test_words_go_with_their_passages(corpus: None) -> None:
    Source.objects.exclude(title="Note 7").delete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT passage_id) FROM privategpt_posting")
        assert cursor.fetchone() == (1,)


def test_passages_that_came_by_another_way_are_indexed_when_it_is_asked_for(corpus: None) -> None:
    terms = question_terms("grease the rotor", ["en"])
    before = index().lexical(terms, Source.objects.all(), 20)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE privategpt_posting, privategpt_words")
    assert index().lexical(terms, Source.objects.all(), 20) == []
    assert index().rebuild() == Passage.objects.count()
    assert index().lexical(terms, Source.objects.all(), 20) == before
    assert index().rebuild() == 0
