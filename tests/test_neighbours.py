"""pgvector: the graph finds what comparing everything finds, for whoever may read little too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from django.db import connection

from privategpt.models import Passage, Source, Vector
from privategpt.retrieval import neighbours
from privategpt.retrieval.indexes import index
from privategpt.retrieval.matrix import Floats, packed
from privategpt.retrieval.neighbours import Neighbours
from tests import leg

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(leg.SERVER is None, reason="pgvector is PostgreSQL's"),
]

MANY, SIZE, EMBEDDER = 1_500, 48, "fake/1"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is many here is few in service."""
    monkeypatch.setattr(neighbours, "WORTHWHILE", 1_000)
    monkeypatch.setattr(neighbours, "FEW_VISIBLE", 50)
    yield
    index.cache_clear()  # which knows of the table
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS privategpt_neighbour CASCADE")
        cursor.execute("DROP FUNCTION IF EXISTS privategpt_vectors_gone, privategpt_no_vectors CASCADE")


@pytest.fixture
def vectors(small: None) -> Floats:
    """One passage a source, of which every fifth is public, in clusters."""
    dice = np.random.default_rng(3)
    centres = dice.normal(size=(20, SIZE))
    rows = (centres[dice.integers(0, 20, MANY)] + 0.7 * dice.normal(size=(MANY, SIZE))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    sources = Source.objects.bulk_create(
        [Source(title=str(n), content="x", is_public=n % 5 == 0, passages_total=1) for n in range(MANY)]
    )
    passages = Passage.objects.bulk_create(
        [Passage(source=each, position=0, start=0, end=1, digest=b"", language="en", text="x") for each in sources]
    )
    pairs = zip(passages, packed(rows), strict=True)
    Vector.objects.bulk_create([Vector(passage=row, embedder=EMBEDDER, data=data) for row, data in pairs])
    return rows


@pytest.fixture
def tended(vectors: Floats) -> Neighbours:
    found = Neighbours()
    found.tend(now=True)
    return found


def exact(rows: Floats, question: Floats, public_only: bool) -> list[int]:
    """The ten nearest by comparing all."""
    ids = np.array(Passage.objects.order_by("pk").values_list("pk", flat=True))
    scores = rows.astype(np.float16).astype(np.float32) @ question
    if public_only:
        ids, scores = ids[::5], scores[::5]
    return [int(pk) for pk in ids[np.argsort(-scores)[:10]]]


@pytest.mark.parametrize("public_only", [False, True])
def test_the_graph_finds_what_comparing_finds(vectors: Floats, tended: Neighbours, public_only: bool) -> None:
    visible = Source.objects.filter(is_public=True) if public_only else Source.objects.all()
    asked, hits = vectors[7::30], 0
    for question in asked:
        near = tended.nearest(EMBEDDER, question, visible, 50)
        assert near is not None
        assert len(near.nearest) == 50
        hits += len({pk for pk, _ in near.nearest[:10]} & set(exact(vectors, question, public_only)))
    assert hits / (10 * len(asked)) >= 0.98


def test_the_graph_is_what_answers(vectors: Floats, tended: Neighbours) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname LIKE 'privategpt_near%'")
        assert cursor.fetchone() is not None
    near = tended.nearest(EMBEDDER, vectors[0], Source.objects.all(), 5)
    assert near is not None
    assert near.nearest[0][1] == pytest.approx(1, abs=1e-3)
    assert len(near.sample) > MANY / 4


def test_who_may_read_next_to_nothing_finds_that(vectors: Floats, tended: Neighbours) -> None:
    mine = Source.objects.filter(title__in=["10", "20", "30"])
    near = tended.nearest(EMBEDDER, vectors[1], mine, 50)
    assert near is not None
    assert {pk for pk, _ in near.nearest} == set(Passage.objects.filter(source__in=mine).values_list("pk", flat=True))


def test_until_every_vector_is_there_it_does_not_answer(vectors: Floats) -> None:
    assert Neighbours().nearest(EMBEDDER, vectors[0], Source.objects.all(), 5) is None


def test_a_new_vector_is_found_at_once_and_a_deleted_one_no_more(vectors: Floats, tended: Neighbours) -> None:
    question = -vectors[0]
    source = Source.objects.create(title="new", content="x", passages_total=1)
    row = Passage.objects.create(source=source, position=0, start=0, end=1, digest=b"", language="en", text="x")
    index().keep([Vector(passage=row, embedder=EMBEDDER, data=packed(question[None])[0])])
    near = tended.nearest(EMBEDDER, question, Source.objects.all(), 5)
    assert near is not None
    assert near.nearest[0][0] == row.pk
    source.delete()
    near = tended.nearest(EMBEDDER, question, Source.objects.all(), 5)
    assert near is not None
    assert row.pk not in dict(near.nearest)
