"""Many rows at once: out of sight in one short transaction, gone in small ones, between which everybody writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import steps
from accounts.models import AuditEntry, Group, Session, Token, User
from privategpt import ingest, sweeping
from privategpt.models import UNDO, Chat, Citation, Message, Passage, Scenario, Source, StoredReply, Vector
from privategpt.retrieval import index as indexing
from privategpt.retrieval.search import search
from privategpt.worker import Worker
from relay import registry
from relay.models import Conversation
from tests.admin_site import act, administrator, page, signed_in
from tests.answering import group, source
from tests.embedding import FakeEmbedding
from tests.transactions import Ended, Transactions, recorded

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 120
MOST = 2 * steps.MOST  # rows in one transaction: a step, and what a little deletion takes along


@pytest.fixture(autouse=True)
def nothing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes has no time for the rows, as with thousands of them; and a step is what a slow machine takes."""
    monkeypatch.setattr(sweeping, "BRIEF", 0.0)
    monkeypatch.setattr(steps, "SHORT", 0.0)


@pytest.fixture
def tea(alice: User) -> Group:
    return group("tea", alice)


def sources(count: int, *groups: Group) -> list[Source]:
    return [
        source(f"Book {number}", f"# Book {number}\n\nOf tea and leaf {number}.", *groups) for number in range(count)
    ]


def chats(owner: User, count: int, held: Source | None = None) -> None:
    made = Chat.objects.bulk_create(Chat(owner=owner, title=f"Chat {number}") for number in range(count))
    rows = [Message(chat=chat, position=n, question="?", state="complete") for chat in made for n in range(3)]
    Message.objects.bulk_create(rows)
    if held:
        Citation.objects.bulk_create(
            Citation(message=row, source=held, number=1, start=0, end=1, context="x", score=1) for row in rows
        )


def conversations(owner: User, count: int) -> None:
    now = timezone.now()
    Conversation.objects.bulk_create(
        Conversation(owner=owner, conversation_id=f"c{n}", agent_id="a", created_at=now, used_at=now)
        for n in range(count)
    )


def api(user: User) -> Any:
    _, key = Token.objects.issue(Token.Kind.API, user)
    return {"HTTP_AUTHORIZATION": f"Bearer {key}"}


def are_small(found: Transactions) -> None:
    assert max(found.rows, default=0) <= MOST, found.rows
    assert found.bystander == len(found.rows)


def swept() -> Transactions:
    """All of it gone, in small steps, with a bystander who writes between them."""
    with recorded() as found:
        assert sweeping.sweep(600)
    are_small(found)
    return found


def test_a_group_of_many_sources_is_out_of_sight_at_once_and_gone_step_by_step(tea: Group, alice: User) -> None:
    sources(MANY, tea)
    milk = group("milk", alice)
    both = source("Both", "Tea with milk.", tea, milk)
    alice.roles = ["users", "documents", "analytics"]
    alice.save()
    client, key = Client(), api(alice)
    with recorded() as found:
        reply = client.delete("/api/v1/groups", {"groupName": "tea"}, content_type="application/json", **key)
    assert reply.status_code == 200
    are_small(found)
    assert Source.objects.filter(title__startswith="Book").exists(), (
        "nothing is left to be swept: the test says nothing"
    )
    assert list(Source.objects.visible_to(alice)) == list(Source.objects.kept()) == [both]
    assert client.get("/api/v1/sources", **key).json()["data"]["sources"][0]["title"] == "Both"
    assert "tea" not in client.get("/api/v1/groups", **key).json()["data"]["assignableGroups"]
    made = client.post("/api/v1/groups", {"groupName": "tea"}, content_type="application/json", **key)
    assert made.status_code in {200, 201}, "its name is free"
    assert len(swept().rows) > 3
    assert list(Source.objects.all()) == [both]
    assert Passage.objects.filter(source=both).exists()
    assert not Passage.objects.exclude(source=both).exists()
    assert Group.everything.count() == 2


def test_all_chats_are_flushed_at_once_and_gone_step_by_step(alice: User, bob: User) -> None:
    held = source("Book", "Of tea.")
    chats(alice, MANY, held)
    chats(bob, 2, held)
    client, key = Client(), api(alice)
    with recorded() as found:
        assert client.delete("/api/v1/chats/flush", **key).status_code == 200
    are_small(found)
    assert client.get("/api/v1/chats", **key).json()["data"]["chats"] == []
    assert not Chat.objects.restorable_by(alice).exists()
    assert "Chat 1" not in signed_in(alice).get("/").content.decode()
    assert signed_in(administrator()).get(page(Chat, "changelist")).context["cl"].result_count == 2
    swept()
    assert Chat.objects.count() == 2
    assert Citation.objects.count() == Message.objects.count() == 6


def test_a_sweep_that_was_killed_goes_on_at_the_next_start(alice: User, tea: Group) -> None:
    chats(alice, MANY, sources(MANY, tea)[0])
    alice.roles = ["users"]
    alice.save()
    key = api(alice)
    Client().delete("/api/v1/groups", {"groupName": "tea"}, content_type="application/json", **key)
    Client().delete("/api/v1/chats/flush", **key)
    for last in (1, 2, 5):
        with pytest.raises(Ended), recorded(last=last):
            sweeping.sweep(600)
        assert not Source.objects.kept().exists()
        assert not Chat.objects.visible_to(alice).exists()
    swept()
    assert not Source.objects.exists()
    assert not Message.objects.exists()


def test_a_user_who_is_deleted_in_the_admin_site(alice: User) -> None:
    held = source("Book", "Of tea.")
    Source.objects.update(creator=alice)
    chats(alice, MANY, held)
    conversations(alice, MANY)
    browser, key = signed_in(alice), api(alice)
    client = signed_in(administrator())
    with recorded() as found:
        assert client.post(page(User, "delete", alice.pk), {"post": "yes"}).status_code == 302
    are_small(found)
    assert Message.objects.exists(), "nothing is left to be swept: the test says nothing"
    assert not User.objects.filter(pk=alice.pk).exists()
    client.get(page(User, "changelist"))  # says that it was deleted
    assert "alice" not in client.get(page(User, "changelist")).content.decode()
    assert client.get(page(Chat, "changelist")).context["cl"].result_count == 0
    assert client.get(page(Token, "changelist")).context["cl"].result_count == 0
    assert Client().get("/api/v1/chats", **key).status_code == 401
    assert browser.get("/").status_code == 302
    User.objects.create_user("alice@example.org", "another long password")  # the address is free
    swept()
    assert not Message.objects.exists()
    assert Source.objects.get().creator is None
    assert not Session.objects.filter(user=alice.pk).exists()
    assert User.everything.count() == 2


@pytest.mark.parametrize("way", ["sources", "chats", "conversations", "scenarios"])
def test_the_delete_action_over_many_rows(way: str, alice: User, tea: Group) -> None:
    made: dict[str, Callable[[], object]] = {
        "sources": lambda: sources(MANY, tea),
        "chats": lambda: chats(alice, MANY),
        "conversations": lambda: conversations(alice, MANY),
        "scenarios": lambda: asked_with(Scenario.objects.create(name="s", description="d"), alice),
    }
    made[way]()
    model = {"sources": Source, "chats": Chat, "conversations": Conversation, "scenarios": Scenario}[way]
    client, doomed = signed_in(administrator()), list(model._default_manager.all())
    with recorded() as found:
        act(client, "delete_selected", doomed, post="yes", select_across="1")
    are_small(found)
    assert client.get(page(model, "changelist")).context["cl"].result_count == 0
    assert AuditEntry.objects.filter(action__startswith="delete").count() == len(doomed)
    assert LogEntry.objects.count() == len(doomed)
    swept()
    assert not model._default_manager.exists()


def asked_with(scenario: Scenario, owner: User) -> None:
    Chat.objects.bulk_create(Chat(owner=owner, title=f"Chat {n}", scenario=scenario) for n in range(10 * MANY))


def test_a_scenario_with_many_chats_goes_in_small_steps(alice: User) -> None:
    alice.roles = ["system"]
    alice.save()
    scenario = Scenario.objects.create(name="s", description="d", owner=alice)
    asked_with(scenario, alice)
    with recorded() as found:
        assert Client().delete(f"/api/v1/scenarios/{scenario.pk}", **api(alice)).status_code == 200
    are_small(found)
    assert not Chat.objects.exclude(scenario=None).exists()


def test_vectors_of_a_long_source_are_made_anew_in_small_steps(tea: Group) -> None:
    long = source("Long", "\n\n".join(f"# Part {n}\n\n{'Leaf of tea. ' * 20}" for n in range(3 * steps.MOST)), tea)
    rows = Passage.objects.filter(source=long)
    Vector.objects.bulk_create(Vector(passage=row, embedder="e", data=b"") for row in rows)
    with recorded() as found:
        ingest.vectorize_again(long)
    are_small(found)
    assert not Vector.objects.exists()
    assert ingest.claim("worker") == long


def test_what_the_relay_forgets_goes_in_small_steps(alice: User) -> None:
    conversations(alice, 10 * MANY)
    Conversation.objects.update(used_at=timezone.now() - timedelta(days=9))
    with recorded() as found:
        registry._tidy(1)
    are_small(found)
    assert not Conversation.objects.exists()


def test_no_step_looks_through_the_table_again(alice: User) -> None:
    """What is to go is chosen by its key before a transaction begins."""
    conversations(alice, 10 * MANY)
    Conversation.objects.update(used_at=timezone.now() - timedelta(days=9))
    inside: list[str] = []
    outside: list[str] = []

    def seen(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("SELECT") and "used_at" in sql:
            (inside if connection.in_atomic_block else outside).append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(seen):
        registry._tidy(1)
    assert not Conversation.objects.exists()
    assert inside
    assert all('"id" IN (' in sql for sql in inside)
    assert len(outside) == 1 + -(-10 * MANY // steps.MOST)
    assert all('"id" > ' in sql for sql in outside[1:])


def test_what_comes_to_life_between_choice_and_step_stays(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    conversations(alice, 3)
    Conversation.objects.update(used_at=timezone.now() - timedelta(days=9))
    used, choose = Conversation.objects.get(conversation_id="c1"), steps._next

    def late(rows: Any, last: Any) -> list[Any]:
        chosen = choose(rows, last)
        Conversation.objects.filter(pk=used.pk).update(used_at=timezone.now())
        return chosen

    monkeypatch.setattr(steps, "_next", late)
    assert steps.end(Conversation.objects.all().stale(1))
    assert list(Conversation.objects.all()) == [used]


def test_a_deleted_source_is_neither_edited_nor_embedded_nor_cited(tea: Group, alice: User) -> None:
    one = source("Book", "Of tea.", tea)
    ingest.delete(one)
    with pytest.raises(ingest.SourceGone):
        ingest.edit(one, title="Back")
    assert ingest.claim("worker") is None
    assert not ingest.bring_back(one)
    ingest.vectorize_again(one)
    assert Client().patch(
        f"/api/v1/sources/{one.pk}", {"title": "Back"}, content_type="application/json", **api(alice)
    ).status_code in {403, 404}


def parts(*numbers: int) -> str:
    return "\n\n".join(f"# Part {number}\n\n{f'Leaf{number} of tea. ' * 20}" for number in numbers)


def test_a_long_source_is_edited_in_small_steps_and_keeps_what_did_not_change(tea: Group, alice: User) -> None:
    long = source("Long", parts(*range(400)), tea)
    kept = Passage.objects.get(source=long, heading="Part 399")
    Vector.objects.create(passage=kept, embedder="e", data=b"")
    with recorded() as found:
        ingest.edit(long, content=parts(*range(1000, 1050), *range(50, 400)))
    are_small(found)
    long.refresh_from_db()
    assert (long.passages_total, long.passages_done, long.claimed_by) == (400, 1, "")
    rows = list(Passage.objects.filter(source=long).order_by("position"))
    assert [row.position for row in rows] == list(range(400))
    assert all(long.content[row.start : row.end] == row.text for row in rows)
    assert rows[-1].pk == kept.pk
    assert search("leaf1049", Source.objects.visible_to(alice)).hits
    assert not search("leaf49", Source.objects.visible_to(alice)).hits


@pytest.fixture
def killed(tea: Group) -> Source:
    """A long source whose edit was killed in the middle, some time ago."""
    long = source("Long", parts(*range(400)), tea)
    with pytest.raises(Ended), recorded(last=3):
        ingest.edit(long, content=parts(*range(1000, 1400)))
    assert not ingest.finish_edit(), "it is held for as long as its editor may live"
    let_go()
    return long


def let_go() -> None:
    Source.objects.filter(claimed_until__gt=timezone.now()).update(claimed_until=timezone.now() - timedelta(seconds=1))


def is_of_its_text(long: Source) -> bool:
    long.refresh_from_db()
    rows = list(Passage.objects.filter(source=long).order_by("position"))
    assert long.content == parts(*range(1000, 1400))
    return (len(rows), long.passages_total) == (400, 400) and all(
        long.content[row.start : row.end] == row.text for row in rows
    )


def test_a_long_edit_that_was_killed_is_finished_by_the_worker_also_without_an_embedder(killed: Source) -> None:
    embedding = FakeEmbedding()
    embedding.absent = True
    assert not is_of_its_text(killed)
    assert not Worker(embedding).drain()
    assert is_of_its_text(killed)
    assert killed.claimed_by == ""
    assert ingest.claim("worker") == killed


@pytest.mark.parametrize(
    "again",
    [
        ingest.try_again,
        ingest.vectorize_again,
        lambda long: ingest.edit(long, content=parts(*range(1000, 1400))),
    ],
)
def test_an_edit_that_takes_its_process_with_it_each_time_is_given_up_and_may_be_tried_again(
    killed: Source, again: Callable[[Source], None]
) -> None:
    for _ in range(ingest.ATTEMPTS):
        with pytest.raises(Ended), recorded(last=2):
            ingest.finish_edit()
        let_go()
    assert ingest.finish_edit()
    killed.refresh_from_db()
    assert (killed.state, killed.state_reason) == (Source.State.ERROR, ingest.FORGOTTEN)
    again(killed)
    Worker(FakeEmbedding()).drain()
    assert is_of_its_text(killed)
    assert killed.state == Source.State.VECTORIZED


def test_vectors_that_are_wanted_anew_wait_for_an_edit(killed: Source) -> None:
    ingest.vectorize_again(killed)
    Worker(FakeEmbedding()).drain()
    assert is_of_its_text(killed)
    assert killed.state == Source.State.VECTORIZED


# -- storing --------------------------------------------------------------------------------------

HUGE = 360  # passages, where 300 are one transaction


@pytest.fixture(scope="module")
def huge() -> str:
    return parts(*range(HUGE))


@pytest.fixture
def keeper(alice: User, tea: Group) -> User:
    alice.roles = ["documents"]
    alice.save()
    return alice


def stored(user: User, text: str, **headers: Any) -> Any:
    """By contract 2, with a key of this user's own."""
    client = Client(raise_request_exception=False)
    body = {"title": "Huge", "content": text, "groups": ["tea"]}
    return client.post("/api/v1/sources", body, content_type="application/json", **headers)


def test_a_huge_source_is_stored_in_small_steps_and_seen_when_it_is_whole(keeper: User, huge: str) -> None:
    def seen() -> tuple[int, int, int]:
        return Source.objects.visible_to(keeper).count(), Source.objects.kept().count(), StoredReply.objects.count()

    key = api(keeper) | {"HTTP_IDEMPOTENCY_KEY": "k"}
    with recorded(look=seen) as found:
        reply = stored(keeper, huge, **key)
    assert reply.status_code == 200
    are_small(found)
    assert max(found.rows) <= 2 * indexing.STEP + 1, "however long the text is"
    assert len(found.rows) > HUGE / indexing.STEP
    before = [each for each in found.seen_by if each != (1, 1, 1)]
    assert set(before) == {(0, 0, 0)}, "it and the answer to its key are there at once"
    made = Source.objects.get()
    assert (made.passages_total, made.passages_done, made.state, made.claimed_by) == (HUGE, 0, "creation", "")
    assert (made.content, made.creator, made.deleted_at) == (huge, keeper, None)
    rows = list(Passage.objects.filter(source=made).order_by("position"))
    assert all(huge[row.start : row.end] == row.text for row in rows)
    assert search("leaf359", Source.objects.visible_to(keeper)).hits
    assert stored(keeper, huge, **key).json() == reply.json()
    assert Source.objects.count() == 1
    assert ingest.claim("worker") == made


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL keeps long texts apart from their row")
def test_its_text_is_written_once_and_at_last(keeper: User, huge: str) -> None:
    """SQLite writes the whole row anew with each change of it."""
    with recorded(look=lambda: [len(text) for text in Source.objects.values_list("content", flat=True)]) as found:
        assert stored(keeper, huge, **api(keeper)).status_code == 200
    assert [0] in found.seen_by
    assert [len(huge)] in found.seen_by
    assert [each for each in found.seen_by if each not in ([], [0])] == found.seen_by[
        found.seen_by.index([len(huge)]) :
    ]


def test_a_process_that_dies_over_a_huge_source_leaves_nothing(keeper: User, huge: str) -> None:
    key = api(keeper) | {"HTTP_IDEMPOTENCY_KEY": "k"}
    for last in (2, 5, 8):
        with recorded(last=last):
            assert stored(keeper, huge, **key).status_code == 500
    assert Passage.objects.exists()
    assert not Source.objects.kept().exists()
    assert not StoredReply.objects.exists()
    assert ingest.claim("worker") is None
    assert not any(map(ingest.bring_back, Source.objects.all()))
    assert stored(keeper, huge, **key).status_code == 200, "the key was never used"
    made = Source.objects.kept().get()
    Source.objects.exclude(deleted_at=None).update(deleted_at=timezone.now() - UNDO)
    assert sweeping.sweep(600)
    assert list(Source.objects.all()) == [made]
    assert Passage.objects.count() == HUGE


def test_a_group_that_goes_while_a_huge_source_comes(keeper: User, tea: Group, huge: str) -> None:
    went = [False]

    def goes() -> None:
        if Passage.objects.exists() and not went[0]:
            went[0] = True
            Group.objects.get(pk=tea.pk).remove()

    with recorded(look=goes):
        reply = stored(keeper, huge, **api(keeper), HTTP_IDEMPOTENCY_KEY="k")
    assert (reply.status_code, list(reply.json()["errors"])) == (422, ["groups"])
    assert not Source.objects.kept().exists()
    assert not StoredReply.objects.exists()
    assert sweeping.sweep(600)
    assert not Source.objects.exists()
    assert not Passage.objects.exists()


def meanwhile(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> None:
    """Once, when the passages of a source are there and nobody has seen it."""
    laid_down = ingest.laid_down
    did: list[bool] = []

    @contextmanager
    def slow(*args: Any) -> Iterator[Any]:
        with laid_down(*args) as laid:
            if not did:
                did.append(True)
                what()
            yield laid

    monkeypatch.setattr(ingest, "laid_down", slow)


def test_a_limit_that_is_reached_while_a_huge_source_comes(
    keeper: User, huge: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once, each of which would be the last one."""
    settings.PER_USER = settings.PER_USER | {"sources": 1}
    meanwhile(monkeypatch, lambda: ingest.store(keeper, title="Other", content="Of milk.", groups=[], public=True))
    assert stored(keeper, huge, **api(keeper)).status_code == 507
    assert sweeping.sweep(600)
    assert Source.objects.get().title == "Other"
    assert stored(keeper, huge, **api(keeper)).status_code == 507
    assert Source.objects.get().title == "Other"


def test_the_same_key_at_the_same_time_makes_one_source(
    keeper: User, huge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = api(keeper) | {"HTTP_IDEMPOTENCY_KEY": "k"}
    quicker: list[Any] = []
    meanwhile(monkeypatch, lambda: quicker.append(stored(keeper, huge, **key).json()))
    reply = stored(keeper, huge, **key)
    assert [reply.json()] == quicker
    assert sweeping.sweep(600)
    assert Source.objects.count() == 1
    assert Passage.objects.count() == HUGE


def test_a_page_that_was_half_stored_is_stored_anew_under_its_id(tea: Group, huge: str) -> None:
    def store() -> Source:
        return ingest.store(None, title="Huge", content=huge, groups=[tea], public=False, source_id=UUID(int=7))

    with pytest.raises(Ended), recorded(last=5):
        store()
    assert list(Source.objects.all()) == [store()]
    assert Passage.objects.count() == HUGE


def test_storing_that_stood_still_until_it_was_swept_away_is_no_half_source(keeper: User, huge: str) -> None:
    def late() -> None:
        if Passage.objects.exists():
            Source.objects.exclude(deleted_at=None).update(deleted_at=timezone.now() - UNDO)

    with recorded(look=late):
        assert stored(keeper, huge, **api(keeper)).status_code == 409
    assert sweeping.sweep(600)
    assert not Source.objects.exists()


def test_a_deletion_writes_no_text_anew(tea: Group, huge: str) -> None:
    """0.4 s for one of 7 MB, in SQLite."""
    many = [source(f"Huge {number}", huge, tea) for number in range(2)]
    with recorded() as found:
        ingest.delete(*many)
    assert found.rows[:2] == [1, 1], "each long one by itself"
    assert list(Source.objects.values_list("content", flat=True)) == ["", ""]


def test_a_text_that_was_edited_meanwhile_is_cut_anew_outside_of_the_transaction(
    tea: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, cuts = source("Book", "Of tea.", tea), []
    cut = indexing.cut_text

    def watched(*args: Any, **named: Any) -> Any:
        assert not connection.in_atomic_block
        cuts.append(args)
        if len(cuts) == 1:
            ingest.edit(one, content="Of milk.")
        return cut(*args, **named)

    monkeypatch.setattr(ingest, "cut_text", watched)
    monkeypatch.setattr(indexing, "cut_text", watched)
    ingest.edit(Source.objects.get(), title="Paper")
    one.refresh_from_db()
    assert (one.title, one.content) == ("Paper", "Of milk.")
    assert len(cuts) == 3
    assert search("milk", Source.objects.all()).hits[0].title == "Paper"
