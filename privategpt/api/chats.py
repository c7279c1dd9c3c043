"""`/chats`: asking, going on, and reading, listing and deleting one's chats."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Prefetch
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from privategpt import answers, follow, sweeping
from privategpt.api import envelope, idempotency, streaming
from privategpt.api.answer import answered, citations, final, shape_messages, wants_objects
from privategpt.api.base import ApiView, found_id, in_thread, page_of
from privategpt.api.envelope import Refusal, invalid, moment
from privategpt.api.fields import Body, Flag, Language, Names, Page, Text
from privategpt.api.groups import NONE, own_groups
from privategpt.generation import FORBIDDEN
from privategpt.models import Chat, Message, Scenario

LONGEST_QUESTION = 100_000  # characters
UNFINISHED = (Message.State.WAITING, Message.State.ANSWERING)
ANSWERED = (Message.State.COMPLETE, Message.State.STOPPED)  # nothing changes them any more


_starting: set[asyncio.Task[Any]] = set()  # held here, for the loop does not hold its tasks


class Question(Body):
    """What is asked in a chat that there is."""

    question = Text(max_length=LONGEST_QUESTION)
    language = Language()
    stream = Flag(default=False, help_text="Answer as server-sent events; so does Accept: text/event-stream.")


class NewChat(Question):
    """What is asked first, and where answers may be looked for."""

    usePublic = Flag(source="use_public", default=False)  # noqa: N815
    groups = Names()
    scenarioId = Text(source="scenario", required=False, allow_blank=True, max_length=64)  # noqa: N815


@dataclass(frozen=True, slots=True)
class Asked:
    """A question's row. `is_new`: its answer has yet to be started."""

    message: Message
    is_new: bool


class _Asking(ApiView):
    """The way from a question to its answer, whole or as a stream."""

    async def ask(self, *, chat: str | None) -> HttpResponseBase:
        """Begins an answer, or takes up a broken stream, and replies."""
        if place := streaming.last_event(self.plain):
            message = await in_thread(self._resumed, place.message, chat)
            return await streaming.reply(self, message, after=place.offset)
        asked = await self._started(chat)
        if self.fields["stream"] or streaming.wanted(self.plain):
            return await streaming.reply(self, asked.message, after=0)
        return await self._whole(asked.message)

    async def _started(self, chat: str | None) -> Asked:
        """Shielded: a client that leaves between the two must not leave a question that nobody answers."""

        async def start() -> Asked:
            asked = await in_thread(self._begin, chat)
            if asked.is_new:
                answers.start(asked.message, user=self.caller.user, narrowed_to=self.caller.narrowed_to)
            return asked

        task = asyncio.create_task(start())
        _starting.add(task)
        task.add_done_callback(_starting.discard)
        return await asyncio.shield(task)

    def _begin(self, chat: str | None) -> Asked:
        self.admit()
        if not self.fields["question"].strip():
            raise invalid({"question": ["This field may not be blank."]})
        begun: list[Message] = []
        made = idempotency.once(self.caller, self.plain, self.raw, lambda: self._made(chat, begun))
        if begun:
            return Asked(begun[0], is_new=True)
        return Asked(self._message(pk=made["message"]), is_new=False)

    def _made(self, chat: str | None, begun: list[Message]) -> dict[str, str]:
        user, groups = self.caller.user, []
        if chat is None:
            groups = own_groups(self.caller, self.fields.get("groups", []))
            target = Chat(
                owner=user,
                language=self.fields.get("language") or user.language,
                use_public=self.fields["use_public"],
                scenario=self._scenario(),
            )
        else:
            target = self.caller.chats().get(pk=found_id(chat))
        language = self.fields.get("language") or target.language
        question, narrowed_to = self.fields["question"], self.caller.narrowed_to
        message = answers.begin(target, question, user=user, language=language, groups=groups, narrowed_to=narrowed_to)
        begun[:] = [message]  # what was begun before is not there: its transaction was taken back
        return {"message": str(message.pk)}

    def _scenario(self) -> Scenario | None:
        wanted = self.fields.get("scenario")
        if not wanted:
            return None
        try:
            return self.caller.scenarios().get(pk=found_id(wanted))
        except (Scenario.DoesNotExist, Refusal):
            raise invalid({"scenarioId": ["Unknown scenario."]}) from None

    def _resumed(self, message: str, chat: str | None) -> Message:
        self._sent = {"question": "-"}  # a stream that is taken up needs no question
        self.admit()
        within = {} if chat is None else {"chat": found_id(chat)}
        return self._message(pk=found_id(message), **within)

    def _message(self, **wanted: Any) -> Message:
        """The last such message that the caller may read. Raises Refusal (404)."""
        rows = Message.objects.select_related("chat").filter(chat__in=self.caller.chats(), **wanted)
        readable = (row for row in rows.order_by("-position") if row.is_within(self.caller.narrowed_to))
        if (found := next(readable, None)) is None:
            raise envelope.not_found()
        return found

    def allow(self, message: Message, sources: Collection[str] = ()) -> None:
        """Raises Refusal unless the token still reaches this message, all of these sources and all that it rests on."""
        self.call()
        row, readable = self._message(pk=message.pk), self.caller.sources()
        if readable.filter(pk__in=set(sources)).count() < len(set(sources)):
            raise Refusal(403, FORBIDDEN)
        # Of a finished answer the stream leaves out what its owner may not read, but knows nothing of tokens.
        is_checked = row.state not in UNFINISHED and self.caller.narrowed_to is None
        if not (is_checked or follow.basis(row, readable).is_whole):
            raise Refusal(403, FORBIDDEN)

    async def _whole(self, message: Message) -> HttpResponse:
        try:
            ended = await asyncio.wait_for(
                answers.finished(message.pk, settings.API["answer_timeout"]), settings.API["answer_timeout"] + 1
            )
        except TimeoutError:
            raise Refusal(504, "The answer takes too long; it goes on in the chat.", headers=envelope.LATER) from None
        return envelope.reply(await in_thread(self.outcome, ended), notice=True)

    def outcome(self, message: Message) -> dict[str, Any]:
        """The answer's data for who still may have it. Raises Refusal for a failed or endless one."""
        self.call()  # the user may have been deleted while asking
        if message.state not in ANSWERED:
            message = Message.objects.select_related("chat").get(pk=message.pk)
        if message.state == Message.State.FAILED:
            idempotency.forget(self.caller, self.plain)
        return answered(final(message), self.caller, self.plain)


class Chats(_Asking):
    """Asking a first question, and the list of one's chats."""

    accepts = {"POST": NewChat}
    query = {"GET": Page}
    scopes = {"GET": "chats", "POST": "chats"}

    async def get(self) -> dict[str, Any]:
        """One's own, newest first."""
        return await in_thread(self._list)

    def _list(self) -> dict[str, Any]:
        self.admit()
        rows = self.caller.chats().exclude(pk__in=self._foreign()).prefetch_related("groups")
        return page_of(rows.order_by("-updated_at", "pk"), "chats", shape, self.asked)

    def _foreign(self) -> set[UUID]:
        """Chats of which a narrowed token may read nothing, though they ask its groups by now."""
        narrowed_to, chats = self.caller.narrowed_to, self.caller.chats()
        if narrowed_to is None:
            return set()
        rows = Message.objects.filter(chat__in=chats).only("chat", "groups")
        readable: dict[UUID, bool] = {}
        for row in rows.iterator():
            readable[row.chat_id] = readable.get(row.chat_id, False) or row.is_within(narrowed_to)
        return {chat for chat, is_readable in readable.items() if not is_readable}

    async def post(self) -> HttpResponseBase:
        """A new chat with its first answer."""
        return await self.ask(chat=None)


class OneChat(_Asking):
    """One chat: going on, reading, deleting."""

    accepts = {"POST": Question, "PATCH": Question, "DELETE": Body}
    scopes = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), "chats")

    async def post(self, chat: str) -> HttpResponseBase:
        """The answer to a further question."""
        return await self.ask(chat=chat)

    patch = post

    async def get(self, chat: str) -> HttpResponseBase | dict[str, Any]:
        """The chat with its messages; as server-sent events, the answer that is under way or came last."""
        if streaming.wanted(self.plain):
            if place := streaming.last_event(self.plain):
                message = await in_thread(self._resumed, place.message, chat)
                return await streaming.reply(self, message, after=place.offset)
            return await streaming.reply(self, await in_thread(self._last, chat), after=0)
        return await in_thread(self._read_chat, chat)

    def _last(self, chat: str) -> Message:
        self.admit()
        return self._message(chat=found_id(chat))

    def _read_chat(self, chat: str) -> dict[str, Any]:
        self.admit()
        shown = Prefetch("citations", citations(self.caller), to_attr="shown_citations")
        rows = self.caller.chats().prefetch_related("groups")
        found = rows.get(pk=found_id(chat))
        messages = list(found.messages.order_by("position").prefetch_related(shown))
        told = shape_messages(messages, self.caller, as_objects=wants_objects(self.plain))
        if messages and not told:
            raise envelope.not_found()
        return {
            **shape(found),
            "messages": told,
            "isLocked": any(message.state in UNFINISHED for message in messages),
        }

    async def delete(self, chat: str) -> dict[str, Any]:
        """Deletes the chat; an answer that is under way ends."""
        await delete_chats(self, chat)
        return NONE


class FlushChats(ApiView):
    """`DELETE /chats/flush`: all of one's own chats."""

    accepts = {"DELETE": Body}
    scopes = {"DELETE": "chats"}

    async def delete(self) -> dict[str, Any]:
        """Deletes them."""
        await delete_chats(self, None)
        return NONE


async def delete_chats(view: ApiView, chat: str | None) -> None:
    """One of the caller's chats or all of them, and ends the answers that they wait for. Raises Refusal (404)."""
    for message in await in_thread(_deleted, view, chat):
        answers.stop(message)


def _deleted(view: ApiView, chat: str | None) -> list[UUID]:
    view.admit()
    chats = view.caller.chats()
    if chat is not None:
        chats = chats.filter(pk=found_id(chat))
    unfinished = Message.objects.filter(chat__in=chats.order_by().values("pk"), state__in=UNFINISHED)
    under_way = list(unfinished.values_list("pk", flat=True))
    if not chats.remove() and chat is not None:
        raise envelope.not_found()
    sweeping.soon()
    return under_way


def shape(chat: Chat) -> dict[str, Any]:
    """A chat as it is listed."""
    return {
        "chatId": str(chat.pk),
        "title": chat.title,
        "language": chat.language,
        "groups": [group.name for group in chat.groups.all()],
        "usePublic": chat.use_public,
        "createdAt": moment(chat.created_at),
        "updatedAt": moment(chat.updated_at),
    }
