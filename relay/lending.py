"""Asks of other processes to agents of this one: given a slot, written, and what comes of them handed back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from relay import frames, notes
from relay.failures import AgentGone, Draining, KeyEnded, NoAgents, WaitOver
from relay.pool import Agent, AgentLeft, Loan, QueueFull

if TYPE_CHECKING:
    from relay.dispatch import Dispatcher


class Lending:
    """Part of one dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._writing = 0  # asks that wait for their agent, or are being written

    @property
    def under_way(self) -> int:
        """Asks of other processes that are not answered yet."""
        return self._writing + sum(len(agent.lent) for agent in self._dispatcher.pool.agents.values())

    async def lend(self, agent_id: str, loan: Loan) -> None:
        """Gives another process's ask to an agent of this one; what comes of it the loan is told."""
        agent = self._dispatcher.pool.agents.get(agent_id)
        self._writing += 1
        try:
            with self._dispatcher.admitted.by(loan.token):
                await self._hand_over(agent, loan)
        except (AgentGone, AgentLeft, NoAgents, Draining, OSError):
            self.end(agent, loan)
            loan.failed(notes.GONE, "The agent went away before it was asked.")
        except (QueueFull, WaitOver):
            loan.failed(notes.BUSY, "Every agent stayed busy for as long as a question may wait.")
        except KeyEnded:
            self._break_off(agent, loan)
            loan.failed(notes.GONE, "The key that it was asked with has ended.")  # as its own process knows by now
        except asyncio.CancelledError:
            self._break_off(agent, loan)
            raise
        finally:
            loan.task = None
            self._writing -= 1

    async def _hand_over(self, agent: Agent | None, loan: Loan) -> None:
        if self._dispatcher.admitted.has_ended(loan.token):  # while this was on its way here
            raise KeyEnded
        if agent is None or agent.node:
            raise AgentGone
        await self._dispatcher.slot_of(agent, loan.owner)
        agent.lent[loan.id] = loan
        agent.asked_at = time.time()
        if agent.gone:
            raise AgentGone
        await agent.send(loan.text)

    def _break_off(self, agent: Agent | None, loan: Loan) -> None:
        if agent and self.end(agent, loan):
            agent.expire(loan.id, None)  # it may have been written

    def recall(self, agent_id: str, loan: Loan, keep: Callable[[frames.Answer], None] | None = None) -> None:
        """The other process does not wait any more; it may want to `keep` a late answer."""
        if loan.task:
            loan.task.cancel()
        agent = self._dispatcher.pool.agents.get(agent_id)
        if agent and loan.task is None and self.end(agent, loan):
            agent.expire(loan.id, keep)
            agent.cancel(loan.id)

    def hand_back(self, agent: Agent, loan: Loan, frame: frames.Frame) -> None:
        """What the agent says to a lent ask. Good or bad is judged here as well: the agent's figures are."""
        match frame.message:
            case frames.DELTA:
                loan.heard(frame)
            case frames.RESPONSE:
                try:
                    frames.answer(frame.data)
                except frames.BadAnswer as fault:
                    self.spoil(agent, loan, str(fault))
                else:
                    agent.good()
                    self.end(agent, loan)
                    loan.heard(frame)
            case frames.ERROR:
                self._dispatcher.blame(agent)
                self.end(agent, loan)
                loan.heard(frame)
            case _:
                agent.strays += 1

    def spoil(self, agent: Agent, loan: Loan, why: str) -> None:
        """The agent sent something that is no answer."""
        self._dispatcher.blame(agent)
        if self.end(agent, loan):
            loan.failed(notes.RUBBISH, why)

    def end(self, agent: Agent | None, loan: Loan) -> bool:
        """Frees its slot; False when that was done before, or it never had one."""
        if agent is None or agent.lent.pop(loan.id, None) is None:
            return False
        self._dispatcher.pool.release(agent)
        return True
