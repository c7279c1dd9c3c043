"""Of the questions that there were before `groups`, the groups that their chats ask now; nothing else is known of them.

Not in the transaction that adds the column: on PostgreSQL nobody could read a message while all are written. Each
portion is a transaction of its own, and one that was killed begins again without harm."""

from __future__ import annotations

from typing import Any

from django.db import migrations

AT_ONCE = 500  # chats


def copy_from_chats(apps: Any, schema_editor: Any) -> None:
    database = schema_editor.connection.alias
    through = apps.get_model("privategpt", "Chat").groups.through.objects.using(database)
    message = apps.get_model("privategpt", "Message").objects.using(database)
    ties = through.order_by("chat_id", "group_id")
    chats = list(through.order_by("chat_id").values_list("chat_id", flat=True).distinct())
    for at in range(0, len(chats), AT_ONCE):
        some = chats[at : at + AT_ONCE]
        asked: dict[Any, list[int]] = {}
        for chat, group in ties.filter(chat__in=some).values_list("chat_id", "group_id"):
            asked.setdefault(chat, []).append(group)
        alike: dict[tuple[int, ...], list[Any]] = {}
        for chat, groups in asked.items():
            alike.setdefault(tuple(groups), []).append(chat)
        for groups, asking in alike.items():
            message.filter(chat__in=asking, groups=[]).update(groups=list(groups))


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("privategpt", "0016_message_claimed_by")]

    operations = [migrations.RunPython(copy_from_chats, migrations.RunPython.noop)]
