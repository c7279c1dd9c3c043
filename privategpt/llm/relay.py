"""Agents on the relay as a backend. The only module of this app that knows the relay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from privategpt.llm.base import BackendError, Cut, Delta, InLine, Message, Piece
from privategpt.llm.matter import Matter
from privategpt.prompts import flat
from relay import dispatch, exchange, frames
from relay.pool import Agent

LOOK = 0.5  # seconds between two looks at the place in line
AGENT_READS = 3_584  # tokens: what a small model with a context of 4,096 reads beside its answer
BUILT_IN = "built-in"  # the name under which `serve` starts the small model's agent

# What the dispatcher raises, and what that means for who asked: the sentence, and whether another try may help.
SENTENCES: dict[type[Exception], tuple[str, int]] = {
    dispatch.NoAgents: ("No agent is connected that could answer.", 503),
    dispatch.OutOfReach: ("The agent cannot be reached just now.", 503),
    dispatch.Draining: ("The server is going down.", 503),
    dispatch.TooManyAsks: ("Too many of your questions wait for an agent already.", 429),
    dispatch.QueueFull: ("Too many questions wait for an agent already.", 503),
    dispatch.WaitOver: ("No agent became free in time.", 503),
    dispatch.AgentGone: ("The agent went away before it had answered.", 502),
    dispatch.AgentRubbish: ("The agent's answer could not be read.", 502),
    dispatch.AgentSilent: ("The agent did not answer in time.", 504),
    dispatch.NotSaved: ("The answer could not be saved.", 503),
}


def is_built_in(agent: Agent) -> bool:
    """Whether this is the small model that comes with the server: others answer better."""
    return agent.said.name == BUILT_IN


class RelayBackend:
    """Asks an agent that is connected, to this process or to another one."""

    name = "relay"
    model = ""

    def __init__(self, *, owner: str = "", reads: int = AGENT_READS) -> None:
        """`owner` is the asking user's id; `reads` are the tokens for an agent that does not say what it reads."""
        self._owner, self._reads = owner, reads

    def about(self, matter: Matter) -> RelayBackend:
        """The same on behalf of a user, in whose turn the ask waits."""
        return RelayBackend(owner=matter.owner, reads=self._reads)

    def has_agent(self, *, besides_built_in: bool) -> bool:
        """Whether any agent is there, or one that is not the built-in model."""
        agents = exchange.current().dispatcher.pool.agents.values()
        return any(not (besides_built_in and is_built_in(agent)) for agent in agents)

    async def reads(self) -> int | None:
        """See `Sized`: what each of those reads that may get the question."""
        agents = list(exchange.current().dispatcher.pool.agents.values())
        asked = [agent for agent in agents if not is_built_in(agent)] or agents
        return min((agent.said.context or self._reads for agent in asked), default=self._reads)

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Piece, None]:
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        question = dispatch.Question(
            owner=self._owner,
            content=flat(messages),
            messages=[frames.Message(message.role, message.content) for message in messages],
            stream=True,
            max_tokens=max_tokens,
            temperature=temperature,
            on_delta=pieces.put_nowait,
            last_resort=is_built_in,
            is_patient=True,  # nobody holds a connection open for it
        )
        dispatcher = exchange.current().dispatcher
        ask = asyncio.create_task(dispatcher.ask(question))
        ask.add_done_callback(lambda _: pieces.put_nowait(None))
        shown = ""
        try:
            async with contextlib.aclosing(_places(dispatcher, question, ask)) as places:
                async for place in places:
                    yield place
            while (piece := await pieces.get()) is not None:
                if piece:
                    shown += piece
                    yield Delta(piece)
            answer = _outcome(ask)
            if answer.content != shown and answer.content.startswith(shown):
                # The whole goes on behind its pieces. One that differs from them comes too late: they were read.
                yield Delta(answer.content.removeprefix(shown))
            if isinstance(answer.finish_reason, str):
                yield Cut(answer.finish_reason)
        finally:
            if not ask.done():
                ask.cancel()  # the agent is told that nobody waits any more
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await ask

    async def aclose(self) -> None:
        """Agents belong to the relay."""


async def _places(
    dispatcher: dispatch.Dispatcher, question: dispatch.Question, ask: asyncio.Task[frames.Answer]
) -> AsyncGenerator[InLine, None]:
    """Where the ask stands, whenever that has changed, until an agent has it."""
    await asyncio.sleep(0)  # the ask begins
    told = None
    while found := dispatcher.standing(question):
        place = InLine(found.place, _about(found.seconds), found.at_work)
        if place != told:
            told = place
            yield place
        turn: asyncio.Future[Any] = question.waiter.future if question.waiter else ask
        await asyncio.wait([ask, turn], timeout=LOOK)
    if told:
        yield InLine(0)


def _about(seconds: float | None) -> float | None:
    """As exact as a guess can be: in steps of 5 s, 10 s, then whole minutes."""
    if seconds is None:
        return None
    step = 5 if seconds < 30 else 10 if seconds < 90 else 60
    return max(5.0, round(seconds / step) * step)


def _outcome(ask: asyncio.Task[frames.Answer]) -> frames.Answer:
    try:
        return ask.result()
    except dispatch.AgentError as fault:
        raise BackendError("The agent reports an error.", said=str(fault)[:1_000], status=502) from None
    except tuple(SENTENCES) as fault:
        sentence, status = next(SENTENCES[kind] for kind in type(fault).__mro__ if kind in SENTENCES)
        raise BackendError(sentence, retryable=True, status=status) from None
