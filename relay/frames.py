"""The agent protocol as typed values (contract 1, "Websocket frames"). The only file with its key names."""

from typing import Any, Final

import msgspec

from relay import gojson

HELLO: Final = "Connection id"
PING: Final = "ping"
PONG: Final = "pong"
REQUEST: Final = "ChatGptRequest"
RESPONSE: Final = "ChatGptResponse"
DELTA: Final = "ChatGptDelta"
ERROR: Final = "error"
CANCEL: Final = "cancel"

LONGEST_ID = 200  # characters of a connection or conversation id that we keep
MOST_CONCURRENCY = 1024  # what an agent may declare
LEAST_CONTEXT, MOST_CONTEXT = 256, 100_000_000  # tokens; anything else counts as not declared
MOST_LENIENT = 1 << 18  # longer texts are read strictly only: what is made to take long takes seconds in Go's ways
CUTS = frozenset({"length", "content_filter", "tool_calls", "refusal"})  # why an answer may not be whole
_KEYS = frozenset({"id", "message", "data"})
_ANSWER_KEYS = frozenset({"id", "response_id", "conversation_id", "content", "error"})


class BadFrame(ValueError):
    """No valid frame. `id` is the frame's id where that much could be read."""

    def __init__(self, why: str, frame_id: str = "") -> None:
        super().__init__(why)
        self.id = frame_id


class BadAnswer(ValueError):
    """The `data` of an answer is not a JSON object of the right types."""


class Frame(msgspec.Struct):
    id: str = ""
    message: str = ""
    data: str = ""


class Message(msgspec.Struct):
    """One turn of a conversation, for agents that take more than `content`."""

    role: str
    content: str


class Request(msgspec.Struct):
    """What an agent is asked. `content` is complete in itself."""

    message_id: str
    conversation_id: str
    parent_id: str
    content: str


class FullRequest(Request, omit_defaults=True, kw_only=True):
    """The same for agents that declared `stream` or `model`."""

    messages: list[Message] | None = None
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None


class Answer(msgspec.Struct):
    """What an agent answered, in the order of contract 1's reply. `finish_reason` only when it is not whole."""

    id: str = ""
    response_id: str = ""
    conversation_id: str = ""
    content: str = ""
    error: str = ""
    finish_reason: Any = msgspec.UNSET  # whatever an agent passes on; one of CUTS when `answer` has read it


class Declaration(msgspec.Struct):
    """What an agent says it can do; an agent that says nothing takes one ask at a time. `context`: the tokens that a
    question may have, 0 when it does not say."""

    name: str = ""
    model: str = ""
    concurrency: int = 1
    stream: bool = False
    context: int = 0


_frame = msgspec.json.Decoder(Frame)
_answer = msgspec.json.Decoder(Answer)
_encode = msgspec.json.Encoder().encode


def decode(raw: str | bytes) -> Frame:
    """A frame from an agent; missing keys and null are "". Raises BadFrame."""
    try:
        return _frame.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if len(raw) > MOST_LENIENT:
            raise BadFrame("it is too long for what is wrong with it") from None
    try:
        found = gojson.fields(raw, _KEYS)
    except gojson.NotJSON as fault:
        raise BadFrame(str(fault)) from None
    if all(map(gojson.is_text, found.values())):
        return Frame(**found)
    wrong = next(key for key, value in found.items() if not gojson.is_text(value))
    frame_id = found.get("id", "")
    raise BadFrame(f'"{wrong}" is not a string', frame_id if gojson.is_text(frame_id) else "")


def encode(frame_id: str, message: str, data: str = "") -> str:
    """A frame to an agent: three keys in this order and a line feed."""
    return _encode(Frame(frame_id, message, data)).decode() + "\n"


def encode_request(frame_id: str, request: Request) -> str:
    """The frame that asks an agent."""
    return encode(frame_id, REQUEST, _encode(request).decode())


def answer(data: str) -> Answer:
    """The answer inside a frame's `data`; missing values are "". Raises BadAnswer."""
    try:
        found = _answer.decode(data)
    except (msgspec.DecodeError, RecursionError):
        if len(data) > MOST_LENIENT:
            raise BadAnswer("The answer is no strict JSON object.") from None
    else:
        if not (isinstance(found.finish_reason, str) and found.finish_reason in CUTS):
            found.finish_reason = msgspec.UNSET
        return found
    try:
        values = gojson.fields(data, _ANSWER_KEYS)
    except gojson.NotJSON:
        raise BadAnswer("The answer is not a JSON object.") from None
    for key, value in values.items():
        if not gojson.is_text(value):
            raise BadAnswer(f'"{key}" in the answer is not a string.')
    return Answer(**values)


def reply(answer: Answer) -> bytes:
    """What an asker gets: contract 1's keys and no other."""
    return gojson.encode(msgspec.structs.replace(answer, finish_reason=msgspec.UNSET))


def declaration(data: str) -> Declaration:
    """What an agent declared at its registration; anything unreadable counts as not declared."""
    try:
        said: Any = msgspec.json.decode(data) if data else {}
    except (msgspec.DecodeError, RecursionError):
        said = {}
    if not isinstance(said, dict):
        said = {}
    concurrency = said.get("concurrency")
    context = said.get("context")
    reads = context if isinstance(context, int) and not isinstance(context, bool) else 0
    limit = concurrency if isinstance(concurrency, int) and not isinstance(concurrency, bool) else 1
    return Declaration(
        name=_short(said.get("name")),
        model=_short(said.get("model")),
        concurrency=min(max(limit, 1), MOST_CONCURRENCY),
        stream=said.get("stream") is True,
        context=reads if LEAST_CONTEXT <= reads <= MOST_CONTEXT else 0,
    )


def _short(value: object) -> str:
    """Without control, bidi and zero-width characters: it is shown to people beside other agents' names."""
    return "".join(filter(str.isprintable, value))[:100] if isinstance(value, str) else ""
