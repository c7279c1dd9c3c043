"""The one duty of everything that generates: an async generator of text pieces."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of what the model reads."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer, never empty; joined together the pieces are the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What the answer cost, in the model's own tokens; comes once and last, or never."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class InLine:
    """The question waits until somebody can answer it; comes before all text, again whenever it has changed.

    `place` 1 is next, 0 says that it was taken up. `seconds` is a guess, or None; `at_work` counts those who answer.
    """

    place: int
    seconds: float | None = None
    at_work: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """The text is not the whole answer; comes once, behind it. `reason` is a code: "length", "content_filter",
    "tool_calls" or "refusal"."""

    reason: str


Piece = Delta | Usage | InLine | Cut


class BackendError(Exception):
    """Why there is no answer, or no more of it; as text, one sentence or two that may be shown to the asker.

    `sentence` is ours and fit for a log: no address, credential or prompt. `said` is the endpoint's own
    reason, shown but never logged, for it may quote the question. `retryable` says that asking again, here or
    elsewhere, may help; a caller that has already shown a piece must not. `status` is the HTTP status, if any.
    """

    def __init__(self, sentence: str, *, said: str = "", retryable: bool = False, status: int | None = None) -> None:
        super().__init__(f"{sentence} It said: {said}" if said else sentence)
        self.sentence = sentence
        self.said = said
        self.retryable = retryable
        self.status = status


class Backend(Protocol):
    """Something that answers. One object serves many generations at once, all in one event loop."""

    @property
    def name(self) -> str:
        """Which kind it is, for traces and logs."""

    @property
    def model(self) -> str:
        """Which model answers; empty when the other side chooses."""

    def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Piece, None]:
        """Answer the last message, piece by piece. None leaves a value to the model.

        Closing the generator (`contextlib.aclosing`) or cancelling the task that reads it stops the work.
        Raises BackendError.
        """

    async def aclose(self) -> None:
        """Give back what it holds (connections, memory). Generations still running fail."""


@runtime_checkable
class Sized(Protocol):
    """A backend that may know how much its model can read."""

    async def reads(self) -> int | None:
        """Tokens that a prompt may have so that there is room for an answer; None when that is not known."""


ANSWER_ROOM = 1_024  # tokens of a model's context that are left for its answer, or a quarter of a small one


def prompt_room(context: int) -> int:
    """What a prompt may have of a context of so many tokens."""
    return context - min(ANSWER_ROOM, context // 4)
