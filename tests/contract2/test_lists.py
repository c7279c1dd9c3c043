"""Lists cost the same queries however long they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db.backends.utils import CursorWrapper

from accounts.models import Group, Token, User
from privategpt import ingest
from privategpt.models import Chat, Citation, Message, Scenario, Source
from tests.contract2.conftest import person
from tests.contract2.server import Program

FEW, MANY = 3, 30
REFRESHED = '"accounts_token"."digest" = '  # the memory of tokens looks again now and then, in a task of its own


class Counted:
    """Every statement that any thread sends to the database while `on` is true."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        self.is_on = False
        execute = CursorWrapper.execute

        def counted(cursor: CursorWrapper, sql: str, params: object = None) -> object:
            if self.is_on and REFRESHED not in sql:
                self.sent.append(sql)
            return execute(cursor, sql, params)  # type: ignore[arg-type]

        patch.setattr(CursorWrapper, "execute", counted)

    @contextmanager
    def on(self) -> Iterator[None]:
        self.sent.clear()
        self.is_on = True
        yield
        self.is_on = False


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def chats(root: User, numbers: range) -> None:
    group = Group.objects.get_or_create(name="common")[0]
    for number in numbers:
        chat = Chat.objects.create(owner=root, title=f"Chat {number}")
        chat.groups.add(group)


def sources(root: User, numbers: range) -> None:
    group = Group.objects.get_or_create(name="common")[0]
    root.groups.add(group)
    for number in numbers:
        ingest.store(root, title=f"T {number}", content="Tea.", groups=[group], public=False)


def groups(root: User, numbers: range) -> None:
    for number in numbers:
        Group.objects.create(name=f"group {number}").members.add(root)


def users(root: User, numbers: range) -> None:
    group = Group.objects.get_or_create(name="common")[0]
    for number in numbers:
        person(f"user{number}", group)


def tokens(root: User, numbers: range) -> None:
    group = Group.objects.get_or_create(name="common")[0]
    for number in numbers:
        Token.objects.issue(Token.Kind.API, root, name=f"token {number}")[0].narrow([group])


def scenarios(root: User, numbers: range) -> None:
    for number in numbers:
        Scenario.objects.create(owner=root, name=f"Scenario {number}", description="Says something")


def messages(root: User, numbers: range) -> None:
    """Of one chat, each with a citation of its own source."""
    chat = Chat.objects.get_or_create(owner=root, title="Long")[0]
    for number in numbers:
        message = Message.objects.create(
            chat=chat, position=number, question="Q", answer="A [1]", state=Message.State.COMPLETE
        )
        source = ingest.store(root, title=f"M {number}", content="Tea.", groups=[], public=True)
        Citation.objects.create(
            message=message, source=source, number=1, is_cited=True, start=0, end=4, context="Tea.", score=1.0
        )


def listed(root: Program, name: str) -> list[object]:
    """What the list's route gives, all of it."""
    found = {
        "chats": lambda: root.get("/chats?perPage=100").data["chats"],
        "sources": lambda: root.get("/sources?perPage=100").data["sources"],
        "sources of a group": lambda: root.post("/sources/groups", {"groupName": "common"}).data["sources"],
        "groups": lambda: root.get("/groups").data["personalGroups"],
        "users": lambda: root.get("/users?perPage=100").data["users"],
        "tokens": lambda: root.get("/tokens?perPage=100").data["tokens"],
        "scenarios": lambda: root.get("/scenarios?perPage=100").data["scenarios"],
        "messages": lambda: root.get(f"/chats/{Chat.objects.get().pk}").data["messages"],
    }[name]()
    assert isinstance(found, list)
    return found


MADE: dict[str, Callable[[User, range], None]] = {
    "chats": chats,
    "sources": sources,
    "sources of a group": sources,
    "groups": groups,
    "users": users,
    "tokens": tokens,
    "scenarios": scenarios,
    "messages": messages,
}


@pytest.mark.parametrize("name", MADE)
def test_thirty_rows_cost_what_three_do(as_root: Program, root: User, counted: Counted, name: str) -> None:
    MADE[name](root, range(FEW))
    listed(as_root, name)  # what is read once and kept
    with counted.on():
        few = len(listed(as_root, name))
    queries = list(counted.sent)
    MADE[name](root, range(FEW, MANY))
    with counted.on():
        many = len(listed(as_root, name))
    assert many - few == MANY - FEW
    assert len(counted.sent) == len(queries), "\n".join(counted.sent)
    assert 2 <= len(queries) <= 12


@pytest.mark.parametrize("name", ["users", "scenarios"])
def test_a_list_without_the_right_costs_next_to_nothing(as_alice: Program, counted: Counted, name: str) -> None:
    """The refusal beside the success: no row is read for who may not see any."""
    with counted.on():
        found = as_alice.get(f"/{name}")
    assert found.status == 403 if name == "users" else found.data["scenarios"] == []
    assert len(counted.sent) <= 6


def test_no_list_reads_the_texts_of_sources(as_root: Program, root: User, counted: Counted) -> None:
    """They may be megabytes each."""
    messages(root, range(FEW))
    for name in ("sources", "messages"):
        with counted.on():
            listed(as_root, name)
        assert not [sql for sql in counted.sent if '"privategpt_source"."content"' in sql]
    assert Source.objects.count() == FEW
