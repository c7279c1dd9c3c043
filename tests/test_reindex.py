"""`manage.py reindex`: new vectors for every source after a change of embedder, and progress to look at."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from privategpt.management.commands import reindex
from privategpt.models import Source, Vector
from privategpt.worker import Worker
from tests.answering import source
from tests.embedding import FakeEmbedding

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def embedding(monkeypatch: pytest.MonkeyPatch) -> FakeEmbedding:
    """The embedder as it is after the change."""
    found = FakeEmbedding("new/2/16")
    monkeypatch.setattr(reindex, "Client", lambda _: found)
    return found


def reindexed(*given: str) -> str:
    out = StringIO()
    call_command("reindex", *given, stdout=out)
    return out.getvalue()


def test_every_source_gets_the_new_embedders_vectors(embedding: FakeEmbedding) -> None:
    for number in range(3):
        source(f"Paper {number}", f"Paper number {number}.")
    Worker(FakeEmbedding("old/1/16")).drain()
    told = reindexed()
    assert "Embedder: new/2/16. Sources to do: 3." in told
    assert "3 of 3 passages, 0 sources to do, 0 failed" in told
    assert set(Vector.objects.values_list("embedder", flat=True)) == {"new/2/16"}
    assert "Sources to do: 0." in reindexed()


def test_the_work_can_be_left_to_the_server(embedding: FakeEmbedding) -> None:
    source("Paper", "Paper.")
    Worker(FakeEmbedding("old/1/16")).drain()
    reindexed("--no-wait")
    assert Source.objects.get().state == Source.State.CREATION


def test_without_an_embedder_it_says_what_to_do(embedding: FakeEmbedding) -> None:
    embedding.absent = True
    with pytest.raises(CommandError, match="Start the server first"):
        reindexed()
