"""Asking in tests: a backend that says what it is told to, and the shortest way from a question to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

from channels.db import database_sync_to_async

from accounts.models import Group, User
from privategpt import answers, follow, ingest
from privategpt.llm.base import BackendError, Delta, Message, Usage
from privategpt.models import Chat, Source
from privategpt.models import Message as Asked
from tests.patience import PATIENCE

Step = str | asyncio.Event | BaseException | Usage


class Scripted:
    """A backend whose next answers stand in `script`: texts, an Event to wait for, or an error to raise."""

    name = "scripted"
    model = "none"
    script: ClassVar[list[list[Step]]] = []
    prompts: ClassVar[list[Sequence[Message]]] = []
    closed = 0

    @classmethod
    def says(cls, *steps: Step) -> None:
        """The answer to the next question."""
        cls.script.append(list(steps))

    @classmethod
    def reset(cls) -> None:
        cls.script, cls.prompts, cls.closed = [], [], 0

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Delta | Usage, None]:
        type(self).prompts.append(messages)
        steps = self.script.pop(0) if self.script else ["Yes."]
        try:
            for step in steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, BaseException):
                    raise step
                else:
                    yield Delta(step) if isinstance(step, str) else step
        finally:
            type(self).closed += 1

    async def aclose(self) -> None:
        """Holds nothing."""


BACKENDS = {
    "scripted": {"BACKEND": "tests.answering.Scripted"},
    "quoting": {"BACKEND": "privategpt.llm.quoting.QuotingBackend"},
    "relay": {"BACKEND": "privategpt.llm.relay.RelayBackend"},
}


def broken(sentence: str = "The model broke.") -> BackendError:
    return BackendError(sentence)


T = TypeVar("T")


async def db(work: Callable[..., T], *given: Any, **named: Any) -> T:
    """Runs it in a thread that may use the database."""
    return await database_sync_to_async(work, thread_sensitive=False)(*given, **named)


def group(name: str, *members: User) -> Group:
    found = Group.objects.create(name=name)
    found.members.set(members)
    return found


def source(title: str, content: str, *groups: Group) -> Source:
    """A stored source; public without groups."""
    return ingest.store(None, title=title, content=content, groups=groups, public=not groups)


def chat(owner: User, *groups: Group, public: bool = False, **fields: Any) -> Chat:
    found = Chat.objects.create(owner=owner, use_public=public, **fields)
    found.groups.set(groups)
    return found


async def begun(where: Chat, question: str = "Why?", *, narrowed_to: list[Group] | None = None, **how: Any) -> Asked:
    """A question whose answer is under way."""
    message = await db(answers.begin, where, question, user=where.owner, **how)
    answers.start(message, user=where.owner, narrowed_to=narrowed_to)
    return message


async def asked(where: Chat, question: str = "Why?", *, narrowed_to: list[Group] | None = None, **how: Any) -> Asked:
    """A question with its answer, as the rows have it."""
    message = await begun(where, question, narrowed_to=narrowed_to, **how)
    await answers.finished(message.pk, PATIENCE)
    return await db(Asked.objects.get, pk=message.pk)


async def followed(message: Asked, after: int = 0) -> list[follow.Event]:
    """All that there is to hear of an answer."""
    async with asyncio.timeout(PATIENCE):
        return [event async for event in follow.events(message.pk, after)]


def text_of(events: list[follow.Event]) -> str:
    return "".join(event.data for event in events if event.kind == "delta")


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits for it. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = holds()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


def in_prompts(text: str) -> bool:
    """Whether any prompt held it."""
    return any(text in message.content for prompt in Scripted.prompts for message in prompt)
