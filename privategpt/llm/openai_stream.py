"""What an OpenAI-compatible endpoint sends back, read as it arrives: bytes in, Deltas, a Cut and one Usage out.

Pure: no network, no clock. Written for speed: a piece costs one split and one typed decode."""

import json
from typing import Any

import msgspec

from privategpt.llm.base import BackendError, Cut, Delta, Usage
from privategpt.llm.reasons import BROKEN, CUTS, KNOWN, REFUSAL, TOOLS, WHOLE, nothing, plain, word

MAX_LINE = 1 << 20  # bytes; a piece is some hundred
MAX_REPLY = 32 << 20  # bytes; JSON around each piece makes it some 50 times its text
MAX_TEXT = 4 << 20  # characters of answer
MOST_REFUSED = 1_000  # pieces of a refusal; what is told of it is one line
BOM = b"\xef\xbb\xbf"


class _Part(msgspec.Struct):
    text: str | None = None
    refusal: Any = None


class _Text(msgspec.Struct):
    # Some endpoints send a list of typed parts instead of a string.
    content: str | list[_Part] | None = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    # Each endpoint has a name of its own for what the model thinks before it answers.
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or ""

    def refused(self) -> str:
        parts = self.content if isinstance(self.content, list) else []
        return "".join(said for said in (self.refusal, *(part.refusal for part in parts)) if isinstance(said, str))


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    message: _Text | None = None  # stands instead of delta when the endpoint does not stream
    finish_reason: Any = None
    error: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    # Of error documents that have no `error`.
    message: Any = None
    detail: Any = None

    def fault(self) -> Any:
        """What went wrong, as the endpoint has it; None when nothing did."""
        if self.error:
            return self.error
        if self.choices:
            return self.choices[0].error or None
        return None if self.usage else self.message or self.detail or None


_decoder = msgspec.json.Decoder(_Chunk)


def _decode(raw: bytes) -> _Chunk:
    try:
        return _decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except ValueError:
        # Half a surrogate pair, or bytes that are no UTF-8: the rest of the piece is still good.
        loose = json.loads(raw.decode("utf-8", "replace"))
        return _decoder.decode(loose_encoded(loose))


def loose_encoded(value: object) -> bytes:
    """JSON of what strict encoders refuse: half surrogate pairs become U+FFFD."""
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def error_text(document: Any) -> str:
    """The sentence inside an endpoint's error document, or an empty string."""
    for key in ("error", "message", "detail"):
        if isinstance(document, list) and document:
            document = document[0]
        if isinstance(document, dict) and document.get(key):
            document = document[key]
    return plain(document)


def error_in(raw: bytes) -> str:
    """What a text says that may be an error document, or a sentence."""
    text = raw.decode("utf-8", "replace").strip()
    try:
        return error_text(json.loads(text))
    except ValueError:
        return plain(text)


def _unreadable() -> BackendError:
    return BackendError("The language model's server sent a piece that cannot be read.")


def _reported(said: str) -> BackendError:
    return BackendError("The language model's server reported an error.", said=said, retryable=True)


class ReplyReader:
    """One reply. `feed` it what arrives and `finish` it at the end; both give the pieces found and raise BackendError.

    Takes a stream of server-sent events as well as one JSON document: some endpoints answer whole though a
    stream was asked for.
    """

    def __init__(self) -> None:
        self.done = False  # the endpoint said that nothing more follows
        self.reason = ""  # why the answer ended, as `reasons` has it
        self._parts: list[bytes] = []  # of the line, or the document, that is not complete yet
        self._waiting = 0
        self._size = 0
        self._characters = 0
        self._understood = False  # at least one piece had the expected form
        self._is_document: bool | None = None
        self._usage: Usage | None = None
        self._head: bytes | None = b""  # the first bytes, until it is known whether they are a byte order mark
        self._ended_in_cr = False
        self._event = b""  # the name of the event at hand
        self._data = b""  # of the event at hand, when it takes further lines to be whole
        self._word = ""  # a reason that nobody knows; no end, unless nothing comes after it
        self._is_blank = True  # no visible letter has come
        self._thought = False
        self._tools = False
        self._refused: list[str] = []

    @property
    def finished(self) -> bool:
        """The answer is whole; a usage note may follow."""
        return bool(self.reason)

    def feed(self, data: bytes) -> list[Delta]:
        self._size += len(data)
        if self._size > MAX_REPLY:
            raise BackendError("The language model's server sent more than an answer may hold.")
        data = self._with_line_feeds(self._without_mark(data))
        if self._is_document is None:
            start = data.lstrip()
            self._is_document = start.startswith((b"{", b"[")) if start else None
        if self._is_document or b"\n" not in data:
            self._keep(data)
            return []
        lines = b"".join((*self._parts, data)).split(b"\n")
        self._parts, self._waiting = [], 0
        self._keep(lines.pop())
        return self._read(lines)

    def finish(self) -> list[Delta | Usage | Cut]:
        """To be called once, at [DONE] or at the end of the reply."""
        rest, self._parts = b"".join((self._head or b"", *self._parts)), []
        pieces: list[Delta | Usage | Cut] = []
        if self._is_document:
            pieces += self._document(rest)
        elif not self.done:
            pieces += self._read([rest, b""])
        if not (self.done or self.finished or self._word):
            raise self.broken()
        return [*pieces, *self._end()]

    def check(self) -> None:
        """To be called after `finish`. Raises BackendError, with the reason, for an answer without a word."""
        if self._is_blank:
            reason = TOOLS if self._tools else self.reason
            raise nothing(reason, thought=self._thought, refused="".join(self._refused))

    def broken(self) -> BackendError:
        if self._size and not self._understood:
            return BackendError("The language model's server sent no answer of the expected form; check its address.")
        place = "in the middle of the answer" if self._characters else "before the answer"
        return BackendError(f"The language model's server broke off {place}.", retryable=True)

    def _end(self) -> list[Usage | Cut]:
        """What follows the text."""
        reason = REFUSAL if self._refused else self.reason or (TOOLS if self._tools else "")
        if reason == BROKEN:
            raise _reported("")
        cut = [Cut(reason)] if reason in CUTS else []
        return [*cut, self._usage] if self._usage else [*cut]

    # -- bytes to lines -------------------------------------------------------------------------

    def _without_mark(self, data: bytes) -> bytes:
        """A byte order mark may stand before everything, and may come in pieces."""
        if self._head is None:
            return data
        data = self._head + data
        if len(data) < len(BOM) and BOM.startswith(data):
            self._head = data
            return b""
        self._head = None
        return data.removeprefix(BOM)

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Lines may end in CR LF, CR or LF."""
        if self._ended_in_cr and data.startswith(b"\n"):
            data = data[1:]
        self._ended_in_cr = data.endswith(b"\r") or (self._ended_in_cr and not data)
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data

    def _keep(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting > MAX_LINE and not self._is_document:
            raise BackendError("The language model's server sent a line longer than an answer's piece may be.")

    # -- lines to pieces ------------------------------------------------------------------------

    def _read(self, lines: list[bytes]) -> list[Delta]:
        pieces: list[Delta] = []
        for line in lines:
            if self.done:
                break
            if line.startswith(b"data:"):
                pieces += self._datum(line[5:].strip())
            elif not line.strip():
                self._event = b""
                if self._data:
                    raise _unreadable()
            else:
                self._other(line)
        return pieces

    def _datum(self, payload: bytes) -> list[Delta]:
        if self._event == b"error":
            raise _reported(error_in(payload))
        if payload == b"[DONE]":
            self.done = True
            return []
        payload = self._data + b"\n" + payload if self._data else payload
        if not payload:
            return []
        try:
            chunk = _decode(payload)
        except msgspec.ValidationError:
            raise _unreadable() from None
        except ValueError:
            if not payload.startswith(b"{") or len(payload) > MAX_LINE:
                raise _unreadable() from None
            self._data = payload  # JSON over several lines, or nothing that can be read
            return []
        self._data = b""
        return self._take(chunk)

    def _other(self, line: bytes) -> None:
        """Comments keep the connection awake, ids mean nothing; an error may stand in a line of its own."""
        if line.startswith(b"event:"):
            self._event = line[6:].strip().lower()
        elif line.startswith(b"error:"):
            raise _reported(error_in(line[6:]))
        elif line.startswith(b"{") and (said := error_in(line)) and b'"error"' in line:
            raise _reported(said)

    def _document(self, raw: bytes) -> list[Delta]:
        if raw.lstrip().startswith(b"["):
            said = error_in(raw)
            raise _reported(said) if b'"error"' in raw and said else self.broken()
        try:
            chunk = _decode(raw)
        except ValueError:
            raise _unreadable() from None
        pieces = self._take(chunk)
        if not chunk.choices:
            self._understood = False
            raise self.broken()
        self.reason = self.reason or WHOLE
        return pieces

    def _take(self, chunk: _Chunk) -> list[Delta]:
        self._understood = True
        if (fault := chunk.fault()) is not None:
            raise _reported(error_text({"error": fault}))
        if chunk.usage:
            self._usage = Usage(chunk.usage.prompt_tokens or 0, chunk.usage.completion_tokens or 0)
        return self._texts(chunk.choices[0]) if chunk.choices else []

    def _texts(self, choice: _Choice) -> list[Delta]:
        source = choice.delta or choice.message
        text = source.text() if source else ""
        if source:
            self._note(source)
        if text:
            self._word = ""  # the answer goes on, whatever that was
        if found := word(choice.finish_reason):
            self.reason, self._word = KNOWN.get(found, self.reason), found
        self._characters += len(text)
        self._is_blank = self._is_blank and not text.strip()
        if self._characters > MAX_TEXT:
            raise BackendError("The language model's answer is longer than an answer may be.")
        return [Delta(text)] if text else []

    def _note(self, source: _Text) -> None:
        """What came besides text."""
        self._thought = self._thought or bool(source.reasoning_content or source.reasoning or source.thinking)
        self._tools = self._tools or bool(source.tool_calls or source.function_call)
        if (said := source.refused()) and len(self._refused) < MOST_REFUSED:
            self._refused.append(said)
