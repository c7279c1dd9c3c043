"""Names are found exactly: codes, symbols, acronyms, umlauts; also in an installation that was indexed before."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from accounts.models import User
from privategpt import ingest, worker
from privategpt.models import Passage, Source
from privategpt.retrieval.analyse import VERSION, question_terms
from privategpt.retrieval.indexes import index
from privategpt.worker import Worker
from tests.answering import source
from tests.embedding import FakeEmbedding
from tests.patience import PATIENCE
from tests.running import until

TEXTS = [
    "The torque of the pump RX-500-I is 40 Nm.",
    "The torque of the pump RX-500-A is 60 Nm.",
    "The torque of the pump RX-500-B is 70 Nm.",
    "Programs in C need a makefile.",
    "Programs in C# need a project file.",
    "Programs in C++ need a header.",
    "Programs in F# and .NET need a solution.",
    "It is said that the canteen opens at noon.",
    "The IT department keeps the keys.",
    "Herr M\u00fcller wohnt in der Hauptstra\u00dfe.",
    "Room \u0665\u0660\u0660 is upstairs.",
]


@pytest.fixture
def sources(alice: User) -> None:
    for text in TEXTS:
        ingest.store(alice, title="", content=text, groups=[], public=True)


def best(question: str) -> str:
    found = index().lexical(question_terms(question, ["en", "de"]), Source.objects.all(), 3)
    return Passage.objects.get(pk=found[0][0]).text


QUESTIONS = [
    ("Which torque has RX-500-A?", "RX-500-A"),
    ("Which torque has RX-500-I?", "RX-500-I"),
    ("torque of the RX500B", "RX-500-B"),
    ("What do programs in C# need?", "C#"),
    ("What do programs in C++ need?", "C++"),
    ("What do programs in F# need?", "F#"),
    ("What do programs in .NET need?", ".NET"),
    ("Who is the IT department?", "IT department"),
    ("Wo wohnt Mueller?", "M\u00fcller"),
    ("Hauptstrasse", "M\u00fcller"),
    ("Where is room 500?", "upstairs"),
]


@pytest.mark.django_db
def test_the_one_that_was_named_comes_first(sources: None) -> None:
    assert [(question, name in best(question)) for question, name in QUESTIONS] == [
        (each, True) for each, _ in QUESTIONS
    ]


@pytest.mark.django_db
def test_the_worker_indexes_anew_what_an_older_analyser_made(sources: None) -> None:
    Passage.objects.update(analyser=VERSION - 1)
    index()._forget_words(list(Passage.objects.values_list("pk", flat=True)))  # type: ignore[attr-defined]
    assert not index().lexical(question_terms("torque", ["en"]), Source.objects.all(), 3)
    Worker(None).renew()  # type: ignore[arg-type]
    assert "RX-500-A" in best("Which torque has RX-500-A?")
    assert not Passage.objects.filter(analyser__lt=VERSION).exists()
    assert index().renew() == 0


class NeverDone:
    """An index with more old words than there is time for."""

    renewals = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(index(), name)

    def renew(self) -> int:
        self.renewals += 1
        return 1


@pytest.mark.django_db(transaction=True)
def test_old_words_hold_up_no_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    old = NeverDone()
    monkeypatch.setattr(worker, "index", lambda: old)
    found = source("Pump", "It turns.")
    working = Worker(FakeEmbedding())

    def run() -> None:
        working.run()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: Source.objects.get(pk=found.pk).state == Source.State.VECTORIZED, "it has its vectors")
    finally:
        working.stop()
        thread.join(PATIENCE)
    assert old.renewals


@pytest.mark.django_db
def test_the_words_still_go_with_their_passage(sources: None) -> None:
    Source.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM privategpt_words")
        assert cursor.fetchone()[0] == 0
