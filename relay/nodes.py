"""Reaching an agent that another process holds. The processes of one house tell each other through Redis whom they
have; each then lists the others' agents beside its own, behind a stand-in, and asks them through the line.

Nothing of this is the truth: it is forgotten with the line, and told anew when there is one again. An ask stays with
the process that it came to: its place, its deadline, its retries and the commit of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from django.conf import settings

from relay import frames, links, notes
from relay.carrier import Carrier, Posted
from relay.ids import fresh_id
from relay.links import Broken, Farewell, Forgotten, Greeting, Hello, Link, Parcel, Revoked
from relay.pool import Agent, Loan
from relay.revocations import Revocations

if TYPE_CHECKING:
    from relay.dispatch import Dispatcher, Question

logger = logging.getLogger(__name__)

BEAT = 0.5  # seconds between two signs of life
SILENT = 2.5  # seconds without one after which a process counts as gone
ACK_WITHIN = 2.0  # seconds in which a parcel is acknowledged
LATE = 1.0  # seconds that our own beat may be late before its judgements on others are put off
MOST_LOANS = 20_000  # asks of one other process at once
READY_WITHIN = 2.0  # seconds of a start that wait for Redis and for the other processes' lists


@dataclass(eq=False, slots=True)
class RemoteAgent(Agent):
    """Stands in for an agent that another process holds."""

    write: Callable[[notes.Note], None] = lambda note: None
    taken: int = 0  # of its slots, by others than this process

    async def ask(self, frame_id: str, question: Question) -> None:
        text = frames.encode_request(frame_id, question.request(self))
        self.write(notes.Put(self.id, frame_id, question.owner, text, question.token))

    def cancel(self, frame_id: str) -> None:
        with contextlib.suppress(OSError):
            self.write(notes.Cancel(self.id, frame_id))

    def stands(self, *, may_crowd: bool) -> None:
        """Sets how many slots are taken elsewhere. Whoever has no agents `may_crowd`: one ask of theirs waits in
        the agent's own process, in turn with the asks there; else they might wait for ever."""
        most = self.said.concurrency - 1 if may_crowd and not self.load else self.said.concurrency
        self.foreign = min(self.taken, most)


@dataclass(eq=False, slots=True)
class Neighbour:
    """Another process."""

    link: Link
    offers: dict[str, notes.Seen] = field(default_factory=dict)  # its agents
    agents: dict[str, RemoteAgent] = field(default_factory=dict)  # those of them that are listed here
    loans: dict[str, tuple[str, Loan]] = field(default_factory=dict)  # its asks to our agents, by frame
    told: dict[str, notes.Figure] = field(default_factory=dict)
    waiting: int = 0  # asks in its queue
    is_leaving: bool = False


class Nodes:
    """This process among the others."""

    def __init__(self, dispatcher: Dispatcher, url: str) -> None:
        self.id = fresh_id()
        self._dispatcher = dispatcher
        self._neighbours: dict[str, Neighbour] = {}
        self._letters: deque[Posted] = deque()  # what goes out beside the lines
        self._prefix = f"switchboard:{hashlib.sha256(b'nodes' + settings.SECRET_KEY.encode()).hexdigest()[:16]}"
        self._all = f"{self._prefix}:all"
        self._carrier = Carrier(url, [self._all, self._channel(self.id)], self)
        self._beat: asyncio.Task[None] | None = None
        self._others: int | None = None  # how many there were when this process said hello
        self._revocations = Revocations(self.id, self._post_to_all)
        self.on_revoked: Callable[[frozenset[int]], None] = lambda _: None
        dispatcher.on_left = self._left
        dispatcher.is_cut_off = True

    def start(self) -> None:
        """Begins to connect."""
        self._carrier.start()
        self._beat = asyncio.get_running_loop().create_task(self._beats())

    async def ready(self) -> bool:
        """Waits a little for the other processes' lists: whoever asks here first may want one of their agents."""
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until:
            listed = sum(each.link.listed for each in self._neighbours.values())
            if self._others is not None and listed >= self._others:
                return True
            await asyncio.sleep(0.01)
        return self._carrier.is_up

    async def stop(self) -> None:
        """Says farewell."""
        if self._beat:
            self._beat.cancel()
        await self._carrier.stop((self._all, links.seal(Farewell(self.id))))
        for node in list(self._neighbours):
            self._drop(node)

    @property
    def waiting(self) -> int:
        """Asks that wait in other processes."""
        return sum(each.waiting for each in self._neighbours.values())

    # -- our own agents ---------------------------------------------------------------------------

    def joined(self, agent: Agent) -> None:
        """Tells the others of an agent that has dialled in here."""
        self._tell_all(notes.Came([_seen(agent)]))

    def _left(self, agent: Agent) -> None:
        self._tell_all(notes.Went(agent.id))
        self._list(agent.id)

    def forget(self, owner: str) -> None:
        """Has the others drop this owner's conversations from memory."""
        self._tell_all(notes.Forget(owner))

    async def revoked(self, tokens: frozenset[int]) -> bool:
        """Has every other process forget these; False when not all have said within a second that they did."""
        return await self._revocations.tell(tokens)

    def _post_to_all(self, letter: bytes) -> None:
        if self._carrier.is_up:
            self._letters.append((self._all, letter))
            self._carrier.wake()

    @property
    def has_others(self) -> bool:
        """Whether there is another process to go on with."""
        return any(each.link.listed and not each.is_leaving for each in self._neighbours.values())

    def leaving(self) -> None:
        """Tells the others that the agents of this process will dial in with them."""
        self._tell_all(notes.Leaving())
        self._tell_figures()

    # -- the lines --------------------------------------------------------------------------------

    def _channel(self, node: str) -> str:
        return f"{self._prefix}:{node}"

    def connected(self) -> None:
        """Redis is there: says hello to whoever is."""
        self._dispatcher.is_cut_off = False
        self._letters.append((self._all, links.seal(Hello(self.id))))

    def cut_off(self) -> None:
        """Redis is away: what was under way to other processes is lost."""
        self._dispatcher.is_cut_off = True
        self._others = None
        self._letters.clear()
        for node in list(self._neighbours):
            self._drop(node)

    def outgoing(self) -> Sequence[Posted]:
        """Letters first, then a parcel from each line, so that a long one holds up nobody."""
        found = list(self._letters)
        self._letters.clear()
        for node, neighbour in self._neighbours.items():
            if neighbour.link.is_open and (parcel := neighbour.link.next_parcel()):
                found.append((self._channel(node), parcel))
        return found

    def delivered(self, posted: Sequence[Posted], receivers: Sequence[int]) -> None:
        """A process that is subscribed no more has ended, or will say hello when it is connected again."""
        for (channel, data), count in zip(posted, receivers, strict=True):
            if channel == self._all:
                self._others = max(0, count - 1)
                self._revocations.delivered(data, self._others)
            elif not count:
                self._ended(channel.rpartition(":")[2])

    def incoming(self, data: bytes) -> None:
        """A letter or a parcel. Whatever it holds, it breaks one line at the most."""
        try:
            letter = links.opened(data)
        except msgspec.MsgspecError:
            logger.warning("Something came through Redis that no process of this house has sent.")
            return
        if letter.node == self.id:
            return
        match letter:
            case Parcel():
                self._parcel(letter)
            case Greeting():
                self._greeted(letter)
            case Hello():
                self._drop(letter.node)
                self._meet(letter.node)
            case Farewell():
                self._ended(letter.node)
            case Revoked():
                self.on_revoked(frozenset(letter.tokens))
                self._letters.append((self._channel(letter.node), links.seal(Forgotten(self.id, letter.number))))
            case Forgotten():
                self._revocations.answered(letter)
        self._carrier.wake()

    def _meet(self, node: str) -> Neighbour:
        neighbour = self._neighbours[node] = Neighbour(Link(self.id, node))
        self._letters.append((self._channel(node), neighbour.link.greeting()))
        return neighbour

    def _greeted(self, greeting: Greeting) -> None:
        neighbour = self._neighbours.get(greeting.node) or self._meet(greeting.node)
        link = neighbour.link
        if link.peer not in {0, greeting.mine}:
            self._forget(neighbour)
        if link.greeted(greeting):
            here = [agent for agent in self._dispatcher.pool.agents.values() if not agent.node]
            self._write(neighbour, notes.Came([_seen(agent) for agent in here]))
        if greeting.yours != link.session:
            self._letters.append((self._channel(greeting.node), link.greeting()))

    def _parcel(self, parcel: Parcel) -> None:
        neighbour = self._neighbours.get(parcel.node)
        if neighbour is None:
            self._meet(parcel.node)
            return
        if not neighbour.link.is_mine(parcel):
            return
        try:
            for note in neighbour.link.read(parcel):
                self._take(neighbour, note)
        except Broken as fault:
            self._break(neighbour, str(fault))
            return
        if neighbour.link.must_answer:
            self._letters.append((self._channel(parcel.node), neighbour.link.sign_of_life()))

    def _break(self, neighbour: Neighbour, why: str) -> None:
        """Begins the line anew."""
        node = neighbour.link.node
        if self._neighbours.get(node) is neighbour:
            logger.warning("The line to another process (%s) broke: %s.", node, why)
            self._drop(node)
            self._meet(node)

    def _ended(self, node: str) -> None:
        """The process is no more. Its agents will look for another one."""
        neighbour = self._neighbours.get(node)
        if neighbour and neighbour.agents:
            self._dispatcher.pool.expect()
        self._drop(node)

    def _drop(self, node: str) -> None:
        if neighbour := self._neighbours.pop(node, None):
            self._forget(neighbour)

    def _forget(self, neighbour: Neighbour) -> None:
        """Its agents are gone for us, and nobody waits for its asks any more."""
        agents, neighbour.agents = neighbour.agents, {}
        loans, neighbour.loans = neighbour.loans, {}
        neighbour.offers, neighbour.told, neighbour.waiting = {}, {}, 0
        for agent in agents.values():
            self._dispatcher.left(agent)
        for agent_id, loan in loans.values():
            self._dispatcher.lending.recall(agent_id, loan)
        for agent_id in agents:
            self._list(agent_id)

    def _write(self, neighbour: Neighbour, note: notes.Note) -> None:
        """Raises OSError when the other side is stuck; then all its asks are lost already."""
        if self._neighbours.get(neighbour.link.node) is not neighbour:
            raise ConnectionError("The line to the other process is broken.")
        try:
            neighbour.link.write(note)
        except OSError as fault:
            self._break(neighbour, str(fault))
            raise
        self._carrier.wake()

    def _tell(self, neighbour: Neighbour, note: notes.Note) -> None:
        """The same where nobody is to hear of a failure: it was told by the breaking of the line."""
        with contextlib.suppress(OSError):
            self._write(neighbour, note)

    def _tell_all(self, note: notes.Note) -> None:
        for neighbour in list(self._neighbours.values()):
            if neighbour.link.is_open:
                self._tell(neighbour, note)

    # -- notes ------------------------------------------------------------------------------------

    def _take(self, neighbour: Neighbour, note: notes.Note) -> None:
        match note:
            case notes.Heard():
                if agent := neighbour.agents.get(note.agent):
                    self._dispatcher.take(agent, frames.Frame(note.frame, note.message, note.data))
            case notes.Put():
                self._put(neighbour, note)
            case notes.Figures():
                self._figures(neighbour, note)
            case notes.Cancel():
                self._cancel(neighbour, note)
            case notes.Failed():
                if agent := neighbour.agents.get(note.agent):
                    self._dispatcher.lost_elsewhere(agent, note.frame, note.reason, note.why)
            case notes.Came():
                self._came(neighbour, note)
            case notes.Went():
                self._went(neighbour, note.agent)
            case notes.HangUp():
                self._hang_up(note)
            case notes.Probe():
                self._probe(neighbour, note.agent)
            case notes.Sign():
                if agent := neighbour.agents.get(note.agent):
                    agent.lives()
            case notes.Forget():
                self._dispatcher.conversations.forget(note.owner)
            case notes.Leaving():
                neighbour.is_leaving = True

    def _came(self, neighbour: Neighbour, note: notes.Came) -> None:
        neighbour.link.listed = True
        for seen in note.agents:
            neighbour.offers[seen.id] = seen
            self._list(seen.id)

    def _went(self, neighbour: Neighbour, agent_id: str) -> None:
        neighbour.offers.pop(agent_id, None)
        if neighbour.is_leaving:
            self._dispatcher.pool.expect()  # it will dial in anew, as likely here as anywhere
        if agent := neighbour.agents.pop(agent_id, None):
            self._dispatcher.left(agent)
        self._list(agent_id)

    def _list(self, agent_id: str) -> None:
        """Lists an agent that another process has, unless one of this id is listed: ours count first."""
        if agent_id in self._dispatcher.pool.agents:
            return
        for neighbour in self._neighbours.values():
            if seen := neighbour.offers.get(agent_id):
                agent = neighbour.agents[agent_id] = self._stand_in(neighbour, seen)
                self._dispatcher.pool.join(agent)
                return

    def _stand_in(self, neighbour: Neighbour, seen: notes.Seen) -> RemoteAgent:
        return RemoteAgent(
            id=seen.id,
            send=_no_socket,
            tell=lambda text: self._tell(neighbour, notes.Probe(seen.id)),  # nothing else is told to it
            hang_up=lambda code: self._tell(neighbour, notes.HangUp(seen.id, code)),
            said=frames.Declaration(seen.name, seen.model, seen.concurrency, seen.stream, seen.context),
            token=seen.token,
            address=seen.address,
            node=neighbour.link.node,
            write=lambda note: self._write(neighbour, note),
        )

    def _hang_up(self, note: notes.HangUp) -> None:
        agent = self._dispatcher.pool.agents.get(note.agent)
        if agent and not agent.node:
            self._dispatcher.left(agent)
            agent.hang_up(note.code)

    def _probe(self, neighbour: Neighbour, agent_id: str) -> None:
        agent = self._dispatcher.pool.agents.get(agent_id)
        if agent is None or agent.node:
            return
        sign: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sign.add_done_callback(lambda _: self._tell(neighbour, notes.Sign(agent_id)))
        agent.signs.append(sign)
        agent.tell(frames.encode(fresh_id(), frames.PING))

    # -- their asks to our agents -----------------------------------------------------------------

    def _put(self, neighbour: Neighbour, note: notes.Put) -> None:
        if len(neighbour.loans) >= MOST_LOANS:
            self._tell(neighbour, notes.Failed(note.agent, note.frame, notes.BUSY, "There are too many asks."))
            return

        def heard(frame: frames.Frame) -> None:
            if frame.message != frames.DELTA:
                neighbour.loans.pop(note.frame, None)
            self._tell(neighbour, notes.Heard(note.agent, frame.id, frame.message, frame.data))

        def failed(reason: int, why: str) -> None:
            neighbour.loans.pop(note.frame, None)
            self._tell(neighbour, notes.Failed(note.agent, note.frame, reason, why))

        loan = Loan(note.frame, note.owner, note.token, note.text, heard, failed)
        neighbour.loans[note.frame] = (note.agent, loan)
        loan.task = asyncio.get_running_loop().create_task(self._dispatcher.lending.lend(note.agent, loan))

    def _cancel(self, neighbour: Neighbour, note: notes.Cancel) -> None:
        _, loan = neighbour.loans.pop(note.frame, (None, None))
        if loan is None:
            return

        def keep(answer: frames.Answer) -> None:
            data = msgspec.json.encode(answer).decode()
            self._tell(neighbour, notes.Heard(note.agent, note.frame, frames.RESPONSE, data))

        self._dispatcher.lending.recall(note.agent, loan, keep)

    # -- how the agents stand ---------------------------------------------------------------------

    async def _beats(self) -> None:
        due = time.monotonic() + BEAT
        while True:
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            is_late, due = now - due > LATE, now + BEAT
            if not self._carrier.is_up:
                continue
            try:
                self._look(now, is_late=is_late)
            except Exception:
                logger.exception("The beat between the processes stumbled and goes on.")
            self._carrier.wake()

    def _look(self, now: float, *, is_late: bool) -> None:
        """Shows that this process lives, and whether the others do."""
        for neighbour in list(self._neighbours.values()):
            link = neighbour.link
            if not link.is_open:
                self._letters.append((self._channel(link.node), link.greeting()))
            elif is_late:
                continue  # what came meanwhile is read first, else all would seem to be silent
            elif now - link.heard > SILENT:
                self._break(neighbour, "it was silent for too long")
            elif now - link.oldest_unanswered > ACK_WITHIN:
                self._break(neighbour, "it did not say that it had received something")
        self._tell_figures()
        has_own = any(not agent.node for agent in self._dispatcher.pool.agents.values())
        for neighbour in self._neighbours.values():
            self._letters.append((self._channel(neighbour.link.node), neighbour.link.sign_of_life()))
            for agent in neighbour.agents.values():
                agent.heard = now
                self._stand(agent, may_crowd=not has_own)

    def _stand(self, agent: RemoteAgent, *, may_crowd: bool) -> None:
        before = agent.foreign
        agent.stands(may_crowd=may_crowd)
        if agent.foreign != before:
            self._dispatcher.pool.settle(agent)

    def _tell_figures(self) -> None:
        waiting = self._dispatcher.pool.waiting.total()
        for neighbour in list(self._neighbours.values()):
            if not neighbour.link.is_open:
                continue
            changed = list(self._changed(neighbour))
            neighbour.told |= {figure.id: figure for figure in changed}
            self._tell(neighbour, notes.Figures(changed, waiting))

    def _changed(self, neighbour: Neighbour) -> Iterator[notes.Figure]:
        theirs = Counter(agent_id for agent_id, _ in neighbour.loans.values())
        for agent in self._dispatcher.pool.agents.values():
            if agent.node:
                continue
            figure = notes.Figure(
                id=agent.id,
                taken=max(0, agent.load - theirs[agent.id]),
                is_resting=agent.at_rest or agent.is_leaving,
                is_cooling=bool(agent.rests_until),
                served=agent.served,
                heartbeat=agent.heartbeat,
                asked_at=agent.asked_at,
            )
            if neighbour.told.get(agent.id) != figure:
                yield figure

    def _figures(self, neighbour: Neighbour, note: notes.Figures) -> None:
        neighbour.waiting = note.waiting
        has_own = any(not agent.node for agent in self._dispatcher.pool.agents.values())
        for figure in note.agents:
            agent = neighbour.agents.get(figure.id)
            if agent is None:
                continue
            agent.taken, agent.served = figure.taken, figure.served
            agent.heartbeat, agent.asked_at = figure.heartbeat, figure.asked_at
            agent.at_rest = figure.is_resting or figure.is_cooling
            agent.stands(may_crowd=not has_own)
            self._dispatcher.pool.settle(agent)


async def _no_socket(text: str) -> None:
    raise ConnectionError("The agent's socket is with another process.")


def _seen(agent: Agent) -> notes.Seen:
    said = agent.said
    ability = (said.name, said.model, said.concurrency, said.stream)
    return notes.Seen(agent.id, *ability, agent.token, agent.address, said.context)
