"""Agents in the database: whose an id is, what the administrator wants, and the figures to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from channels.db import database_sync_to_async
from django.db import transaction
from django.db.models import Q

from accounts.models import Token
from relay.frames import LONGEST_ID
from relay.models import AGENT_KEPT, ANSWER_KEPT, Agent, Conversation, StoredAnswer
from relay.pool import Agent as Connected


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the database says about connected agents, whoever wrote it there."""

    resting: frozenset[str]
    hang_up: frozenset[str]
    dead_tokens: frozenset[int]


def claimable(agent_id: str) -> bool:
    """Whether this can be an id at all: not empty, printable, of a bounded length."""
    return 0 < len(agent_id) <= LONGEST_ID and agent_id.isprintable()


async def may_use(agent_id: str, token: int | None) -> bool:
    """An id belongs to the credential that used it first; None is an agent from loopback."""
    return await database_sync_to_async(_may_use, thread_sensitive=False)(agent_id, token)


def _may_use(agent_id: str, token: int | None) -> bool:
    owner = Agent.objects.filter(pk=agent_id).values_list("token_id", flat=True)
    return all(found == token for found in owner)


async def joined(agents: Iterable[Connected]) -> None:
    """Writes down agents that have just been listed."""
    await database_sync_to_async(_joined, thread_sensitive=False)([_row(agent) for agent in agents])


def _joined(rows: list[Agent]) -> None:
    Agent.objects.bulk_create(
        rows,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["name", "model", "address", "connected_at", "seen_at", "must_hang_up"],
    )


def _row(agent: Connected) -> Agent:
    now = datetime.now(UTC)
    return Agent(
        id=agent.id,
        token_id=agent.token,
        name=agent.said.name,
        model=agent.said.model,
        address=agent.address,
        connected_at=now,
        seen_at=now,
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """What an agent has done since the last time it was written down."""

    id: str
    served: int
    failed: int


async def write_counts(counts: list[Counts]) -> None:
    """Adds to the agents' figures and notes that they were seen."""
    await database_sync_to_async(_write_counts, thread_sensitive=False)(counts)


def _write_counts(counts: list[Counts]) -> None:
    now = datetime.now(UTC)
    with transaction.atomic():
        rows = {row.pk: row for row in Agent.objects.filter(pk__in=[count.id for count in counts])}
        for count in counts:
            if row := rows.get(count.id):
                row.served += count.served
                row.failed += count.failed
                row.seen_at = now
        Agent.objects.bulk_update(rows.values(), ["served", "failed", "seen_at"], batch_size=500)


async def wishes(tokens: set[int]) -> Wishes:
    """What is to happen to connected agents; `tokens` are those in use."""
    return await database_sync_to_async(_wishes, thread_sensitive=False)(tokens)


def _wishes(tokens: set[int]) -> Wishes:
    rows = Agent.objects.filter(Q(is_resting=True) | Q(must_hang_up=True))
    found = list(rows.values_list("pk", "is_resting", "must_hang_up"))
    usable = set(Token.objects.usable().filter(kind=Token.Kind.AGENT).values_list("pk", flat=True)) if tokens else set()
    return Wishes(
        resting=frozenset(pk for pk, resting, _ in found if resting),
        hang_up=frozenset(pk for pk, _, hang_up in found if hang_up),
        dead_tokens=frozenset(tokens - usable),
    )


async def hung_up(agent_ids: list[str]) -> None:
    """The wish was granted; the agent may come back."""
    await database_sync_to_async(_hung_up, thread_sensitive=False)(agent_ids)


def _hung_up(agent_ids: list[str]) -> None:
    Agent.objects.filter(pk__in=agent_ids).update(must_hang_up=False)


async def tidy(conversation_days: float) -> None:
    """Deletes what nobody can ask for any more: old answers, conversations and agents out of use."""
    await database_sync_to_async(_tidy, thread_sensitive=False)(conversation_days)


def _tidy(conversation_days: float) -> None:
    now = datetime.now(UTC)
    StoredAnswer.objects.filter(created_at__lt=now - ANSWER_KEPT).delete()
    Conversation.objects.all().stale(conversation_days).delete()
    Agent.objects.filter(seen_at__lt=now - AGENT_KEPT).delete()
