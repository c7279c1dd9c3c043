"""Questions and their answers: begin, start, wait, stop. An answer belongs to the process that makes it and
outlives every connection; its text is followed through `follow`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Max
from django.utils import timezone

from accounts.units import unit
from privategpt import claims, desk, follow, withheld
from privategpt.generation import TEMPERATURES, Asked
from privategpt.grounding import SOURCES
from privategpt.models import ANSWER_LEASE, Chat, Message, Scenario, Source, SourceQuerySet
from privategpt.prompts import Style, Turn
from privategpt.retrieval.search import Ways
from privategpt.writing import transaction_in_turn

if TYPE_CHECKING:
    from accounts.models import Group, User

TURNS = 20  # earlier questions that are read for a prompt
LONGEST_TITLE = 60  # characters
MARKUP = re.compile(r"^[\s#>*\-+`_]+|[*`]+")

State = Message.State


class Busy(Exception):
    """An answer of this chat is under way."""


class TooMany(Busy):
    """This user, or this server, has as many answers under way as it may."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `begin` read, so that `start` needs no query."""

    groups: frozenset[int]
    public: bool
    history: tuple[Turn, ...]  # of earlier answers what the asker may read still
    scenario: Scenario | None


# -- beginning ------------------------------------------------------------------------------------


@unit
def begin(
    chat: Chat,
    question_text: str,
    *,
    user: User,
    language: str | None = None,
    groups: Collection[Group] = (),
    narrowed_to: Sequence[Group] | None = None,
) -> Message:
    """Saves the question, whose answer then waits to be started. A new chat is saved with it, and with its `groups`.

    `narrowed_to`: as in `start`.
    Raises Busy, TooMany, and Chat.DoesNotExist when the chat is gone or somebody else's.
    """
    if chat.owner_id != user.pk:
        raise Chat.DoesNotExist
    _check_room(user)
    language, is_new = language or chat.language, chat._state.adding
    question_text = question_text.replace("\r\n", "\n").replace("\r", "\n")  # a form sends lines so
    if not is_new:
        claims.fail_lost()  # one that nobody makes any more is not in the way
    try:
        with transaction_in_turn():
            if is_new:
                return _first(chat, question_text, language, groups)
            message = _further(chat, question_text, language)
    except DatabaseError:
        chat._state.adding = is_new  # it was not saved after all
        raise
    message.asked = _plan(message, user, narrowed_to)
    return message


def _check_room(user: User) -> None:
    busy = desk.peek()
    if busy and (busy.is_full or busy.count[str(user.pk)] >= settings.ANSWERS_PER_USER):
        raise TooMany
    if settings.REDIS_URL:  # other processes may answer this user as well
        theirs = Message.objects.under_way().filter(chat__owner=user, claimed_until__gt=timezone.now())
        if theirs.count() >= settings.ANSWERS_PER_USER:
            raise TooMany


def _first(chat: Chat, question: str, language: str, groups: Collection[Group]) -> Message:
    """The chat with its first question: nobody else knows of it, so there is nothing to look up."""
    chat.title = title_of(question)
    chat.save(force_insert=True)
    if groups:
        chat.groups.add(*groups)
    message = _saved(chat, 0, question, language, [group.pk for group in groups])
    message.asked = _plan_of(message, ())
    return message


def _further(chat: Chat, question: str, language: str) -> Message:
    now = timezone.now()
    title = chat.title or title_of(question)
    if not Chat.objects.filter(pk=chat.pk, deleted_at=None).update(updated_at=now, title=title):
        raise Chat.DoesNotExist
    chat.title, chat.updated_at = title, now
    last = chat.messages.aggregate(last=Max("position"))["last"]
    groups = list(chat.groups.order_by().values_list("pk", flat=True))
    if last is None:
        return _saved(chat, 0, question, language, groups)
    chat.messages.lost().fail()
    if chat.messages.under_way().exists():
        raise Busy
    return _saved(chat, last + 1, question, language, groups)


def _saved(chat: Chat, position: int, question: str, language: str, groups: Sequence[int]) -> Message:
    return Message.objects.create(
        groups=sorted(groups),
        chat=chat,
        position=position,
        question=question,
        language=language,
        claimed_by=claims.own(),
        claimed_until=timezone.now() + ANSWER_LEASE,
    )


def _plan(message: Message, user: User, narrowed_to: Sequence[Group] | None) -> Plan:
    return _plan_of(message, _history(message, user, narrowed_to) if message.position else ())


def _plan_of(message: Message, history: tuple[Turn, ...]) -> Plan:
    chat = message.chat
    scenario = chat.scenario if chat.scenario_id else None
    return Plan(groups=frozenset(message.groups), public=chat.use_public, history=history, scenario=scenario)


def _history(message: Message, user: User, narrowed_to: Sequence[Group] | None) -> tuple[Turn, ...]:
    """The latest turns, without what the asker may not read any more."""
    earlier = Message.objects.filter(chat=message.chat_id, position__lt=message.position).exclude(answer="")
    rows = [row for row in earlier.order_by("-position")[:TURNS] if row.is_within(narrowed_to)]
    bases = withheld.bases(rows, Source.objects.visible_to(user, narrowed_to))
    turns = (_turn(row, bases[row.pk]) for row in reversed(rows))
    return tuple(turn for turn in turns if turn.answer.strip())


def _turn(row: Message, basis: withheld.Basis) -> Turn:
    answer = withheld.readable(row.answer, basis, is_noted=False)
    return Turn(row.question, answer, basis.sources, is_quoting=bool(basis.given or row.trace.get("earlier")))


def title_of(question: str) -> str:
    """A chat's title from its first question: the start of its first line, cut between words."""
    lines = [MARKUP.sub("", line).strip() for line in question[:2_000].splitlines()]
    words = next((line for line in lines if line), "").split()
    text = " ".join(words)
    if len(text) <= LONGEST_TITLE:
        return text
    head = text[:LONGEST_TITLE]
    return (head.rsplit(" ", 1)[0] if " " in head[LONGEST_TITLE // 2 :] else head).rstrip(",.;:") + "…"


# -- answering ------------------------------------------------------------------------------------


def start(message: Message, *, user: User, narrowed_to: list[Group] | None, backend: str | None = None) -> None:
    """Starts to answer on the running event loop and returns at once.

    `narrowed_to` are the only groups that the asker's token may use, None when it may use all of its user's.
    """
    here = desk.current()
    if isinstance(message.asked, Plan):
        here.start(_asked(message, message.asked, user, narrowed_to, backend))
        return
    task = here.loop.create_task(_start_unread(message, user, narrowed_to, backend))
    here.errands.add(task)
    task.add_done_callback(here.errands.discard)


async def _start_unread(message: Message, user: User, narrowed_to: list[Group] | None, backend: str | None) -> None:
    def read() -> Plan:
        return _plan(message, user, narrowed_to)

    plan = await database_sync_to_async(read, thread_sensitive=False)()
    desk.current().start(_asked(message, plan, user, narrowed_to, backend))


def _asked(message: Message, plan: Plan, user: User, narrowed_to: Sequence[Group] | None, backend: str | None) -> Asked:
    scenario = plan.scenario
    common = Asked(
        message=message,
        owner=str(user.pk),
        visible=_visible(plan, user, narrowed_to),
        readable=Source.objects.visible_to(user, narrowed_to),
        history=plan.history,
        backend=backend,
        sources=SOURCES,
    )
    return common if scenario is None else _in_scenario(common, scenario)


def _visible(plan: Plan, user: User, narrowed_to: Sequence[Group] | None) -> SourceQuerySet | None:
    """The sources that this question may see; None when it asks for none. Rights are looked up when it is searched."""
    if not (plan.groups or plan.public):
        return None
    return Source.objects.visible_to(user, narrowed_to).among(plan.groups, public=plan.public)


def _in_scenario(asked: Asked, scenario: Scenario) -> Asked:
    style = Style(scenario.system_pre_prompt, scenario.user_pre_prompt, scenario.user_post_prompt)
    return Asked(
        message=asked.message,
        owner=asked.owner,
        visible=asked.visible,
        readable=asked.readable,
        history=asked.history if scenario.use_history else (),
        backend=asked.backend,
        style=style,
        sources=scenario.k,
        least_cosine=scenario.similarity_threshold,
        ways=Ways(words=scenario.use_sparse, meaning=scenario.use_dense),
        temperature=TEMPERATURES.get(scenario.creativity),
    )


async def finished(message_id: UUID, timeout: float) -> Message:  # noqa: ASYNC109 - the caller's, in seconds
    """The message as it is when its answer has ended. Raises TimeoutError, Message.DoesNotExist."""
    async with asyncio.timeout(timeout):
        return await follow.ended(message_id)


def stop(message_id: UUID) -> None:
    """Ends an answer where it is; what was written stays. From the event loop or any thread, for any process."""
    here = desk.peek()
    if here and (generation := here.running.get(message_id)):
        here.loop.call_soon_threadsafe(generation.stop)
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        _stop_elsewhere(message_id)
        if here:
            here.loop.call_soon_threadsafe(here.waker.tell, [message_id])
        return
    here = desk.current()
    task = loop.create_task(_stop_and_tell(message_id))
    here.errands.add(task)
    task.add_done_callback(here.errands.discard)


async def _stop_and_tell(message_id: UUID) -> None:
    await database_sync_to_async(_stop_elsewhere, thread_sensitive=False)(message_id)
    desk.current().waker.tell([message_id])


def _stop_elsewhere(message_id: UUID) -> None:
    """The process that answers looks at its rows every second, and at once when it is told."""
    under_way = Message.objects.filter(pk=message_id).under_way()
    under_way.update(state=State.STOPPED, claimed_until=None, finished_at=timezone.now())


def end_lost() -> int:
    """Fails the answers whose process has gone; for whoever looks now and then. Returns how many."""
    return Message.objects.lost().fail()
