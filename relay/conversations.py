"""Whose conversation is with which agent: the database's rows, and the lately used ones in memory."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from channels.db import database_sync_to_async
from django.db import connection

from relay.frames import LONGEST_ID
from relay.models import Conversation

if TYPE_CHECKING:
    from relay.commits import Done, GroupCommit

MOST_KEPT = 20_000  # conversations in memory

# A known conversation is never bound anew: an agent that names it in an answer cannot take it over.
INSERT = f"""
INSERT INTO {Conversation._meta.db_table} (conversation_id, owner_id, agent_id, created_at, used_at)
VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""  # noqa: S608 - the table's name is ours
TOUCH = f"UPDATE {Conversation._meta.db_table} SET used_at = %s WHERE id = %s"  # noqa: S608


class UnknownConversation(Exception):
    """There is no such conversation, or it is somebody else's: the asker cannot tell which."""


class Conversations:
    """Memory is filled from the database only, so it never holds what was not committed."""

    def __init__(self, commits: GroupCommit) -> None:
        self._commits = commits
        self._kept: OrderedDict[tuple[str, str], tuple[int, str]] = OrderedDict()
        self._used: set[int] = set()

    async def agent_of(self, owner: str, conversation_id: str) -> str:
        """The connection id of its agent. `owner` is a user's id, "" for the admin key. Raises UnknownConversation."""
        if len(conversation_id) > LONGEST_ID or "\0" in conversation_id:
            raise UnknownConversation
        kept = self._kept.get((owner, conversation_id))
        if kept is None:
            kept = await database_sync_to_async(_find, thread_sensitive=False)(owner, conversation_id)
            self._kept[owner, conversation_id] = kept
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._used.add(kept[0])
        return kept[1]

    def must_bind(self, owner: str, conversation_id: str) -> bool:
        """Whether an answer with this id has to be written down: it may open a conversation."""
        if not conversation_id or len(conversation_id) > LONGEST_ID or "\0" in conversation_id:
            return False
        return (owner, conversation_id) not in self._kept

    def bind(self, owner: str, conversation_id: str, agent_id: str, done: Done) -> None:
        """Commits that this conversation is the owner's and the agent's, unless it is known already."""
        now = _moment(datetime.now(UTC))
        self._commits.add(INSERT, (conversation_id, _owner(owner), agent_id, now, now), done)

    def forget(self, owner: str) -> None:
        """Drops a user's conversations from memory."""
        for key in [key for key in self._kept if key[0] == owner]:
            del self._kept[key]

    def write_uses(self) -> None:
        """Writes when conversations were last used; in batches, never for each ask."""
        now = _moment(datetime.now(UTC))
        for pk in self._used:
            self._commits.add(TOUCH, (now, pk), lambda _: None)
        self._used.clear()


def _find(owner: str, conversation_id: str) -> tuple[int, str]:
    found = (
        Conversation.objects.filter(owner=UUID(owner) if owner else None, conversation_id=conversation_id)
        .values_list("pk", "agent_id")
        .first()
    )
    if found is None:
        raise UnknownConversation
    return found


def _owner(owner: str) -> object:
    field = Conversation._meta.get_field("owner")
    return field.get_db_prep_save(owner, connection) if owner else None


def _moment(moment: datetime) -> object:
    return connection.ops.adapt_datetimefield_value(moment)
