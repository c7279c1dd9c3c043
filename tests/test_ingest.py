"""A source's text to passages to vectors: found by words at once, by meaning soon, its state always true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, connections
from django.utils import timezone

from accounts.models import Group, User
from privategpt import ingest, storable, sweeping
from privategpt.models import UNDO_TIME, Chat, Passage, Source, Vector
from privategpt.retrieval.search import search
from privategpt.worker import Worker
from tests.answering import group, source
from tests.embedding import FakeEmbedding
from tests.patience import PATIENCE
from tests.running import ROOT, until

State = Source.State
PART = "## Part {0}\n\n" + "Word{0} stands here among others of its kind and says little. " * 30
BOOK = "\n\n".join(PART.format(number) for number in range(80))  # 150 kB

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tea(alice: User) -> Group:
    return group("tea", alice)


@pytest.fixture
def embedding() -> FakeEmbedding:
    return FakeEmbedding()


def fresh(stored: Source) -> Source:
    return Source.objects.get(pk=stored.pk)


def found(question: str) -> list[str]:
    return [hit.title for hit in search(question, Source.objects.all()).hits]


def words_in_index() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM privategpt_words")
        return int(cursor.fetchone()[0])


# -- storing --------------------------------------------------------------------------------------


def test_a_stored_source_is_found_by_its_words_at_once(alice: User, tea: Group) -> None:
    stored = ingest.store(alice, title="Green tea", content="It is steeped briefly.", groups=[tea], public=False)
    assert found("steeped") == ["Green tea"]
    assert (stored.state, stored.passages_total, stored.passages_done) == (State.CREATION, 1, 0)
    assert list(stored.groups.all()) == [tea]
    assert stored.creator == alice


def test_a_hundred_kilobytes_are_stored_within_the_promise(alice: User, tea: Group) -> None:
    source("Warm", BOOK[:1000], tea)  # word lists are read once
    began = time.thread_time()
    ingest.store(alice, title="Book", content=BOOK[:100_000], groups=[tea], public=False)
    assert time.thread_time() - began < 0.2


@pytest.mark.parametrize(
    ("title", "content"),
    [
        ("\u202eRTL e\u0301 👩‍👩‍👧", "\ufeff# Ti\u0301tle\r\n\r\n\u200bZero\u200d width\ttab \x1b[31m\r\n"),
        ("../../etc/passwd", "a" * 1_000_000),
        ("%00 COM1 <script>", "\n" * 100_000),
        ("", ""),
    ],
)
def test_title_and_content_come_back_byte_for_byte(title: str, content: str) -> None:
    """Faults 21 and 23, attacks 71, 73 and 75."""
    stored = fresh(source(title, content))
    assert (stored.title, stored.content) == (title, content)
    for row in stored.passages.all():
        assert content[row.start : row.end] == row.text


@pytest.mark.parametrize("text", ["NUL \0", "half \ud83d"])
def test_what_no_database_stores_is_refused(text: str, tea: Group) -> None:
    """Fault 21."""
    for title, content in ((text, "x"), ("x", text)):
        with pytest.raises(storable.Unstorable):
            source(title, content, tea)
    stored = source("x", "x", tea)
    with pytest.raises(storable.Unstorable):
        ingest.edit(stored, content=text)
    assert Source.objects.count() == 1


def test_a_group_that_went_away_takes_the_source_with_it(alice: User, tea: Group) -> None:
    """Fault 26: all in or all out."""
    Group.objects.filter(pk=tea.pk).delete()
    with pytest.raises(ingest.GroupGone):
        ingest.store(alice, title="Tea", content="Tea.", groups=[tea], public=False)
    assert not Source.objects.exists()
    assert not words_in_index()


def test_a_given_id_is_taken_once() -> None:
    known = uuid4()
    ingest.store(None, title="Tea", content="Tea.", groups=[], public=True, source_id=known)
    with pytest.raises(IntegrityError):
        ingest.store(None, title="Tea", content="Other.", groups=[], public=True, source_id=known)
    assert fresh(Source(pk=known)).content == "Tea."


def test_a_deleted_source_leaves_nothing(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", BOOK, tea)
    Worker(embedding).drain()
    began = time.thread_time()
    ingest.delete(stored)
    assert time.thread_time() - began < 0.2
    assert sweeping.sweep(60)
    assert not Passage.objects.exists()
    assert not Vector.objects.exists()
    assert not words_in_index()


def test_thirty_threads_store_at_once(tea: Group) -> None:
    """Fault 16."""
    faults: list[Exception] = []

    def store(number: int) -> None:
        try:
            source(f"Paper {number}", PART.format(number), tea)
        except Exception as fault:
            faults.append(fault)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=store, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert Source.objects.count() == 30


# -- the worker -----------------------------------------------------------------------------------


def test_the_worker_brings_a_source_to_its_vectors(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", BOOK, tea)
    assert Worker(embedding).drain()
    done = fresh(stored)
    assert (done.state, done.state_reason, done.claimed_by) == (State.VECTORIZED, "", "")
    assert done.passages_done == done.passages_total == Vector.objects.count() > 50


def test_progress_shows_while_it_works(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", BOOK, tea)
    seen: list[tuple[str, int]] = []
    keep = ingest.keep

    def watched(*given: object) -> None:
        keep(*given)  # type: ignore[arg-type]
        row = fresh(stored)
        seen.append((row.state, row.passages_done))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "keep", watched)
        Worker(embedding).drain()
    assert {state for state, _ in seen} == {State.PROCESSING}
    assert [done for _, done in seen] == sorted({done for _, done in seen})
    assert len(seen) > 1


def test_an_edit_embeds_only_what_changed(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", BOOK, tea)
    Worker(embedding).drain()
    before = dict(Vector.objects.values_list("passage", "pk"))
    embedding.asked.clear()
    ingest.edit(stored, content=BOOK.replace("Word7 ", "Changed "))
    assert fresh(stored).state == State.CREATION
    Worker(embedding).drain()
    assert 1 <= len(embedding.texts) <= 3
    assert fresh(stored).state == State.VECTORIZED
    after = dict(Vector.objects.values_list("passage", "pk"))
    assert len(set(before.items()) & set(after.items())) >= len(before) - 3
    assert found("Changed") == ["Book"] * len(found("Changed"))


def test_an_edit_of_groups_makes_no_work(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", "Tea.", tea)
    Worker(embedding).drain()
    ingest.edit(stored, groups=[])
    assert (fresh(stored).state, fresh(stored).is_public) == (State.VECTORIZED, True)
    ingest.edit(stored, groups=[tea])
    assert not fresh(stored).is_public
    with pytest.raises(ingest.SourceGone):
        ingest.edit(Source(pk=uuid4()), title="x")


def test_an_edit_in_the_middle_takes_the_source_from_the_worker(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", BOOK, tea)
    keep = ingest.keep

    def edited(*given: object) -> None:
        ingest.edit(stored, content="Something short instead.")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ingest, "keep", keep)
            keep(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "keep", edited)
        patch.setattr(ingest, "is_waiting", iter([True, False]).__next__)
        Worker(embedding).drain()
    assert not Vector.objects.exists()
    Worker(embedding).drain()
    assert fresh(stored).state == State.VECTORIZED
    assert Vector.objects.count() == 1


def test_a_source_that_is_deleted_while_it_is_embedded_is_gone(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", BOOK, tea)
    worker = Worker(embedding)
    claimed = ingest.claim(worker.name)
    assert claimed
    rows = ingest.missing(claimed, embedding.identity, 4)
    ingest.delete(stored)
    with pytest.raises(ingest.ClaimLost):
        ingest.keep(claimed, worker.name, rows, embedding.passages([row.text for row in rows]))
    assert not Vector.objects.exists()


def test_poison_ends_in_error_and_does_not_hold_up_the_others(
    tea: Group, embedding: FakeEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack 76."""
    monkeypatch.setattr(ingest, "PAUSES", (0,))
    embedding.poison = "BREAKS"
    bad, good = source("Bad", "This BREAKS everything.", tea), source("Good", "This is fine.", tea)
    Worker(embedding).drain()
    assert fresh(good).state == State.VECTORIZED
    row = fresh(bad)
    assert (row.state, row.state_reason) == (State.ERROR, "The embedder ended while it worked.")
    assert found("everything") == ["Bad"]
    embedding.poison = ""
    ingest.edit(bad, content="This is mended.")
    Worker(embedding).drain()
    assert fresh(bad).state == State.VECTORIZED


def test_a_source_that_takes_its_workers_with_it_ends_in_error(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Bad", "Kills.", tea)
    for _ in range(ingest.ATTEMPTS):
        assert ingest.claim("a worker that is killed")
        Source.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    Worker(embedding).drain()
    assert fresh(stored).state == State.ERROR
    assert "worker ended" in fresh(stored).state_reason
    assert not embedding.texts


def test_without_an_embedder_a_source_says_why_it_has_no_vectors(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Tea", "Tea is a drink.", tea)
    embedding.absent = True
    assert not Worker(embedding).drain()
    row = fresh(stored)
    assert row.state == State.CREATION
    assert "found by its words alone" in row.state_reason
    assert found("drink") == ["Tea"]
    embedding.absent = False
    assert Worker(embedding).drain()
    assert (fresh(stored).state, fresh(stored).state_reason) == (State.VECTORIZED, "")


def test_a_claim_is_one_workers_until_it_falls_silent(tea: Group) -> None:
    """Fault 18."""
    stored = source("Tea", "Tea.", tea)
    assert ingest.claim("first")
    assert ingest.claim("second") is None
    Source.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    taken = ingest.claim("second")
    assert taken
    with pytest.raises(ingest.ClaimLost):
        ingest.renew(stored, "first")


def test_a_clock_that_was_set_back_holds_up_nothing(tea: Group) -> None:
    """Fault 19."""
    source("Tea", "Tea.", tea)
    assert ingest.claim("first")
    Source.objects.update(claimed_until=timezone.now() + timedelta(hours=1))
    assert ingest.claim("second")


def test_a_worker_that_is_told_to_stop_gives_its_source_back(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", BOOK, tea)
    worker = Worker(embedding)
    embedding.may_answer.clear()

    def work() -> None:
        worker.run()
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert embedding.is_asking.wait(PATIENCE)
    worker.stop()
    embedding.may_answer.set()
    thread.join(PATIENCE)
    row = fresh(stored)
    assert (row.claimed_by, row.attempts) == ("", 0)
    assert 0 < row.passages_done < row.passages_total
    Worker(embedding).drain()
    assert fresh(stored).passages_done == row.passages_total == len(embedding.texts)


def test_the_worker_erases_chats_that_nobody_brought_back(alice: User, embedding: FakeEmbedding) -> None:
    gone, kept = (Chat.objects.create(owner=alice, deleted_at=timezone.now()) for _ in range(2))
    Chat.objects.filter(pk=gone.pk).update(deleted_at=timezone.now() - UNDO_TIME)
    worker = Worker(embedding)

    def work() -> None:
        worker.run()
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: not Chat.objects.filter(pk=gone.pk).exists(), "the end of the deleted chat")
    worker.stop()
    thread.join(PATIENCE)
    assert Chat.objects.filter(pk=kept.pk).exists()


def test_another_embedder_makes_its_own_vectors(tea: Group, embedding: FakeEmbedding) -> None:
    stored = source("Book", BOOK, tea)
    Worker(embedding).drain()
    other = FakeEmbedding("other/2/16")
    assert ingest.reindex(other.identity) == 1
    assert (fresh(stored).state, fresh(stored).passages_done) == (State.CREATION, 0)
    Worker(other).drain()
    assert set(Vector.objects.values_list("embedder", flat=True)) == {"other/2/16"}
    assert ingest.reindex(other.identity) == 0


def test_a_worker_that_was_killed_leaves_whole_batches_and_its_source_is_taken_up(
    tea: Group, embedding: FakeEmbedding
) -> None:
    """Fault 18, with kill -9 in the middle of a source."""
    stored = source("Book", BOOK, tea)
    command = [sys.executable, "-m", "tests.killed_worker", str(connection.settings_dict["NAME"]), "0.05"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        until(lambda: fresh(stored).passages_done > 0, "the first batch")
        process.send_signal(signal.SIGKILL)
    row = fresh(stored)
    assert row.state == State.PROCESSING
    assert row.passages_done == Vector.objects.count() < row.passages_total
    assert row.claimed_until
    assert row.claimed_until - timezone.now() <= ingest.LEASE <= timedelta(seconds=60)
    assert ingest.claim("too early") is None
    Source.objects.update(claimed_until=timezone.now())  # the lease has run out
    Worker(embedding).drain()
    done = fresh(stored)
    assert (done.state, done.passages_done) == (State.VECTORIZED, done.passages_total)
    assert Vector.objects.count() == done.passages_total == words_in_index()


# -- beside each other ----------------------------------------------------------------------------


def test_a_long_text_is_cut_and_read_before_anything_is_locked(alice: User) -> None:
    before = ingest.prepare("Book", BOOK)
    assert all("words" in vars(draft) for draft in before.drafts)
    stored = ingest.store(alice, title="Book", content=BOOK, groups=[], public=True, cut=before)
    assert stored.passages_total == len(before.drafts)
    assert found("word7") == ["Book"]


def test_a_cut_of_another_text_is_not_stored(alice: User) -> None:
    other = ingest.prepare("Tea", "It is steeped briefly.")
    ingest.store(alice, title="Coffee", content="It is ground finely.", groups=[], public=True, cut=other)
    assert found("ground") == ["Coffee"]
    assert found("steeped") == []


def test_workers_that_come_at_once_take_different_sources(alice: User) -> None:
    for number in range(6):
        ingest.store(alice, title=f"Tea {number}", content="Tea.", groups=[], public=True)
    taken: list[Source] = []

    def take(worker: str) -> None:
        try:
            while row := ingest.claim(worker):
                taken.append(row)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=take, args=(f"worker {number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(taken) == len({row.pk for row in taken}) == 6
