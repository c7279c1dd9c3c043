"""A transaction that gave way to another one is made again; a database that takes no writes goes on being read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, InternalError, OperationalError, connection, connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from django.db.backends.utils import CursorWrapper
from django.test import Client
from django.utils import timezone

from accounts import secondfactor
from accounts.faults import is_away
from accounts.models import AuditEntry, Group, Session, Token, User
from accounts.units import TRIES, unit
from privategpt import ingest, sweeping
from privategpt.models import Chat, Message, Source
from project.logs import NoTrace
from relay import registry
from relay.frames import Declaration
from relay.models import Agent
from relay.pool import Agent as Connected
from tests.admin_site import administrator, page, signed_in, user_fields
from tests.answering import group, source
from tests.conftest import PASSWORD
from tests.test_second_factor import set_up

pytestmark = pytest.mark.django_db(transaction=True)

WRITES = ("INSERT", "UPDATE", "DELETE")
JSON = "application/json"


class Said(Exception):
    """The server's own error."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


class Refusing:
    """A database that refuses writes to tables whose name holds `table`, so many times."""

    def __init__(self, kind: type[DatabaseError], sqlstate: str, table: str, times: int) -> None:
        self.kind, self.sqlstate, self.table, self.times = kind, sqlstate, table, times
        self.refused = 0

    def check(self, sql: str) -> None:
        if sql.lstrip().upper().startswith(WRITES) and self.table in sql and self.refused < self.times:
            self.refused += 1
            raise self.kind("refused") from Said(self.sqlstate)


@contextmanager
def refusing(kind: type[DatabaseError], sqlstate: str, table: str = "", times: int = 10**9) -> Iterator[Refusing]:
    """Over the connections of all threads."""
    fake = Refusing(kind, sqlstate, table, times)
    execute = CursorWrapper._execute_with_wrappers  # type: ignore[attr-defined]

    def watched(self: Any, sql: str, *args: Any, **named: Any) -> Any:
        fake.check(str(sql))
        return execute(self, sql, *args, **named)

    with mock.patch.object(CursorWrapper, "_execute_with_wrappers", watched):
        yield fake


def api(user: User) -> Any:
    _, key = Token.objects.issue(Token.Kind.API, user)
    return {"HTTP_AUTHORIZATION": f"Bearer {key}"}


@pytest.fixture
def tea(alice: User) -> Group:
    alice.roles = ["users", "documents", "system"]
    alice.save()
    return group("tea", alice)


Act = Callable[[User], Any]


def _store(alice: User) -> Any:
    body = {"title": "T", "content": "C", "groups": ["tea"]}
    return Client().post("/api/v1/sources", body, content_type=JSON, **api(alice))


def _store_once(alice: User) -> Any:
    return Client().post(
        "/api/v1/sources",
        {"title": "T", "content": "C", "groups": ["tea"]},
        content_type=JSON,
        headers={"Idempotency-Key": "one"},
        **api(alice),
    )


def _drop_group(alice: User) -> Any:
    return Client().delete("/api/v1/groups", {"groupName": "tea"}, content_type=JSON, **api(alice))


def _flush(alice: User) -> Any:
    Chat.objects.create(owner=alice, title="T")
    return Client().delete("/api/v1/chats/flush", **api(alice))


def _ask(alice: User) -> Any:
    return signed_in(alice).post("/chats/new", {"question": "When?", "scope": "none"})


def _sign_in(alice: User) -> Any:
    return Client().post("/api/v1/login", {"email": alice.email, "password": PASSWORD}, content_type=JSON)


def _change(alice: User) -> Any:
    return signed_in(administrator()).post(page(Group, "change", Group.objects.get().pk), {"name": "tea and milk"})


def _remove(alice: User) -> Any:
    return signed_in(administrator()).post(page(User, "delete", alice.pk), {"post": "yes"})


def _add_user(alice: User) -> Any:
    return signed_in(administrator()).post(
        page(User, "add"), user_fields(email="bob@example.org", usable_password="false")
    )


def _change_password(alice: User) -> Any:
    new = {"usable_password": "true", "password1": "quite another sentence", "password2": "quite another sentence"}
    return signed_in(administrator()).post(f"/admin/accounts/user/{alice.pk}/password/", new)


@pytest.mark.parametrize(
    ("act", "table"),
    [
        (_store, "privategpt_passage"),
        (_store_once, "privategpt_source"),
        (_drop_group, "accounts_group"),
        (_flush, 'UPDATE "privategpt_chat"'),
        (_ask, "privategpt_message"),
        (_sign_in, "accounts_token"),
        (_change, "accounts_auditentry"),
        (_remove, 'SET "is_active"'),
        (_add_user, "accounts_auditentry"),
        (_change_password, "accounts_auditentry"),
    ],
)
@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
def test_what_gave_way_is_made_again_and_once(tea: Group, alice: User, act: Act, table: str, sqlstate: str) -> None:
    with refusing(OperationalError, sqlstate, table, times=2) as fake:
        reply = act(alice)
    assert fake.refused == 2
    assert reply.status_code in {200, 204, 302, 303}, reply.content
    assert Source.objects.count() <= 1
    assert Message.objects.count() <= 1
    assert AuditEntry.objects.count() <= 1


def test_a_second_factor_that_gave_way_is_turned_on_again(alice: User) -> None:
    with refusing(OperationalError, "40P01", "accounts_auditentry", times=2) as fake:
        set_up(signed_in(alice))
    assert fake.refused == 2
    assert secondfactor.is_on(alice)
    assert AuditEntry.objects.filter(action="turn on second factor").count() == 1


async def _unsent(text: str) -> None:
    raise AssertionError("Nothing is sent here.")


def test_an_agents_row_that_gave_way_is_written_again() -> None:
    here = Connected("Polly", _unsent, lambda text: None, lambda code: None, Declaration())
    with refusing(OperationalError, "40P01", "relay_agent", times=2) as fake:
        async_to_sync(registry.joined)([here])
    assert fake.refused == 2
    assert list(Agent.objects.values_list("pk", flat=True)) == ["Polly"]


def test_what_gives_way_each_time_is_refused_with_a_sentence(tea: Group, alice: User) -> None:
    with refusing(OperationalError, "40P01", "privategpt_passage") as fake:
        reply = _store(alice)
    assert fake.refused == TRIES
    assert reply.status_code == 503
    assert "busy" in reply.json()["message"]
    assert not Source.objects.exists()


def test_other_faults_are_not_tried_again(tea: Group, alice: User) -> None:
    """Of a connection that was lost nobody knows what it had done."""
    with refusing(OperationalError, "57P01", "privategpt_passage") as fake:
        assert _store(alice).status_code == 503
    assert fake.refused == 1


def test_within_a_transaction_that_one_is_the_unit() -> None:
    calls = []

    @unit
    def work() -> None:
        calls.append(1)
        raise OperationalError from Said("40P01")

    with pytest.raises(OperationalError), transaction.atomic():
        work()
    assert len(calls) == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer and knows no deadlocks")
def test_two_that_wait_for_each_other_both_end_well(tea: Group, alice: User) -> None:
    """A real deadlock: two sources, each thread takes them in its own order."""
    pair = [source("One", "Of tea.", tea), source("Two", "Of tea.", tea)]
    both, faults = threading.Barrier(2, timeout=20), []

    @unit
    def touch(first: Source, second: Source, held: list[bool]) -> None:
        with transaction.atomic():
            Source.objects.filter(pk=first.pk).update(title=f"{second.pk}")
            if not held:
                held.append(True)
                both.wait()
            Source.objects.filter(pk=second.pk).update(title=f"{second.pk}")

    def run(first: Source, second: Source) -> None:
        try:
            touch(first, second, [])
        except DatabaseError as fault:
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=args) for args in (pair, pair[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


# -- a database that takes no writes --------------------------------------------------------------


READ_ONLY = (InternalError, "25006")


def test_reading_goes_on_where_nothing_can_be_written(tea: Group, alice: User) -> None:
    book = source("Book", "Of tea.", tea)
    chat = Chat.objects.create(owner=alice, title="Old")
    Message.objects.create(chat=chat, position=0, question="When?", answer="At nine.", state="complete")
    browser, key = signed_in(alice), api(alice)
    Session.objects.update(used_at=timezone.now() - timedelta(hours=1))
    with refusing(*READ_ONLY) as fake:
        for path in ("/", "/sources", f"/sources/{book.pk}/", f"/chats/{chat.pk}/", "/account"):
            assert browser.get(path, follow=True).status_code == 200, path
        for path in ("/api/v1/sources", f"/api/v1/sources/{book.pk}", "/api/v1/chats", f"/api/v1/chats/{chat.pk}"):
            assert Client().get(path, **key).status_code == 200, path
        assert fake.refused, "the stamps of session and token"


def test_a_change_is_refused_with_a_sentence_and_without_a_trace(
    tea: Group, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    browser = signed_in(alice)
    browser.raise_request_exception = False
    key = api(alice)
    with refusing(*READ_ONLY):
        asked = browser.post("/chats/new", {"question": "When?", "scope": "none"})
        stored = Client().post("/api/v1/sources", {"title": "T", "content": "C"}, content_type=JSON, **key)
    assert asked.status_code == stored.status_code == 503
    assert "takes no changes" in asked.content.decode()
    assert "takes no changes" in stored.json()["message"]
    assert asked["Retry-After"]
    lines = [record for record in caplog.records if record.name == "django.request"]
    assert lines
    assert all(NoTrace().filter(record) and record.exc_info is None for record in lines)


@pytest.mark.parametrize("statement", ["SELECT nothing FROM accounts_user", "SELECT 1 FROM nowhere", "SELEC 1"])
def test_a_mistake_of_ours_is_no_database_that_is_away(statement: str) -> None:
    """It is to be found in the log with its traceback."""
    with pytest.raises(DatabaseError) as fault, connection.cursor() as cursor:
        cursor.execute(statement)
    assert not is_away(fault.value)


def test_a_database_that_cannot_be_opened_is_away(tmp_path: Path) -> None:
    wrapper = SQLite(connections["default"].settings_dict | {"NAME": str(tmp_path / "no" / "db"), "OPTIONS": {}})
    with pytest.raises(OperationalError) as fault:
        wrapper.ensure_connection()
    assert is_away(fault.value)


def test_what_was_deleted_waits_until_the_database_can_be_written_again(tea: Group) -> None:
    ingest.delete(source("Book", "Of tea.", tea))
    with refusing(*READ_ONLY), pytest.raises(DatabaseError):
        source("Other", "Of milk.", tea)
    assert sweeping.sweep(60)
    assert not Source.objects.exists()
