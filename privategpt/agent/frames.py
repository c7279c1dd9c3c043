"""The agent's side of the protocol as typed values: the only file here that knows its key names."""

from typing import TypeVar

import msgspec

from privategpt.llm.base import Message, Role

HELLO, PING, PONG = "Connection id", "ping", "pong"
ASK, DELTA, ANSWER, CANCEL = "ChatGptRequest", "ChatGptDelta", "ChatGptResponse", "cancel"

ROLES: dict[str, Role] = {"system": "system", "developer": "system", "assistant": "assistant"}  # else: user


class Frame(msgspec.Struct):
    """One frame, in either direction."""

    id: str = ""
    message: str = ""
    data: str = ""


class ErrorFrame(msgspec.Struct):
    """Why there is no answer; its empty `error` is part of the protocol."""

    id: str
    data: str
    message: str = "error"
    error: dict[str, str] = {}


class Abilities(msgspec.Struct, omit_defaults=True):
    """What an agent may say of itself in its answer to the hello. `context`: tokens that a question may have; 0 is
    not said."""

    name: str
    model: str
    concurrency: int
    stream: bool
    context: int = 0


class Turn(msgspec.Struct):
    role: str = "user"
    content: str | None = None


class Question(msgspec.Struct):
    """A ChatGptRequest's data; what follows the ids comes only from relays that know of it."""

    content: str | None = None
    conversation_id: str | None = None
    messages: list[Turn] | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None

    def turns(self) -> list[Message]:
        return [Message(ROLES.get(turn.role, "user"), turn.content or "") for turn in self.messages or ()]


class Answer(msgspec.Struct):
    """`finish_reason` only for one that is not whole, see `llm.base.Cut`."""

    response_id: str
    conversation_id: str
    content: str
    finish_reason: str | msgspec.UnsetType = msgspec.UNSET


Value = TypeVar("Value")
_encoder = msgspec.json.Encoder()


def decoded(raw: str | bytes, kind: type[Value]) -> Value:
    """Raises ValueError for what is no JSON or has another form; keys that are not known are ignored."""
    return msgspec.json.decode(raw, type=kind)


def encoded(value: msgspec.Struct) -> str:
    return _encoder.encode(value).decode()
