"""Whose conversation is with which agent: the database's rows, and the lately used ones in memory."""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

from channels.db import database_sync_to_async
from django.db import connection
from django.utils import timezone

from relay.commits import Done, GroupCommit, Insert
from relay.frames import LONGEST_ID
from relay.models import Conversation

MOST_KEPT = 20_000  # conversations in memory

# A known conversation is never bound anew: an agent that names it in an answer cannot take it over.
INSERT = Insert(
    Conversation._meta.db_table, ("conversation_id", "owner_id", "agent_id", "created_at", "used_at"), stamps=2
)
TOUCHED_AT_ONCE = 500  # rows in one statement


class UnknownConversation(Exception):
    """There is no such conversation, or it is somebody else's: the asker cannot tell which."""


class Conversations:
    """Memory is filled from the database only, so it never holds what was not committed."""

    def __init__(self, commits: GroupCommit) -> None:
        self._commits = commits
        self._kept: OrderedDict[tuple[str, str], tuple[int, str]] = OrderedDict()
        self._used: set[int] = set()
        self._native_uuids = connection.features.has_native_uuid_field

    def known(self, owner: str, conversation_id: str) -> str | None:
        """What `agent_of` returns, if memory can tell at once."""
        kept = self._kept.get((owner, conversation_id))
        if kept is None:
            return None
        self._used.add(kept[0])
        return kept[1]

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
        self._commits.add(INSERT, (conversation_id, self._column(owner), agent_id), done)

    def forget(self, owner: str) -> None:
        """Drops a user's conversations from memory."""
        for key in [key for key in self._kept if key[0] == owner]:
            del self._kept[key]

    async def write_uses(self) -> None:
        """Writes when conversations were last used; in batches, never for each ask."""
        used, self._used = sorted(self._used), set()
        for start in range(0, len(used), TOUCHED_AT_ONCE):
            await database_sync_to_async(_touch, thread_sensitive=False)(used[start : start + TOUCHED_AT_ONCE])

    def _column(self, owner: str) -> str | None:
        """A user's id as the database's column takes it."""
        if not owner:
            return None
        return owner if self._native_uuids else owner.replace("-", "")


def _find(owner: str, conversation_id: str) -> tuple[int, str]:
    found = (
        Conversation.objects.filter(owner=UUID(owner) if owner else None, conversation_id=conversation_id)
        .values_list("pk", "agent_id")
        .first()
    )
    if found is None:
        raise UnknownConversation
    return found


def _touch(pks: list[int]) -> None:
    Conversation.objects.filter(pk__in=pks).update(used_at=timezone.now())
