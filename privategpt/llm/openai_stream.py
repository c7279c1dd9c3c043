"""What an OpenAI-compatible endpoint sends back, read as it arrives: bytes in, Deltas and one Usage out.

Pure: no network, no clock. Written for speed: a piece costs one split and one typed decode."""

import json
from typing import Any

import msgspec

from privategpt.llm.base import BackendError, Delta, Usage

MAX_LINE = 1 << 20  # bytes; a piece is some hundred
MAX_REPLY = 32 << 20  # bytes; JSON around each piece makes it some 50 times its text
MAX_TEXT = 4 << 20  # characters of answer


class _Part(msgspec.Struct):
    text: str = ""


class _Text(msgspec.Struct):
    # Some endpoints send a list of typed parts instead of a string.
    content: str | list[_Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    message: _Text | None = None  # stands instead of delta when the endpoint does not stream
    finish_reason: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


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
        if isinstance(document, dict) and document.get(key):
            document = document[key]
    return " ".join(document.split())[:300] if isinstance(document, str) else ""


class ReplyReader:
    """One reply. `feed` it what arrives and `finish` it at the end; both give the pieces found and raise BackendError.

    Takes a stream of server-sent events as well as one JSON document: some endpoints answer whole though a
    stream was asked for.
    """

    def __init__(self) -> None:
        self.done = False  # the endpoint said that nothing more follows
        self.finished = False  # the answer is whole; a usage note may follow
        self._parts: list[bytes] = []  # of the line, or the document, that is not complete yet
        self._waiting = 0
        self._size = 0
        self._characters = 0
        self._understood = False  # at least one piece had the expected form
        self._is_document: bool | None = None
        self._usage: Usage | None = None

    def feed(self, data: bytes) -> list[Delta]:
        self._size += len(data)
        if self._size > MAX_REPLY:
            raise BackendError("The language model's server sent more than an answer may hold.")
        if self._is_document is None:
            start = data.lstrip()
            self._is_document = start.startswith(b"{") if start else None
        if self._is_document or b"\n" not in data:
            self._keep(data)
            return []
        lines = b"".join((*self._parts, data)).split(b"\n")
        self._parts, self._waiting = [], 0
        self._keep(lines.pop())
        return self._read(lines)

    def finish(self) -> list[Delta | Usage]:
        """To be called once, at [DONE] or at the end of the reply."""
        rest, self._parts = b"".join(self._parts), []
        pieces: list[Delta | Usage] = []
        if self._is_document:
            pieces += self._take(rest)
            self.finished = True
        elif not self.done:
            pieces += self._read([rest])
        if not (self.done or self.finished):
            raise self.broken()
        return [*pieces, self._usage] if self._usage else pieces

    def broken(self) -> BackendError:
        if self._size and not self._understood:
            return BackendError("The language model's server sent no answer of the expected form; check its address.")
        place = "in the middle of the answer" if self._characters else "before the answer"
        return BackendError(f"The language model's server broke off {place}.", retryable=True)

    def _keep(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting > MAX_LINE and not self._is_document:
            raise BackendError("The language model's server sent a line longer than an answer's piece may be.")

    def _read(self, lines: list[bytes]) -> list[Delta]:
        pieces: list[Delta] = []
        for line in lines:
            if not line.startswith(b"data:") or self.done:
                continue  # comments that keep the connection awake, names and ids of events
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self.done = True
            elif payload:
                pieces += self._take(payload)
        return pieces

    def _take(self, payload: bytes) -> list[Delta]:
        try:
            chunk = _decode(payload)
        except ValueError:
            raise BackendError("The language model's server sent a piece that cannot be read.") from None
        self._understood = True
        if chunk.error:
            said = error_text({"error": chunk.error})
            raise BackendError("The language model's server reported an error.", said=said, retryable=True)
        if chunk.usage:
            self._usage = Usage(chunk.usage.prompt_tokens or 0, chunk.usage.completion_tokens or 0)
        return self._texts(chunk.choices[0]) if chunk.choices else []

    def _texts(self, choice: _Choice) -> list[Delta]:
        self.finished = self.finished or choice.finish_reason is not None
        source = choice.delta or choice.message
        text = source.text() if source else ""
        self._characters += len(text)
        if self._characters > MAX_TEXT:
            raise BackendError("The language model's answer is longer than an answer may be.")
        return [Delta(text)] if text else []
