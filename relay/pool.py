"""Who is connected, what each can do, and who is next: on the agents' side and on the askers'.

Reservation instead of luck: `reserve` hands out a slot that nobody else has, or a place
in the queue. Lives on one event loop; nothing here waits or touches the database."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from relay import frames
from relay.frames import Answer, Declaration
from relay.limits import FAILURES_TO_REST, Limits

if TYPE_CHECKING:
    from relay.dispatch import Pending, Question

MOST_EXPIRED = 64  # frame ids, or twice what it declared, that an agent may still answer late without being blamed
FLAPS = 5  # registrations of one id within FLAP_WINDOW that make an agent rest
FLAP_WINDOW = 5.0  # seconds
FAR = 2.0  # added to the share of slots taken, which is at most 1
MOST_REMEMBERED = 10_000  # agents that left lately
_orders = count(1)
Late = Callable[[Answer], None]  # takes an answer that came after the asker had gone


class QueueFull(Exception):
    """Too many asks wait already."""


class TooManyAsks(QueueFull):
    """Too many asks of this one user wait already."""


@dataclass(eq=False, slots=True)
class Loan:
    """An ask of another process that an agent of this one is to answer."""

    id: str  # of its frames
    owner: str
    token: int | None  # that it was asked with
    text: str  # the frame that asks the agent
    heard: Callable[[frames.Frame], None]
    failed: Callable[[int, str], None]  # one of relay.notes' reasons, and words for it
    task: asyncio.Task[None] | None = None  # while it waits for a slot, or is being written


@dataclass(eq=False, slots=True)
class Agent:
    """A connected agent. `load` counts reserved slots, so it may run ahead of `pending`."""

    id: str
    send: Callable[[str], Awaitable[None]]
    tell: Callable[[str], None]  # the same without waiting
    hang_up: Callable[[int], None]  # with a websocket close code
    said: Declaration
    token: int | None = None
    address: str = ""
    node: str = ""  # the process that holds its socket, "" when that is this one
    pending: dict[str, Pending] = field(default_factory=dict)
    lent: dict[str, Loan] = field(default_factory=dict)  # asks of other processes
    expired: OrderedDict[str, Late | None] = field(default_factory=OrderedDict)
    load: int = 0
    foreign: int = 0  # slots of another process's agent that are taken there, as that process said last
    order: int = 0  # of its last ask among all asks; 0: never asked
    ticket: int = 0  # which of its entries in the pool's heap counts
    bound: FairQueue | None = None
    heartbeat: float = 0.0  # wall clock, seconds: registered, or gave its last good answer
    asked_at: float = 0.0  # wall clock, seconds: last question written
    heard: float = 0.0  # monotonic: last frame
    pinged: float = 0.0  # monotonic: a ping that nothing followed yet; 0: none
    signs: list[asyncio.Future[None]] = field(default_factory=list)  # wait for its next frame
    served: int = 0
    failed: int = 0
    strays: int = 0
    failures: int = 0  # in a row
    rests_until: float = 0.0  # monotonic
    at_rest: bool = False  # by an administrator
    is_leaving: bool = False  # it is to dial in with another process as soon as it is idle
    gone: bool = False

    @property
    def free(self) -> bool:
        """Whether one more ask may be given to it."""
        taken = self.load + self.foreign
        return taken < self.said.concurrency and not (self.gone or self.at_rest or self.rests_until or self.is_leaving)

    async def ask(self, frame_id: str, question: Question) -> None:
        """Writes the question. Raises OSError."""
        await self.send(frames.encode_request(frame_id, question.request(self)))

    def cancel(self, frame_id: str) -> None:
        """Says that nobody waits for this answer any more."""
        self.tell(frames.encode(frame_id, frames.CANCEL))

    def good(self) -> None:
        """It answered as it should."""
        self.served += 1
        self.failures = 0
        self.heartbeat = time.time()

    def bad(self, rest: float) -> None:
        """It failed an ask, or sent what nobody asked for; after some in a row it rests for so many seconds."""
        self.failures += 1
        if self.failures >= FAILURES_TO_REST:
            self.failures = 0
            self.rests_until = time.monotonic() + rest

    def lives(self) -> None:
        """Tells whoever waits for a sign of life."""
        signs, self.signs = self.signs, []
        for sign in signs:
            if not sign.done():
                sign.set_result(None)

    def expire(self, frame_id: str, keep: Late | None) -> None:
        """An answer to this id may still come, late, and is no fault of the agent's."""
        self.expired[frame_id] = keep
        if len(self.expired) > max(MOST_EXPIRED, 2 * self.said.concurrency):
            self.expired.popitem(last=False)


@dataclass(eq=False, slots=True)
class Waiter:
    """An ask's place in the queue. `avoid` holds agents that have failed it already."""

    user: str
    future: asyncio.Future[Agent]
    order: int
    since: float
    avoid: Collection[Agent] = ()
    until: float = math.inf


class FairQueue:
    """First in first out for each user, and users take turns."""

    def __init__(self, census: Counter[str]) -> None:
        self._lines: OrderedDict[str, deque[Waiter]] = OrderedDict()
        self._census = census  # waiting asks of each user, over all queues
        self.size = 0

    def __iter__(self) -> Iterator[Waiter]:
        for line in self._lines.values():
            yield from line

    def push(self, waiter: Waiter, *, first: bool = False) -> None:
        """At the end of its user's line; `first`: ahead of everybody, for an ask that was served and lost."""
        line = self._lines.setdefault(waiter.user, deque())
        if first:
            line.appendleft(waiter)
            self._lines.move_to_end(waiter.user, last=False)
        else:
            line.append(waiter)
        self.size += 1
        self._census[waiter.user] += 1

    def head(self, agent: Agent) -> Waiter | None:
        """Who is next for this agent; passes over those that it has failed already."""
        for line in self._lines.values():
            for waiter in line:
                if agent not in waiter.avoid:
                    return waiter
        return None

    def place(self, waiter: Waiter) -> int:
        """How many turns there are until it is served, its own included, if no agent is avoided."""
        own = self._lines[waiter.user].index(waiter)
        turns, is_ahead = own + 1, True
        for user, line in self._lines.items():
            if user == waiter.user:
                is_ahead = False
            else:
                turns += min(len(line), own + is_ahead)
        return turns

    def take(self, waiter: Waiter) -> None:
        """Takes it out to be served; the user's next one has to let the other users go first."""
        self.remove(waiter)
        if waiter.user in self._lines:
            self._lines.move_to_end(waiter.user)

    def remove(self, waiter: Waiter) -> None:
        line = self._lines.get(waiter.user)
        if line is None or waiter not in line:
            return
        line.remove(waiter)
        self.size -= 1
        self._census[waiter.user] -= 1
        if not self._census[waiter.user]:
            del self._census[waiter.user]
        if not line:
            del self._lines[waiter.user]


class Pool:
    """The connected agents and the asks that wait for one."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.agents: dict[str, Agent] = {}
        self.waiting: Counter[str] = Counter()  # asks that wait, by user; those for one agent included
        self.queue = FairQueue(self.waiting)
        self._ready: list[tuple[float, int, int, Agent]] = []
        self._left: OrderedDict[str, float] = OrderedDict()
        self._came: OrderedDict[str, deque[float]] = OrderedDict()
        self._returns: dict[str, set[asyncio.Future[Agent | None]]] = {}
        self.started = time.monotonic()
        self.expected_until = 0.0  # monotonic: agents that were sent away to another process come back by then

    # -- coming and going -----------------------------------------------------------------------

    def join(self, agent: Agent) -> None:
        """Lists an agent; one that holds the id already must have left before."""
        agent.heartbeat, agent.heard = time.time(), time.monotonic()
        self.agents[agent.id] = agent
        self._left.pop(agent.id, None)
        if self._flaps(agent.id):
            agent.rests_until = time.monotonic() + self.limits.agent_rest
        for future in self._returns.pop(agent.id, ()):
            if not future.done():
                future.set_result(agent)
        self.settle(agent)

    def _flaps(self, agent_id: str) -> bool:
        now = time.monotonic()
        times = self._came.setdefault(agent_id, deque(maxlen=FLAPS))
        self._came.move_to_end(agent_id)
        times.append(now)
        if len(self._came) > MOST_REMEMBERED:
            self._came.popitem(last=False)
        return len(times) == FLAPS and now - times[0] < FLAP_WINDOW

    def leave(self, agent: Agent) -> None:
        """Unlists an agent. Whoever waited for it in particular waits for its return now."""
        agent.gone = True
        if self.agents.get(agent.id) is agent:
            del self.agents[agent.id]
            self._left[agent.id] = time.monotonic()
            if len(self._left) > MOST_REMEMBERED:
                self._left.popitem(last=False)
        for waiter in list(agent.bound or ()):
            self._drop(waiter, agent)
            if not waiter.future.done():
                waiter.future.set_exception(AgentLeft())
        agent.bound = None

    def may_return(self, agent_id: str) -> float:
        """How many seconds a conversation may still hope for this agent; 0 when it left too long ago.

        After a start of the server every agent counts as having left at that moment.
        """
        left = self._left.get(agent_id, self.started)
        return max(0.0, left + self.limits.agent_return - time.monotonic())

    def hopes(self) -> bool:
        """Whether any agent that left may still be waited for."""
        latest = next(reversed(self._left.values()), self.started)
        return latest + self.limits.agent_return > time.monotonic()

    def expect(self) -> None:
        """Agents were told to dial in anew: an ask waits for them although none is here."""
        self.expected_until = time.monotonic() + self.limits.agent_return

    @property
    def expects(self) -> bool:
        """Whether agents are to dial in any moment now."""
        return self.expected_until > time.monotonic()

    async def returned(self, agent_id: str) -> Agent | None:
        """The agent as soon as it is back under its id, None if it does not come in time."""
        future: asyncio.Future[Agent | None] = asyncio.get_running_loop().create_future()
        waiting = self._returns.setdefault(agent_id, set())
        waiting.add(future)
        try:
            async with asyncio.timeout(self.may_return(agent_id)):
                return await future
        except TimeoutError:
            return None
        finally:
            waiting.discard(future)
            if not waiting and self._returns.get(agent_id) is waiting:
                del self._returns[agent_id]

    def end_hopes(self) -> None:
        """Nobody waits for an agent's return any more."""
        for future in [future for waiting in self._returns.values() for future in waiting]:
            if not future.done():
                future.set_result(None)

    # -- slots ----------------------------------------------------------------------------------

    def take(self, avoid: Collection[Agent] = ()) -> Agent | None:
        """Reserves a slot of the least loaded agent, among equals of the one unused for longest."""
        passed = []
        found = None
        while self._ready:
            entry = heapq.heappop(self._ready)
            agent = entry[3]
            if entry[2] != agent.ticket or not agent.free:
                continue
            if agent in avoid:
                passed.append(entry)
                continue
            found = agent
            break
        for entry in passed:
            heapq.heappush(self._ready, entry)
        if found:
            self._reserve(found)
        return found

    def take_this(self, agent: Agent) -> bool:
        """Reserves a slot of this very agent if it has one."""
        if not agent.free:
            return False
        self._reserve(agent)
        return True

    def _reserve(self, agent: Agent) -> None:
        agent.load += 1
        agent.order = next(_orders)
        self._offer(agent)

    def release(self, agent: Agent) -> None:
        """Gives a slot back: to whoever waits, else to the pool."""
        agent.load -= 1
        self.settle(agent)

    def settle(self, agent: Agent) -> None:
        """Hands the agent's free slots to those who wait, then offers what is left."""
        while agent.free and (waiter := self._next_for(agent)):
            agent.load += 1
            agent.order = next(_orders)
            waiter.future.set_result(agent)
        self._offer(agent)

    def _next_for(self, agent: Agent) -> Waiter | None:
        while True:
            heads = [(line, line.head(agent)) for line in (self.queue, agent.bound) if line is not None and line.size]
            found = [(head.order, line, head) for line, head in heads if head]
            if not found:
                return None
            _, line, waiter = min(found, key=lambda entry: entry[0])
            if not waiter.future.done():
                line.take(waiter)
                return waiter
            line.remove(waiter)  # it has given up, and its task has not run since

    def _offer(self, agent: Agent) -> None:
        agent.ticket = next(_orders)
        if not agent.free:
            return
        # Those of other processes come behind all of this one's: each of their asks travels.
        load = (agent.load + agent.foreign) / agent.said.concurrency + (FAR if agent.node else 0)
        entry = (load, agent.order, agent.ticket, agent)
        heapq.heappush(self._ready, entry)
        if len(self._ready) > 4 * len(self.agents) + 64:
            self._ready = [entry for entry in self._ready if entry[2] == entry[3].ticket and entry[3].free]
            heapq.heapify(self._ready)

    # -- the queue ------------------------------------------------------------------------------

    def enqueue(
        self, user: str, *, agent: Agent | None = None, avoid: Collection[Agent] = (), again: bool | None = None
    ) -> Waiter:
        """A place in the queue, or in the queue of one agent. Raises QueueFull, TooManyAsks.

        An ask that was lost by another agent (`again`, as a rule with agents to `avoid`) goes first and is
        never refused.
        """
        again = bool(avoid) if again is None else again
        if not again:
            if self.waiting.total() >= self.limits.queue_size:
                raise QueueFull
            if self.waiting[user] >= self.limits.queue_per_user:
                raise TooManyAsks
        order = 0 if again else next(_orders)
        waiter = Waiter(user, asyncio.get_running_loop().create_future(), order, time.monotonic(), avoid)
        line = self.queue
        if agent:
            agent.bound = line = FairQueue(self.waiting) if agent.bound is None else agent.bound
        line.push(waiter, first=again)
        return waiter

    def withdraw(self, waiter: Waiter, agent: Agent | None = None) -> None:
        """The ask does not wait any more; a slot that it was just given goes on to the next."""
        self._drop(waiter, agent)
        if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
            self.release(waiter.future.result())

    def is_vain(self, waiter: Waiter) -> bool:
        """Whether it avoids everybody who is here, and nobody else is to dial in."""
        if not waiter.avoid or not self.agents or self.expects:
            return False
        return all(agent in waiter.avoid for agent in self.agents.values())

    def _drop(self, waiter: Waiter, agent: Agent | None) -> None:
        for line in (self.queue, agent.bound if agent else None):
            if line is not None:
                line.remove(waiter)


class AgentLeft(Exception):
    """The agent that this ask waited for has left."""
