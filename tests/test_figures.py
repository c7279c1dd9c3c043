"""What happened is counted by the hour, rolled up once an hour is over, and never counted twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from privategpt import figures, ingest
from privategpt.figures import HOUR, Tally
from privategpt.models import Chat, Hour, Message, Source
from privategpt.retrieval.embedders import EmbedderUnavailable
from privategpt.retrieval.embedding_process import Embedded
from privategpt.worker import Worker

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def asked(
    owner: User, at: datetime, state: str = "complete", first: float | None = 900.0, cited: bool = True
) -> Message:
    """A question that was asked then."""
    chat = Chat.objects.create(owner=owner)
    trace: dict[str, Any] = {"times": {} if first is None else {"first": first}, "cited": [1] if cited else []}
    message = Message.objects.create(chat=chat, position=0, question="?", state=state, trace=trace)
    Message.objects.filter(pk=message.pk).update(created_at=at)
    return message


def stored(owner: User, at: datetime, passages: int) -> None:
    source = Source.objects.create(creator=owner, title="t", content="c", passages_total=passages)
    Source.objects.filter(pk=source.pk).update(created_at=at)


@pytest.fixture
def morning(alice: User) -> None:
    """Two hours with questions and sources, an empty one between them."""
    asked(alice, NOON - 3 * HOUR)
    asked(alice, NOON - 3 * HOUR, "failed", first=None, cited=False)
    asked(alice, NOON - HOUR + timedelta(minutes=30), first=4000, cited=False)
    stored(alice, NOON - HOUR, 12)


def test_an_hour_is_counted_the_same_before_and_after_it_is_rolled_up(morning: None) -> None:
    before = figures.hours(NOON - 24 * HOUR)
    assert figures.roll_up(NOON + HOUR) == 3
    assert {at: tally for at, tally in figures.hours(NOON - 24 * HOUR).items() if tally != Tally()} == before
    total = figures.sum_of(before.values())
    assert (total.questions, total.complete, total.failed, total.cited) == (3, 2, 1, 1)
    assert (total.sources, total.passages) == (1, 12)


def test_an_hour_is_rolled_up_once_and_not_before_it_has_settled(morning: None) -> None:
    assert figures.roll_up(NOON + timedelta(minutes=10)) == 2
    assert not Hour.objects.filter(at=NOON - HOUR).exists()
    assert figures.roll_up(NOON + timedelta(minutes=16)) == 1
    assert figures.roll_up(NOON + timedelta(minutes=17)) == 0


def test_what_is_deleted_later_stays_counted(morning: None) -> None:
    figures.roll_up(NOON + HOUR)
    Chat.objects.all().delete()
    assert figures.sum_of(figures.hours(NOON - 24 * HOUR).values()).questions == 3


def test_a_long_past_is_rolled_up_in_pieces(alice: User) -> None:
    asked(alice, NOON - 100 * HOUR)
    done = 0
    while found := figures.roll_up(NOON):
        assert found <= figures.AT_ONCE
        done += found
    assert done == 99


def test_without_anything_there_is_nothing_to_keep(db: None) -> None:
    assert figures.roll_up(NOON) == 0
    assert figures.hours(NOON) == {}


def test_waits_add_up_over_hours_and_are_known_to_three_per_cent() -> None:
    total = Tally()
    for first in (100, 200, 400, 800, 1600):
        total.add(Tally(waits=Counter([figures.bin_of(first)])))
    assert total.wait(0.5) == pytest.approx(0.4, rel=0.03)
    assert total.wait(0.95) == pytest.approx(1.6, rel=0.03)
    assert Tally().wait(0.5) is None


def test_what_agents_did_belongs_to_the_hour_in_which_it_was_seen(db: None) -> None:
    figures.note_asks(1000, 5, NOON)
    figures.note_asks(1010, 5, NOON + timedelta(minutes=5))
    figures.note_asks(1012, 7, NOON + HOUR)
    figures.note_asks(3, 0, NOON + HOUR)  # an agent was forgotten
    figures.note_asks(4, 0, NOON + HOUR)
    found = figures.hours(NOON)
    assert [(found[at].asks, found[at].asks_failed) for at in (NOON, NOON + HOUR)] == [(10, 0), (3, 2)]


def test_a_roll_up_keeps_what_agents_did(alice: User) -> None:
    figures.note_asks(10, 0, NOON)
    figures.note_asks(15, 0, NOON)
    asked(alice, NOON)
    figures.roll_up(NOON + 2 * HOUR)
    found = figures.hours(NOON)[NOON]
    assert (found.asks, found.questions) == (5, 1)


def test_looking_takes_three_queries_whatever_there_is(
    morning: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    figures.roll_up(NOON)
    with django_assert_num_queries(3):
        figures.hours(NOON - 24 * HOUR)


def test_the_worker_counts_the_hours_that_are_over(alice: User) -> None:
    asked(alice, timezone.now() - 3 * HOUR)
    ingest.store(alice, title="T", content="# T\n\nText.", groups=[], public=True)
    worker = Worker(Nobody())
    Nobody.leave = worker.stop
    worker.run()
    assert Hour.objects.filter(is_complete=True, questions=1).exists()


class Nobody:
    """No embedder; the worker stops when it has found that out."""

    leave: Callable[[], None]

    def passages(self, texts: list[str]) -> Embedded:
        Nobody.leave()
        raise EmbedderUnavailable("None.")
