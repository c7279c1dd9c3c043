"""Who is next: whatever comes in whatever order, nobody gets too much and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.frames import Declaration
from relay.limits import Limits
from relay.pool import Agent, FairQueue, Pool, QueueFull, Waiter

USERS = st.sampled_from(["alice", "bob", "charlie"])
PICK = st.integers(0, 1_000)


async def unsent(text: str) -> None:
    """An agent without a socket."""


def new_agent(agent_id: str, concurrency: int = 1) -> Agent:
    return Agent(agent_id, unsent, lambda text: None, lambda code: None, Declaration(concurrency=concurrency))


def limits(**others: Any) -> Limits:
    return replace(Limits.from_settings(), **others)


class Traffic(RuleBasedStateMachine):
    """Agents come and go, asks come, wait, are served, fail and give up."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.pool = Pool(limits(queue_size=6, queue_per_user=4))
        self.agents: list[Agent] = []
        self.held: list[tuple[str, Agent]] = []  # slots in use
        self.waiting: list[tuple[Waiter, Agent | None]] = []
        self.number = 0

    def teardown(self) -> None:
        self.loop.close()

    def within(self, work: Callable[[], Any]) -> Any:
        """Futures are made on a running loop."""

        async def run() -> Any:
            return work()

        found = self.loop.run_until_complete(run())
        self.collect()
        return found

    def collect(self) -> None:
        """Waiters that were served hold a slot now; those whose agent left are told so."""
        for waiter, bound in list(self.waiting):
            if waiter.future.done():
                self.waiting.remove((waiter, bound))
                if not waiter.future.exception():
                    self.held.append((waiter.user, waiter.future.result()))

    @rule(concurrency=st.integers(1, 3))
    def join(self, concurrency: int) -> None:
        self.number += 1
        agent = new_agent(str(self.number), concurrency)
        self.agents.append(agent)
        self.within(lambda: self.pool.join(agent))

    @precondition(lambda self: self.agents)
    @rule(pick=PICK)
    def leave(self, pick: int) -> None:
        agent = self.agents.pop(pick % len(self.agents))
        self.within(lambda: self.pool.leave(agent))

    @rule(user=USERS)
    def ask(self, user: str) -> None:
        self.within(lambda: self.take_or_wait(user, ()))

    @precondition(lambda self: self.agents)
    @rule(user=USERS, pick=PICK)
    def continue_conversation(self, user: str, pick: int) -> None:
        agent = self.agents[pick % len(self.agents)]

        def work() -> None:
            if self.pool.take_this(agent):
                self.held.append((user, agent))
                return
            with suppress(QueueFull):
                self.waiting.append((self.pool.enqueue(user, agent=agent), agent))

        self.within(work)

    def take_or_wait(self, user: str, avoid: tuple[Agent, ...]) -> None:
        if agent := self.pool.take(avoid):
            assert agent not in avoid
            self.held.append((user, agent))
            return
        with suppress(QueueFull):
            self.waiting.append((self.pool.enqueue(user, avoid=avoid), None))

    @precondition(lambda self: self.held)
    @rule(pick=PICK)
    def answer(self, pick: int) -> None:
        _, agent = self.held.pop(pick % len(self.held))
        self.within(lambda: self.pool.release(agent))

    @precondition(lambda self: self.held)
    @rule(pick=PICK)
    def fail(self, pick: int) -> None:
        user, agent = self.held.pop(pick % len(self.held))

        def work() -> None:
            self.pool.release(agent)
            self.take_or_wait(user, (agent,))

        self.within(work)

    @precondition(lambda self: self.waiting)
    @rule(pick=PICK)
    def give_up(self, pick: int) -> None:
        waiter, bound = self.waiting.pop(pick % len(self.waiting))
        self.within(lambda: self.pool.withdraw(waiter, bound))

    @precondition(lambda self: self.agents)
    @rule(pick=PICK, rests=st.booleans())
    def rest(self, pick: int, rests: bool) -> None:
        agent = self.agents[pick % len(self.agents)]
        agent.at_rest = rests
        self.within(lambda: self.pool.settle(agent))

    @invariant()
    def no_slot_is_lost_and_none_given_twice(self) -> None:
        held = Counter(agent for _, agent in self.held)
        for agent in self.agents:
            assert agent.load == held[agent] <= agent.said.concurrency

    @invariant()
    def nobody_waits_for_an_agent_that_is_free(self) -> None:
        for waiter, bound in self.waiting:
            for agent in [bound] if bound else self.agents:
                assert not agent.free or agent in waiter.avoid

    @invariant()
    def the_queue_holds_exactly_those_who_wait(self) -> None:
        lines = [self.pool.queue, *(agent.bound for agent in self.agents if agent.bound)]
        queued = [waiter for line in lines for waiter in line]
        assert Counter(map(id, queued)) == Counter(id(waiter) for waiter, _ in self.waiting)
        assert sum(line.size for line in lines) == len(self.waiting)
        assert self.pool.waiting == Counter(waiter.user for waiter, _ in self.waiting)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(USERS, max_size=30))
def test_users_take_turns_and_each_ones_asks_stay_in_order(users: list[str]) -> None:
    queue, agent = FairQueue(Counter()), new_agent("a")
    loop = asyncio.new_event_loop()
    for order, user in enumerate(users):
        queue.push(Waiter(user, loop.create_future(), order, 0.0))
    served: list[Waiter] = []
    while waiter := queue.head(agent):
        others = {other.user for other in queue} - {waiter.user}
        since = [found.user for found in served]
        if waiter.user in since:
            assert others <= set(since[len(since) - since[::-1].index(waiter.user) :])
        queue.take(waiter)
        served.append(waiter)
    assert len(served) == len(users)
    for user in set(users):
        orders = [waiter.order for waiter in served if waiter.user == user]
        assert orders == sorted(orders)
    loop.close()


async def test_an_ask_that_an_agent_has_failed_holds_up_nobody_behind_it() -> None:
    pool, broken, busy = Pool(limits()), new_agent("broken"), new_agent("busy")
    pool.join(broken)
    pool.join(busy)
    assert {pool.take(), pool.take()} == {broken, busy}
    again, behind = pool.enqueue("alice", avoid=(broken,)), pool.enqueue("alice")
    pool.release(broken)
    assert behind.future.result() is broken
    pool.release(busy)
    assert again.future.result() is busy


async def test_a_crowd_that_gave_up_at_once_is_passed_over() -> None:
    pool, agent = Pool(limits(queue_size=5_000, queue_per_user=5_000)), new_agent("a")
    pool.join(agent)
    pool.take()
    crowd = [pool.enqueue("alice") for _ in range(4_000)]
    last = pool.enqueue("bob")
    for waiter in crowd:
        waiter.future.set_exception(TimeoutError())
    pool.release(agent)
    assert last.future.result() is agent
    assert all(waiter.future.exception() for waiter in crowd)


async def test_the_agents_of_long_ago_are_forgotten() -> None:
    """Nothing grows with agents that come under a new id each time."""
    pool = Pool(limits())
    for number in range(10_200):
        agent = new_agent(str(number))
        pool.join(agent)
        pool.leave(agent)
    assert len(pool._left) == len(pool._came) == 10_000
    assert len(pool._ready) < 1_000
