"""Stand-ins for the verbs of ingest, answers and follow until they are there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from channels.db import database_sync_to_async
from django.db import models, transaction


@dataclass
class Event:
    kind: str
    offset: int
    data: Any = None


def ingest() -> ModuleType:
    module: Any = ModuleType("privategpt.ingest")

    class GroupGone(Exception): ...

    class SourceGone(Exception): ...

    class Unstorable(ValueError): ...

    def store(creator: Any, *, title: str, content: str, groups: Any, public: bool, source_id: Any = None) -> Any:
        from accounts.models import Group
        from privategpt.models import Source

        with transaction.atomic():
            source = Source.objects.create(creator=creator, title=title, content=content, is_public=public)
            if Group.objects.filter(pk__in=[group.pk for group in groups]).count() < len(groups):
                raise GroupGone
            source.groups.set(groups)
        return source

    def edit(source: Any, *, title: Any = None, content: Any = None, groups: Any = None) -> None:
        source.title = source.title if title is None else title
        source.content = source.content if content is None else content
        source.is_public = source.is_public if groups is None else not groups
        source.save()
        if groups is not None:
            source.groups.set(groups)

    def delete(source: Any) -> None:
        source.delete()

    module.GroupGone, module.SourceGone, module.Unstorable = GroupGone, SourceGone, Unstorable
    module.store, module.edit, module.delete = store, edit, delete
    return module


def answers() -> tuple[ModuleType, ModuleType]:
    module: Any = ModuleType("privategpt.answers")
    follow: Any = ModuleType("privategpt.follow")

    class Busy(Exception): ...

    class TooMany(Busy): ...

    def begin(chat: Any, question: str, *, user: Any, language: str | None = None) -> Any:
        from privategpt.models import Message

        if chat.messages.filter(state__in=["waiting", "answering"]).exists():
            raise Busy
        if Message.objects.filter(chat__owner=user, state__in=["waiting", "answering"]).count() >= 32:
            raise TooMany
        last = chat.messages.aggregate(last=models.Max("position"))["last"]
        if not chat.title:
            chat.title = question[:60]
            chat.save()
        position = 0 if last is None else last + 1
        return Message.objects.create(chat=chat, position=position, question=question, language=language or "en")

    tasks: dict[Any, asyncio.Task[None]] = {}

    def start(message: Any, *, user: Any, narrowed_to: Any, backend: str | None = None) -> None:
        tasks[message.pk] = asyncio.get_running_loop().create_task(run(message, user, narrowed_to))

    async def run(message: Any, user: Any, narrowed_to: Any) -> None:
        text = await database_sync_to_async(found, thread_sensitive=False)(message, user, narrowed_to)
        for position in range(0, len(text), 5):
            while hold.exists(position):
                await asyncio.sleep(0.01)
            piece = text[: position + 5]
            await database_sync_to_async(save, thread_sensitive=False)(message, answer=piece, state="answering")
        state = "failed" if "fail" in message.question else "complete"
        await database_sync_to_async(save, thread_sensitive=False)(message, answer=text, state=state, error="No model.")

    def found(message: Any, user: Any, narrowed_to: Any) -> str:
        from privategpt.models import Citation, Source

        chat = message.chat
        wanted = models.Q(groups__in=chat.groups.all())
        if chat.use_public:
            wanted |= models.Q(is_public=True)
        for number, source in enumerate(Source.objects.visible_to(user, narrowed_to).filter(wanted).distinct(), 1):
            Citation.objects.create(
                message=message, source=source, number=number, start=0, end=5, context=source.content[:200], score=1.0
            )
        texts = [citation.context for citation in message.citations.all()]
        return f"To {message.question}: " + " ".join(texts)

    def save(message: Any, **fields: Any) -> None:
        from privategpt.models import Message

        if not Message.objects.filter(pk=message.pk).update(**fields):
            raise asyncio.CancelledError

    async def finished(message_id: Any, timeout: float) -> Any:
        async with asyncio.timeout(timeout):
            async for event in events(message_id, 10**9):
                pass

    def stop(message_id: Any) -> None:
        if task := tasks.pop(message_id, None):
            task.cancel()

    async def events(message_id: Any, after: int = 0) -> AsyncIterator[Event]:
        from privategpt.models import Message

        yield Event("sources", after, await database_sync_to_async(told, thread_sensitive=False)(message_id))
        while True:
            message = await database_sync_to_async(Message.objects.get, thread_sensitive=False)(pk=message_id)
            if len(message.answer) > after:
                text, after = message.answer[after:], len(message.answer)
                yield Event("delta", after, text)
            if message.state not in {"waiting", "answering"}:
                yield Event("done", after)
                return
            await asyncio.sleep(0.005)

    def told(message_id: Any) -> Any:
        from privategpt.api.answer import passage
        from privategpt.models import Citation

        return [passage(row) for row in Citation.objects.filter(message=message_id)]

    class Hold:
        after: int | None = None

        def exists(self, position: int) -> bool:
            return self.after is not None and position >= self.after

    hold = module.hold = Hold()
    module.Busy, module.TooMany = Busy, TooMany
    module.begin, module.start, module.finished, module.stop = begin, start, finished, stop
    follow.TooManyFollowers = type("TooManyFollowers", (Exception,), {})
    follow.events, follow.Event = events, Event
    return module, follow


def install() -> None:
    import privategpt

    made = {"ingest": ingest()}
    made["answers"], made["follow"] = answers()
    for name, module in made.items():
        sys.modules[f"privategpt.{name}"] = module
        setattr(privategpt, name, module)
