"""What an upgrade does to rows that are there, and that the release before goes on working while it migrates."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import StateApps

from accounts.models import AuditEntry, Group, User
from privategpt.models import Chat, Message

RELEASED = {"accounts": "0006_labels", "privategpt": "0010_labels", "relay": "0002_labels"}  # 0.1.0
GROUPS = importlib.import_module("privategpt.migrations.0017_groups_of_messages")
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def before() -> StateApps:
    """The models of the release before."""
    return MigrationLoader(None).project_state(list(RELEASED.items())).apps


def needed(known: StateApps) -> Iterator[str]:
    """Columns that a row must have, that have no value by themselves, and that these models do not know."""
    with connection.cursor() as cursor:
        for model in known.get_models(include_auto_created=True):
            if model._meta.app_label not in RELEASED or model._meta.proxy:
                continue
            columns = connection.introspection.get_table_description(cursor, model._meta.db_table)
            ours = {field.column for field in model._meta.local_fields}
            assert ours <= {column.name for column in columns}, "what it reads is there"
            for column in columns:
                if column.name not in ours and not column.null_ok and column.default is None:
                    yield f"{model._meta.db_table}.{column.name}"


def test_the_release_before_misses_no_column_and_fills_each_that_must_be_filled(before: StateApps) -> None:
    assert list(needed(before)) == []


def test_the_release_before_goes_on_asking_and_recording(before: StateApps, alice: User) -> None:
    owner = before.get_model("accounts", "User").objects.get(pk=alice.pk)
    chat = before.get_model("privategpt", "Chat").objects.create(owner=owner)
    before.get_model("privategpt", "Message").objects.create(id=uuid.uuid4(), chat=chat, position=1, question="Pumps?")
    before.get_model("accounts", "AuditEntry").objects.create(actor_name="Root", action="add user", what="Bob")
    message = Message.objects.get(chat_id=chat.pk)
    assert (message.groups, message.cut_off) == ([], "")
    assert AuditEntry.objects.get(what="Bob").times == 1


def test_the_groups_of_each_chat_are_copied_in_portions(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GROUPS, "AT_ONCE", 2)
    harbour, mill = (Group.objects.create(name=name) for name in ("Harbour", "Mill"))
    chats = [Chat.objects.create(owner=alice) for _ in range(6)]
    for chat in chats:
        Message.objects.create(chat=chat, position=1, question="Pumps?")
    for chat in chats[:5]:
        chat.groups.set([harbour, mill] if chat is chats[3] else [harbour])
    known = Message.objects.create(chat=chats[0], position=2, question="Asked since.", groups=[mill.pk])
    for _ in range(2):  # one that was killed begins again
        GROUPS.copy_from_chats(apps, SimpleNamespace(connection=connection))
    found = [chat.messages.get(position=1).groups for chat in chats]
    assert found == [[harbour.pk]] * 3 + [[harbour.pk, mill.pk], [harbour.pk], []]
    assert Message.objects.get(pk=known.pk).groups == [mill.pk]


def test_no_migration_adds_a_column_and_fills_it_in_one_transaction() -> None:
    """Until its end nobody could read the table on PostgreSQL."""
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        if name > RELEASED.get(app, "9999"):
            kinds = {type(operation).__name__ for operation in migration.operations}
            assert not {"AddField", "RunPython"} <= kinds, name
