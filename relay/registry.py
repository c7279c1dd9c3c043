"""Agents in the database: whose an id is, what the administrator wants, and the figures to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from channels.db import database_sync_to_async
from django.db import connection, transaction
from django.db.models import Q

from accounts import steps
from accounts.models import Token
from accounts.units import unit
from relay.frames import LONGEST_ID
from relay.models import AGENT_KEPT, ANSWER_KEPT, USELESS_AGENT_KEPT, Agent, Conversation, StoredAnswer
from relay.pool import Agent as Connected

SEEN_AT_ONCE = 500  # rows in one statement
# The names are ours.
_ADD = f"UPDATE {Agent._meta.db_table} SET served = served + %s, failed = failed + %s WHERE id = %s"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the database says about connected agents, whoever wrote it there."""

    resting: frozenset[str]
    hang_up: frozenset[str]
    dead_tokens: frozenset[int]


def claimable(agent_id: str) -> bool:
    """Whether this can be an id at all: not empty, printable, of a bounded length."""
    return 0 < len(agent_id) <= LONGEST_ID and agent_id.isprintable()


@dataclass(frozen=True, slots=True)
class Known:
    """An agent that was here before. `token` is None for one from loopback."""

    token: int | None
    is_resting: bool


async def known(agent_id: str) -> Known | None:
    """Whose the id is, if it is anybody's."""
    return await database_sync_to_async(_known, thread_sensitive=False)(agent_id)


def _known(agent_id: str) -> Known | None:
    row = Agent.objects.filter(pk=agent_id).values_list("token_id", "is_resting").first()
    return Known(*row) if row else None


async def joined(agents: Iterable[Connected]) -> None:
    """Writes down agents that have just been listed. One whose token was deleted meanwhile is left out."""
    await database_sync_to_async(_joined, thread_sensitive=False)([_row(agent) for agent in agents])


@unit
@transaction.atomic
def _joined(rows: list[Agent]) -> None:
    there = set(Token.objects.filter(kind=Token.Kind.AGENT).values_list("pk", flat=True))
    Agent.objects.bulk_create(
        [row for row in rows if row.token_id is None or row.token_id in there],
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


@unit
def _write_counts(counts: list[Counts]) -> None:
    """Two plain statements: this comes every few seconds, for thousands of agents that mostly did nothing."""
    now = datetime.now(UTC)
    done = [(count.served, count.failed, count.id) for count in counts if count.served or count.failed]
    ids = [count.id for count in counts]
    with transaction.atomic():
        if done:
            with connection.cursor() as cursor:
                cursor.executemany(_ADD, done)
        for start in range(0, len(ids), SEEN_AT_ONCE):
            Agent.objects.filter(pk__in=ids[start : start + SEEN_AT_ONCE]).update(seen_at=now)


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


async def ended(tokens: frozenset[int]) -> frozenset[int]:
    """Those of them that open nothing any more, whoever ended them."""
    return await database_sync_to_async(_ended, thread_sensitive=False)(tokens)


def _ended(tokens: frozenset[int]) -> frozenset[int]:
    return tokens - Token.objects.usable().in_bulk(tokens).keys()


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
    steps.end(StoredAnswer.objects.filter(created_at__lt=now - ANSWER_KEPT))
    steps.end(Conversation.objects.all().stale(conversation_days))
    steps.end(Agent.objects.filter(seen_at__lt=now - AGENT_KEPT))
    # An agent that keeps no id comes under a new one each time, and nobody will ask for the old ones.
    useless = Agent.objects.filter(seen_at__lt=now - USELESS_AGENT_KEPT, served=0, is_resting=False)
    steps.end(useless.exclude(pk__in=Conversation.objects.values("agent_id")))
