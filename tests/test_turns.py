"""Vectors in fair turns: nobody's huge source holds up somebody else's, and nobody waits for ever."""

from __future__ import annotations

import pytest

from accounts.models import Group, User
from privategpt import ingest
from privategpt.models import Source
from privategpt.retrieval.embedding_process import BATCH, Embedded
from privategpt.worker import Worker
from tests.answering import group
from tests.embedding import FakeEmbedding

State = Source.State
PART = "## Part {0}\n\n" + "Word{0} stands here among others of its kind and says little. " * 30
BOOK = "\n\n".join(PART.format(number) for number in range(200))

pytestmark = pytest.mark.django_db(transaction=True)


class Watched(FakeEmbedding):
    """Says whose passages were embedded in which order, and may store more at any request."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.more = 0

    def passages(self, texts: list[str]) -> Embedded:  # type: ignore[override]
        found = super().passages(texts)
        if texts != ["Is anybody there?"]:
            self.order.append(texts[0].split()[0])
            if self.more:
                self.more -= 1
                stored(None, f"Crowd{self.more}", "A sentence.")
        return found


@pytest.fixture
def everybody(alice: User, bob: User, charlie: User) -> Group:
    return group("all", alice, bob, charlie)


def stored(owner: User | None, title: str, content: str) -> Source:
    return ingest.store(owner, title=title, content=content, groups=[], public=True)


def drained(embedding: Watched) -> list[str]:
    assert Worker(embedding).drain()
    assert set(Source.objects.values_list("state", flat=True)) == {State.VECTORIZED}
    return embedding.order


def test_a_sentence_does_not_wait_for_the_manual(alice: User) -> None:
    """Nor for somebody's book: a batch of each owner, and then it is its turn."""
    manual = stored(None, "Manual", BOOK)
    stored(alice, "Short", "One sentence.")
    assert manual.passages_total > 3 * BATCH
    order = drained(Watched())
    assert order.index("Short") <= 1


def test_ones_own_short_source_goes_ahead_of_ones_own_book(alice: User) -> None:
    stored(alice, "Book", BOOK)
    stored(alice, "Short", "One sentence.")
    assert drained(Watched())[0] == "Short"


def test_owners_take_turns_however_much_each_has(alice: User, bob: User, charlie: User) -> None:
    stored(alice, "Alice", BOOK)
    stored(bob, "Bob", BOOK)
    for _ in range(20):
        stored(charlie, "Charlie", "One sentence.")
    order = drained(Watched())
    for owner in ("Alice", "Bob", "Charlie"):
        assert owner in order[:3]
    both = [name for name in order if name != "Charlie"]
    assert both[:6] in (["Alice", "Bob"] * 3, ["Bob", "Alice"] * 3)


def test_a_crowd_of_short_ones_holds_up_no_long_one_for_ever() -> None:
    """Of the same owner too: every second turn is for the one that has waited longest."""
    book = stored(None, "Book", BOOK)
    embedding = Watched()
    embedding.more = 40
    order = drained(embedding)
    batches = -(-book.passages_total // BATCH)
    assert [name for name in order if name == "Book"] == ["Book"] * batches
    assert order.index("Book") <= 1
    assert max(at for at, name in enumerate(order) if name == "Book") <= 2 * batches


def test_a_turn_that_is_given_away_is_no_failed_attempt(alice: User, bob: User) -> None:
    books = [stored(owner, "Book", BOOK) for owner in (alice, bob)]
    drained(Watched())
    assert [Source.objects.get(pk=book.pk).attempts for book in books] == [0, 0]


def test_two_workers_share_the_work(alice: User, bob: User) -> None:
    stored(alice, "Alice", BOOK)
    stored(bob, "Bob", BOOK)
    first = ingest.claim("first")
    assert first
    second = Worker(Watched())
    second.drain()
    other = Source.objects.exclude(pk=first.pk).get()
    assert (other.state, Source.objects.get(pk=first.pk).claimed_by) == (State.VECTORIZED, "first")
