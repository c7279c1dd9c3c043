"""What can only be seen from inside: two things that happen in the same instant, and clocks that jump."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from relay import dispatch, frames, notes
from relay.dispatch import Dispatcher, Question
from relay.failures import KeyEnded
from relay.limits import Limits
from relay.pool import Agent, Loan


class Peer:
    """A listed agent whose socket is a list."""

    def __init__(self, dispatcher: Dispatcher, name: str, concurrency: int = 1) -> None:
        self.dispatcher = dispatcher
        self.sent: list[dict[str, str]] = []
        self.stuck: asyncio.Event | None = None
        said = frames.Declaration(concurrency=concurrency)
        self.agent = Agent(name, self.send, self.keep, lambda code: None, said)
        dispatcher.pool.join(self.agent)

    async def send(self, text: str) -> None:
        if self.stuck:
            await self.stuck.wait()
        self.keep(text)

    def keep(self, text: str) -> None:
        self.sent.append(json.loads(text))

    @property
    def asked(self) -> list[dict[str, str]]:
        return [frame for frame in self.sent if frame["message"] == frames.REQUEST]

    def answer(self, number: int = -1, content: str = "right") -> None:
        data = json.dumps({"content": content})
        self.dispatcher.heard(
            self.agent, json.dumps({"id": self.asked[number]["id"], "message": frames.RESPONSE, "data": data})
        )

    def babble(self) -> None:
        frame = {"id": self.asked[-1]["id"], "message": frames.RESPONSE, "data": "no JSON"}
        self.dispatcher.heard(self.agent, json.dumps(frame))

    def leave(self) -> None:
        self.dispatcher.left(self.agent)


def new_dispatcher(**others: Any) -> Dispatcher:
    return Dispatcher(replace(Limits.from_settings(), **others))


def asking(dispatcher: Dispatcher, content: str = "Why?") -> asyncio.Task[frames.Answer]:
    return asyncio.get_running_loop().create_task(dispatcher.ask(Question("alice", content)))


async def turn() -> None:
    """Lets everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_slot_of_an_agent_that_leaves_in_the_same_instant_is_no_trap() -> None:
    dispatcher = new_dispatcher()
    first, other = Peer(dispatcher, "first"), Peer(dispatcher, "other")
    one, two = asking(dispatcher), asking(dispatcher)
    await turn()
    waits = asking(dispatcher)
    await turn()
    first.answer()  # its slot is handed to the one that waits, whose task has not run yet
    first.leave()
    await turn()
    other.answer()
    await turn()
    other.answer()
    assert {(await task).content for task in (one, two, waits)} == {"right"}
    assert len(first.asked) == 1
    assert (first.agent.load, other.agent.load) == (0, 0)


async def test_an_asker_that_leaves_while_its_agent_dies_goes_nowhere_else() -> None:
    dispatcher = new_dispatcher()
    frozen = Peer(dispatcher, "frozen")
    frozen.stuck = asyncio.Event()
    task = asking(dispatcher)
    await turn()
    other = Peer(dispatcher, "other")
    task.cancel()
    frozen.leave()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert other.asked == []
    assert dispatcher.asks == 0


async def test_what_is_stuck_in_writing_moves_on_when_its_agent_dies() -> None:
    dispatcher = new_dispatcher()
    frozen = Peer(dispatcher, "frozen")
    frozen.stuck = asyncio.Event()
    task = asking(dispatcher)
    await turn()
    other = Peer(dispatcher, "other")
    frozen.leave()
    await turn()
    other.answer()
    assert (await task).content == "right"
    assert task.cancelling() == 0


async def test_an_agent_that_comes_back_and_goes_at_once_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = new_dispatcher(agent_return=0.05)
    Peer(dispatcher, "other")

    async def agent_of(owner: str, conversation: str) -> str:
        return "brief"

    monkeypatch.setattr(dispatcher.conversations, "agent_of", agent_of)
    task = asyncio.create_task(dispatcher.ask(Question("alice", "Why?", conversation_id="c")))
    await turn()
    Peer(dispatcher, "brief").leave()
    with pytest.raises((dispatch.AgentGone, dispatch.ConversationAgentGone)):
        await asyncio.wait_for(task, 5)


# -- who is left ------------------------------------------------------------------------------------


def spares_small(content: str = "Why?") -> Question:
    """Of a chat: the built-in model is asked only when there are no others."""
    return Question("alice", content, last_resort=lambda agent: agent.id == "small", is_patient=True)


async def test_who_waits_for_the_last_agent_that_has_not_failed_it_ends_when_that_one_leaves() -> None:
    dispatcher = new_dispatcher()
    busy, broken = Peer(dispatcher, "busy"), Peer(dispatcher, "broken")
    first = asking(dispatcher)
    await turn()
    second = asking(dispatcher)
    await turn()
    broken.babble()
    await turn()
    busy.leave()  # the first one goes to the broken agent now
    await turn()
    dispatcher.look(time.monotonic())
    with pytest.raises(dispatch.AgentRubbish):
        await asyncio.wait_for(second, 5)
    broken.answer()
    assert (await first).content == "right"


async def test_who_waits_for_a_better_agent_takes_the_last_resort_when_that_one_leaves() -> None:
    dispatcher = new_dispatcher()
    better, small = Peer(dispatcher, "better"), Peer(dispatcher, "small")
    asks = [asyncio.create_task(dispatcher.ask(spares_small(content))) for content in ("1", "2", "3")]
    await turn()
    assert (len(better.asked), len(small.asked)) == (1, 0)
    better.answer()
    await turn()
    better.leave()
    dispatcher.look(time.monotonic())
    for count in (1, 2):
        await turn()
        assert len(small.asked) == count
        small.answer()
    assert [(await asyncio.wait_for(ask, 5)).content for ask in asks] == ["right"] * 3


async def test_the_last_resort_answers_what_every_better_agent_has_failed() -> None:
    dispatcher = new_dispatcher()
    better, small = Peer(dispatcher, "better"), Peer(dispatcher, "small")
    task = asyncio.create_task(dispatcher.ask(spares_small()))
    await turn()
    better.babble()
    await turn()
    small.answer()
    assert (await asyncio.wait_for(task, 5)).content == "right"


# -- keys that end ----------------------------------------------------------------------------------


async def test_an_asker_that_leaves_as_its_key_ends_has_left() -> None:
    dispatcher = new_dispatcher()

    async def ask() -> None:
        with dispatcher.admitted.by(1):
            await dispatcher.ask(Question("alice", "Why?"))

    peer = Peer(dispatcher, "a")
    left, stayed = asyncio.create_task(ask()), asyncio.create_task(ask())
    await turn()
    dispatcher.admitted.end([1])
    left.cancel()
    await turn()
    assert left.cancelled()
    assert isinstance(stayed.exception(), KeyEnded)
    assert (len(peer.asked), peer.agent.load, dispatcher.admitted.tokens) == (1, 0, frozenset())


async def test_what_was_on_its_way_from_another_process_when_its_key_ended_is_asked_of_nobody() -> None:
    dispatcher = new_dispatcher()
    peer = Peer(dispatcher, "a")
    failed: list[int] = []
    dispatcher.admitted.end([1])
    for token in (1, 2):
        loan = Loan(
            str(token),
            "alice",
            token,
            json.dumps({"message": str(token)}),
            print,
            lambda reason, _: failed.append(reason),
        )
        await dispatcher.lending.lend("a", loan)
    assert failed == [notes.GONE]
    assert [frame["message"] for frame in peer.sent] == ["2"]


# -- clocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_wall_clock_that_jumps_ends_no_ask(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Fault 19: deadlines, waits, pings and rests run on the monotonic clock."""
    dispatcher = new_dispatcher(agent_timeout=10.0, ask_timeout=20.0, queue_wait=10.0)
    peer = Peer(dispatcher, "a")
    served, waits = asking(dispatcher), asking(dispatcher)
    await turn()
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + step)
    dispatcher.look(time.monotonic())
    await turn()
    assert not served.done()
    assert not waits.done()
    dispatcher.look(time.monotonic() + 10.1)
    with pytest.raises(dispatch.AgentSilent):
        await served
    with pytest.raises(dispatch.WaitOver):
        await waits
    assert peer.agent.load == 0


async def test_the_end_refuses_whatever_is_under_way() -> None:
    """Fault 9: asks at an agent, in the queue, and those that hope for an agent's return."""
    dispatcher = new_dispatcher(agent_return=60.0)
    peer = Peer(dispatcher, "a")
    tasks = [asking(dispatcher) for _ in range(3)]
    await turn()
    dispatcher.end()
    for task in tasks:
        with pytest.raises(dispatch.Draining):
            await task
    with pytest.raises(dispatch.Draining):
        await dispatcher.ask(Question("alice"))
    assert peer.agent.load == 0


async def test_pieces_after_the_answer_was_given_up_change_nothing() -> None:
    dispatcher = new_dispatcher(max_frame_bytes=10)
    peer = Peer(dispatcher, "a")
    task = asking(dispatcher)
    await turn()
    for _ in range(20):  # all in one read of the socket
        delta = {"id": peer.asked[0]["id"], "message": frames.DELTA, "data": "four"}
        dispatcher.heard(peer.agent, json.dumps(delta))
    with pytest.raises(dispatch.AgentRubbish):
        await task
    assert peer.agent.failed == 1
    assert [frame["message"] for frame in peer.sent] == [frames.REQUEST, frames.CANCEL]


async def test_once_a_piece_was_shown_no_other_agent_is_asked() -> None:
    """Fault 2: an asker never sees the beginnings of two answers."""
    dispatcher = new_dispatcher()
    peer, other = Peer(dispatcher, "a"), Peer(dispatcher, "b")
    shown: list[str] = []
    task = asyncio.create_task(dispatcher.ask(Question("alice", "Why?", stream=True, on_delta=shown.append)))
    await turn()
    dispatcher.heard(peer.agent, json.dumps({"id": peer.asked[0]["id"], "message": frames.DELTA, "data": "Be"}))
    peer.leave()
    with pytest.raises(dispatch.AgentGone):
        await task
    assert shown == ["Be"]
    assert other.asked == []
