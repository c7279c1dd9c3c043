"""Agents that misbehave, each in one way of its own; where one is closed, another like it comes."""

import asyncio
import random
import time
import uuid
from abc import ABC, abstractmethod

from bench.agents import KEY_LENGTH, Agent, Crew, Question, reply_frame, reply_to

MID_ASK = 0.005  # seconds, so that a death comes in the middle of an ask


class Faulty(Agent, ABC):
    """What they share: the server may close them, and every misdeed is counted."""

    def lost(self) -> None:
        self.crew.replace(self)

    def misbehaved(self) -> None:
        self.crew.tally.faults[type(self).__name__.lower()] += 1

    def later(self, seconds: float, number: str, question: Question) -> None:
        asyncio.get_running_loop().call_later(seconds, self.misbehave, number, question)

    @abstractmethod
    def misbehave(self, number: str, question: Question) -> None:
        """What is done when its time has come."""


class Dying(Faulty):
    """Its connection is reset in the middle of each question."""

    def asked(self, number: str, question: Question) -> None:
        self.later(MID_ASK, number, question)

    def misbehave(self, number: str, question: Question) -> None:
        self.misbehaved()
        self.transport.abort()


class Hanging(Faulty):
    """Gives its answers long after the server has given up on them; its pongs come in time."""

    LATE = 2.5  # seconds; AGENT_TIMEOUT is shorter wherever this agent is used

    def asked(self, number: str, question: Question) -> None:
        self.misbehaved()
        self.later(self.LATE, number, question)

    def misbehave(self, number: str, question: Question) -> None:
        if self.connected:
            self.transport.write(reply_frame(number, reply_to(question)))


class Repeating(Faulty):
    """Gives each answer twice, the second after the next question may have come."""

    def asked(self, number: str, question: Question) -> None:
        self.transport.write(reply_frame(number, reply_to(question)))
        self.later(MID_ASK, number, question)

    def misbehave(self, number: str, question: Question) -> None:
        self.misbehaved()
        if self.connected:
            self.transport.write(reply_frame(number, reply_to(question)))


class Mistaken(Faulty):
    """Answers under the id of a question that another agent holds just now."""

    def asked(self, number: str, question: Question) -> None:
        self.later(MID_ASK, number, question)

    def misbehave(self, number: str, question: Question) -> None:
        self.misbehaved()
        others = [held for agent in self.crew.agents if agent is not self for held in agent.held]
        if self.connected:
            strange = random.choice(others) if others else str(uuid.uuid4())
            self.transport.write(reply_frame(strange, reply_to(question)))


class Mortal(Faulty):
    """Healthy until its tenth question: in the middle of that it dies cleanly. No question dies twice."""

    NTH = 10

    def __init__(self, crew: Crew) -> None:
        super().__init__(crew)
        self._asked = 0

    def asked(self, number: str, question: Question) -> None:
        self._asked += 1
        if self._asked < self.NTH or question.content[:KEY_LENGTH] in self.crew.deaths:
            super().asked(number, question)
        else:
            self.later(MID_ASK, number, question)

    def misbehave(self, number: str, question: Question) -> None:
        self.misbehaved()
        self.crew.deaths[question.content[:KEY_LENGTH]] = time.perf_counter()
        # A closing handshake and an end of the connection alone are both clean: take them in turn.
        if self.crew.tally.faults["mortal"] % 2:
            self.close()
        else:
            self.transport.close()


FAULTS = (Dying, Hanging, Repeating, Mistaken)
