"""A question's way to an agent and back: queue, choose, send, await, retry.

Exactly one answer for each ask: the first valid one from the agent that was given it.
An agent may be given an ask again after it was lost, never two agents at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from relay import frames, notes
from relay.admitted import Admitted
from relay.commits import GroupCommit, NotSaved
from relay.conversations import Conversations, UnknownConversation
from relay.failures import (
    AgentBusy,
    AgentError,
    AgentGone,
    AgentRubbish,
    AgentSilent,
    ConversationAgentGone,
    Draining,
    Lost,
    NoAgents,
    NobodyElse,
    OutOfReach,
    WaitOver,
)
from relay.ids import fresh_id
from relay.lending import Lending
from relay.limits import RETRIES, Limits
from relay.line import Pace, Standing
from relay.pool import Agent, AgentLeft, Pool, QueueFull, TooManyAsks, Waiter
from relay.tally import Tally

__all__ = [
    "AgentBusy",
    "AgentError",
    "AgentGone",
    "AgentRubbish",
    "AgentSilent",
    "ConversationAgentGone",
    "Draining",
    "Lost",
    "NoAgents",
    "NotSaved",
    "OutOfReach",
    "QueueFull",
    "TooManyAsks",
    "UnknownConversation",
    "WaitOver",
]

FAULTS: dict[int, type[Lost]] = {notes.GONE: AgentGone, notes.BUSY: AgentBusy, notes.RUBBISH: AgentRubbish}


class Question(msgspec.Struct, eq=False):
    """What is asked, for whom. `owner` is a user's id, "" for the holder of the admin key."""

    owner: str
    content: str = ""
    conversation_id: str = ""
    parent_id: str = ""
    message_id: str = ""
    messages: list[frames.Message] | None = None
    token: int | None = None  # that it is asked with; None for the admin key, and for a chat
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    on_delta: Callable[[str], None] | None = None
    on_late: Callable[[frames.Answer], None] | None = None
    last_resort: Callable[[Agent], bool] | None = None  # agents that are asked only when there are no others
    is_patient: bool = False  # waits for an agent as long as the ask may take at all
    waiter: Waiter | None = None  # its place in the queue, while it has one
    waited: float = 0.0  # seconds in the queue
    shown: bool = False  # a delta was passed on

    def request(self, agent: Agent) -> frames.Request:
        """What this agent is sent: the contract's four keys, and more for one that declared more."""
        if not (agent.said.stream or agent.said.model):
            return frames.Request(self.message_id, self.conversation_id, self.parent_id, self.content)
        return frames.FullRequest(
            message_id=self.message_id,
            conversation_id=self.conversation_id,
            parent_id=self.parent_id,
            content=self.content,
            messages=self.messages,
            stream=self.stream and agent.said.stream,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
        )


class Pending(msgspec.Struct, eq=False):
    """An ask that an agent has."""

    id: str
    question: Question
    agent: Agent
    future: asyncio.Future[frames.Answer]
    deadline: float  # monotonic
    heard: float  # monotonic: given to the agent, or its last delta
    given: float  # monotonic
    task: asyncio.Task[Any] | None = None  # while the frame is being written
    deltas: list[str] = []
    size: int = 0

    def end(self, answer: frames.Answer, fault: Exception | None) -> None:
        """Hands the answer over; `fault` is what kept it from being committed."""
        if self.future.done():
            return
        if fault:
            self.future.set_exception(fault)
        else:
            self.future.set_result(answer)

    def fail(self, reason: Exception) -> None:
        """Ends the ask here; whether it goes elsewhere is `ask`'s decision."""
        if not self.future.done():
            self.future.set_exception(reason)
            if self.task:
                self.task.cancel()  # stuck behind a backlog that the agent does not read


class Dispatcher:
    """The relay of one process: its pool, its conversations, and the asks under way."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pool = Pool(limits)
        self.commits = GroupCommit()
        self.conversations = Conversations(self.commits)
        self.draining = False
        self.asks = 0  # under way, waiting ones included
        self.admitted = Admitted()
        self.lending = Lending(self)
        self.on_left: Callable[[Agent], None] | None = None  # hears of this process's agents
        self.is_cut_off = False  # from the other processes, where there may be some
        self.tally = Tally()
        self.waiters: set[Waiter] = set()
        self.pace = Pace()

    # -- asking ---------------------------------------------------------------------------------

    async def ask(self, question: Question) -> frames.Answer:
        """Puts a question to an agent and waits for its answer, whose conversation is committed then.

        Raises NoAgents, QueueFull, TooManyAsks, WaitOver, UnknownConversation, ConversationAgentGone, OutOfReach,
        AgentGone, AgentRubbish, AgentSilent, AgentError, NotSaved, Draining. Deltas go to `on_delta`;
        once one was passed on, the ask is not given to another agent.
        """
        if self.draining:
            raise Draining
        self.asks += 1
        began, outcome = time.monotonic(), "abandoned"
        try:
            deadline = began + self.limits.ask_timeout
            question.message_id = question.message_id or fresh_id()
            question.parent_id = question.parent_id or fresh_id()
            put = self._continue if question.conversation_id else self._open
            answer = await put(question, deadline)
        except Exception as fault:
            outcome = type(fault).__name__
            raise
        else:
            outcome = "answered"
            return answer
        finally:
            self.asks -= 1
            self.tally.ended(outcome, question.waited, time.monotonic() - began)

    def standing(self, question: Question) -> Standing | None:
        """Where it stands in line; None when it does not wait for any agent."""
        waiter = question.waiter
        return self.pace.standing(self.pool, waiter) if waiter and not waiter.future.done() else None

    async def _open(self, question: Question, deadline: float) -> frames.Answer:
        failed: list[Agent] = []
        loss: Lost | None = None
        while True:
            if loss and not self._others(failed):
                if self.is_cut_off and failed[-1].node:
                    raise OutOfReach
                raise loss
            avoid = failed + self._last_resorts(question, failed)
            try:
                agent = self.pool.take(avoid) or await self._wait(question, deadline, avoid=avoid, again=bool(failed))
                return await self._put(agent, question, deadline)
            except NobodyElse:
                continue  # to a last resort; without one it ends as it was lost
            except Lost as fault:
                failed.append(agent)
                loss = fault
                if len(failed) > RETRIES or not self._may_retry(question, deadline):
                    raise

    def _last_resorts(self, question: Question, failed: list[Agent]) -> list[Agent]:
        """Agents that this ask leaves out, because there are others that have not failed it."""
        if question.last_resort is None:
            return []
        left = [agent for agent in self.pool.agents.values() if agent not in failed]
        spared = [agent for agent in left if question.last_resort(agent)]
        return spared if len(spared) < len(left) else []

    def _others(self, failed: list[Agent]) -> bool:
        return self.pool.expects or any(agent not in failed for agent in self.pool.agents.values())

    def _may_retry(self, question: Question, deadline: float) -> bool:
        return not question.shown and time.monotonic() < deadline

    async def _continue(self, question: Question, deadline: float) -> frames.Answer:
        """A conversation lives with one agent; that agent may come back under its id, others cannot help."""
        if not (self.pool.agents or self.pool.hopes() or self.is_cut_off):
            raise NoAgents
        agent_id = self.conversations.known(question.owner, question.conversation_id)
        if agent_id is None:
            agent_id = await self._agent_of(question)
        for attempt in range(1 + RETRIES):
            agent = self.pool.agents.get(agent_id) or await self._returned(agent_id)
            try:
                if agent.gone:  # again, since it came back
                    raise AgentLeft
                if not self.pool.take_this(agent):
                    await self._wait(question, deadline, agent=agent)
                return await self._put(agent, question, deadline)
            except (AgentGone, AgentLeft) as loss:
                if attempt == RETRIES or not self._may_retry(question, deadline):
                    raise AgentGone("The agent that holds this conversation went away.") from loss
        raise AssertionError("the last attempt returns or raises")

    async def _agent_of(self, question: Question) -> str:
        try:
            return await self.conversations.agent_of(question.owner, question.conversation_id)
        except UnknownConversation:
            if not self.pool.agents:
                raise NoAgents from None
            raise

    async def _returned(self, agent_id: str) -> Agent:
        if self.is_cut_off:  # it may well be connected, only not to this process
            raise OutOfReach
        agent = await self.pool.returned(agent_id)
        if agent:
            return agent
        raise ConversationAgentGone if self.pool.agents else NoAgents

    async def _wait(
        self,
        question: Question,
        deadline: float,
        *,
        agent: Agent | None = None,
        avoid: Sequence[Agent] = (),
        again: bool = False,
    ) -> Agent:
        """A slot, after some time in the queue."""
        if not (self.pool.agents or self.pool.expects):
            raise NoAgents
        waiter = self.pool.enqueue(question.owner, agent=agent, avoid=tuple(avoid), again=again)
        waiter.until = deadline if question.is_patient else min(waiter.since + self.limits.queue_wait, deadline)
        self.waiters.add(waiter)
        question.waiter = None if agent else waiter
        try:
            return await waiter.future
        except BaseException:
            self.pool.withdraw(waiter, agent)
            raise
        finally:
            question.waiter = None
            self.waiters.discard(waiter)
            question.waited += time.monotonic() - waiter.since

    async def _put(self, agent: Agent, question: Question, deadline: float) -> frames.Answer:
        """Gives the ask to an agent that has a slot reserved, and waits for what comes of it."""
        if agent.gone:  # since the slot was handed to this ask: nobody would tell it any more
            self.pool.release(agent)
            raise AgentGone("The agent went away before it was asked.")
        future: asyncio.Future[frames.Answer] = asyncio.get_running_loop().create_future()
        now = time.monotonic()
        pending = Pending(fresh_id(), question, agent, future, deadline, heard=now, given=now)
        agent.pending[pending.id] = pending
        pending.task = asyncio.current_task()
        agent.asked_at = time.time()
        try:
            await agent.ask(pending.id, question)
            pending.task = None
            answer = await future
        except OSError as fault:
            raise AgentGone("The agent's connection was lost.") from fault
        except asyncio.CancelledError:
            if pending.task and future.done():  # `fail` cancelled the writing; did the asker leave as well?
                reason = future.exception()
                if reason and not pending.task.uncancel():
                    raise reason from None
            self._give_up(pending)
            raise
        else:
            self.pace.note(time.monotonic() - pending.given)
            return answer
        finally:
            pending.task = None
            self._settle(pending)

    def _settle(self, pending: Pending) -> bool:
        """Ends the agent's part and frees its slot; False when that was done before."""
        if pending.agent.pending.pop(pending.id, None) is None:
            return False
        self.pool.release(pending.agent)
        return True

    def _give_up(self, pending: Pending) -> None:
        """Tells the agent that nobody waits any more. A late answer is kept where the ask can be repeated."""
        agent = pending.agent
        if pending.id not in agent.pending:
            return  # answered; only the commit was still to come
        if pending.task:
            return  # never written
        agent.expire(pending.id, pending.question.on_late)
        if not agent.gone:
            agent.cancel(pending.id)

    # -- hearing --------------------------------------------------------------------------------

    def heard(self, agent: Agent, raw: str | bytes) -> None:
        """A frame from a listed agent. Whatever it holds, it ends in one of its own asks or nowhere."""
        agent.heard, agent.pinged = time.monotonic(), 0.0
        if agent.signs:
            agent.lives()
        try:
            frame = frames.decode(raw)
        except frames.BadFrame as fault:
            self._rubbish(agent, fault)
            return
        if agent.lent and frame.id in agent.lent:
            self.lending.hand_back(agent, agent.lent[frame.id], frame)
        else:
            self.take(agent, frame)

    def take(self, agent: Agent, frame: frames.Frame) -> None:
        """A frame that was read already: of an agent of another process."""
        match frame.message:
            case frames.RESPONSE:
                self._answered(agent, frame)
            case frames.DELTA:
                self._delta(agent, frame)
            case frames.ERROR:
                self._failed(agent, frame)
            case frames.PONG:
                pass
            case _:
                agent.strays += 1

    def _answered(self, agent: Agent, frame: frames.Frame) -> None:
        pending = agent.pending.get(frame.id)
        if pending is None:
            self._stray(agent, frame)
            return
        try:
            answer = frames.answer(frame.data)
        except frames.BadAnswer as fault:
            self._lose(pending, AgentRubbish(str(fault)))
            return
        if not answer.content and pending.deltas:
            answer.content = "".join(pending.deltas)
        agent.good()
        self._settle(pending)
        owner = pending.question.owner
        if self.conversations.must_bind(owner, answer.conversation_id):
            self.conversations.bind(owner, answer.conversation_id, agent.id, lambda fault: pending.end(answer, fault))
        else:
            pending.end(answer, None)

    def _delta(self, agent: Agent, frame: frames.Frame) -> None:
        pending = agent.pending.get(frame.id)
        if pending is None:
            agent.strays += frame.id not in agent.expired
            return
        pending.heard = time.monotonic()
        pending.size += len(frame.data)
        if pending.size > self.limits.max_frame_bytes:
            self._give_up(pending)
            self._lose(pending, AgentRubbish("The answer is too long."))
            return
        pending.deltas.append(frame.data)
        if pending.question.on_delta:
            pending.question.shown = True
            pending.question.on_delta(frame.data)

    def _failed(self, agent: Agent, frame: frames.Frame) -> None:
        pending = agent.pending.get(frame.id)
        if pending is None:
            self._stray(agent, frame)
            return
        self._lose(pending, AgentError(frame.data))

    def _stray(self, agent: Agent, frame: frames.Frame) -> None:
        """An answer that nobody waits for: late, a second one, or to nothing that this agent was asked."""
        agent.strays += 1
        if frame.id not in agent.expired:
            agent.bad(self.limits.agent_rest)
            return
        keep = agent.expired.pop(frame.id)
        if keep and frame.message == frames.RESPONSE:
            try:
                keep(frames.answer(frame.data))
            except frames.BadAnswer:
                return

    def _rubbish(self, agent: Agent, fault: frames.BadFrame) -> None:
        """What cannot be read may have been the answer to any ask that the agent has, unless it names one."""
        named = agent.pending.get(fault.id)
        borrower = agent.lent.get(fault.id)
        lost = [named] if named else [] if borrower else list(agent.pending.values())
        lent = [borrower] if borrower else [] if named else list(agent.lent.values())
        for loan in lent:
            self.lending.spoil(agent, loan, str(fault))
        if not (lost or lent):
            agent.strays += 1
            agent.bad(self.limits.agent_rest)
        for pending in lost:
            if not named:
                self._give_up(pending)  # it may still be at work on this one
            self._lose(pending, AgentRubbish(f"The agent's answer could not be read: {fault}."))

    def _lose(self, pending: Pending, reason: Exception) -> None:
        """The agent failed the ask: what it may still send for it is not part of it."""
        self.blame(pending.agent)
        pending.fail(reason)
        self._settle(pending)

    # -- other processes ------------------------------------------------------------------------

    async def slot_of(self, agent: Agent, owner: str) -> None:
        """A slot of this very agent for somebody who asks in another process, after some time in the queue."""
        if not self.pool.take_this(agent):
            await self._wait(Question(owner=owner), time.monotonic() + self.limits.queue_wait, agent=agent)

    def blame(self, agent: Agent) -> None:
        """It has failed an ask."""
        agent.failed += 1
        agent.bad(self.limits.agent_rest)

    def lost_elsewhere(self, agent: Agent, frame_id: str, reason: int, why: str) -> None:
        """The process that holds this agent says what became of an ask that was to be answered there."""
        pending = agent.pending.get(frame_id)
        if pending is None:
            return
        if reason == notes.RUBBISH:
            self._lose(pending, AgentRubbish(why))
            return
        pending.fail(FAULTS.get(reason, AgentGone)(why))
        self._settle(pending)

    # -- coming and going -----------------------------------------------------------------------

    def left(self, agent: Agent) -> None:
        """The agent's connection is over: its asks go to others. A second call does nothing."""
        if agent.gone:
            return
        self.pool.leave(agent)
        for pending in list(agent.pending.values()):
            agent.failed += 1
            pending.fail(AgentGone("The agent went away before it had answered."))
        for loan in list(agent.lent.values()):
            agent.failed += 1
            self.lending.end(agent, loan)
            loan.failed(notes.GONE, "The agent went away before it had answered.")
        if self.on_left and not agent.node:
            self.on_left(agent)

    def look(self, now: float) -> None:
        """Ends what is overdue; called a few times a second with the monotonic clock."""
        over = [waiter for waiter in self.waiters if waiter.until <= now or self.pool.is_vain(waiter)]
        for waiter in sorted(over, key=lambda waiter: waiter.since):  # for those that get in line again
            if not waiter.future.done():
                waiter.future.set_exception(WaitOver() if waiter.until <= now else NobodyElse())
        for agent in list(self.pool.agents.values()):
            if agent.rests_until and agent.rests_until <= now:
                agent.rests_until = 0.0
                self.pool.settle(agent)
            for pending in list(agent.pending.values()) if agent.pending else ():
                if pending.heard + self.limits.agent_timeout <= now:
                    self._give_up(pending)
                    self._lose(pending, AgentSilent("The agent did not answer in time."))
                elif pending.deadline <= now:  # most of which may have gone by in the queue: not the agent's fault
                    self._give_up(pending)
                    pending.fail(AgentSilent("There was no answer in time."))
                    self._settle(pending)

    def end(self) -> None:
        """Refuses every ask that is still under way: the server goes down."""
        self.draining = True
        for waiter in self.waiters:
            if not waiter.future.done():
                waiter.future.set_exception(Draining())
        for agent in self.pool.agents.values():
            for pending in agent.pending.values():
                pending.fail(Draining())
        self.pool.end_hopes()
