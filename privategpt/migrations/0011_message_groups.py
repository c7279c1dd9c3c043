"""Which groups were asked is kept with each question: its chat may ask others later, and a group may go."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

AT_ONCE = 1_000


def copy_from_chats(apps: Any, schema_editor: Any) -> None:
    """Of the questions that there are, those that their chats ask now; nothing else is known of them."""
    database = schema_editor.connection.alias
    message = apps.get_model("privategpt", "Message").objects.using(database)
    through = apps.get_model("privategpt", "Chat").groups.through.objects.using(database)
    chats: dict[Any, list[int]] = {}
    for chat, group in through.order_by("chat_id", "group_id").values_list("chat_id", "group_id").iterator(AT_ONCE):
        chats.setdefault(chat, []).append(group)
    alike: dict[tuple[int, ...], list[Any]] = {}
    for chat, groups in chats.items():
        alike.setdefault(tuple(groups), []).append(chat)
    for groups, asking in alike.items():
        for at in range(0, len(asking), AT_ONCE):
            message.filter(chat__in=asking[at : at + AT_ONCE]).update(groups=list(groups))


class Migration(migrations.Migration):
    dependencies = [("privategpt", "0010_labels")]

    operations = [
        migrations.AddField(
            "message",
            "groups",
            models.JSONField(
                blank=True,
                default=list,
                help_text="Ids of the groups that were asked, also of such as are gone since.",
            ),
        ),
        migrations.RunPython(copy_from_chats, migrations.RunPython.noop),
    ]
