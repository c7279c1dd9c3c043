"""Any OpenAI-compatible endpoint over HTTP: Ollama, vLLM, llama.cpp, a hosted one."""

import asyncio
import contextlib
import ipaddress
import json
import math
import random
import re
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

import httpx
import msgspec

from privategpt.llm.base import BackendError, Cut, Delta, Message, Usage
from privategpt.llm.openai_size import Size
from privategpt.llm.openai_stream import ReplyReader, error_text, loose_encoded

TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # statuses that another moment may mend
RETRY_PAUSE = (0.1, 0.3)  # seconds, at random between the two
LONGEST_PAUSE = 2.0  # seconds of Retry-After that are waited here; a longer one is the caller's business
FAREWELL = 0.25  # seconds that the end of the reply may take after its last word
IDLE = 60.0  # seconds that a connection is kept for the next answer
MAX_ERROR_BODY = 64 << 10  # bytes
UNKNOWN = re.compile("support|unknown|unrecogni|unexpected|extra", re.IGNORECASE)
OPTIONAL = ("stream_options", "max_tokens", "temperature")  # parameters that some endpoints refuse


class _FailedError(BackendError):
    """Also says when this backend may ask again by itself, and which parameter the endpoint did not know."""

    def __init__(
        self,
        sentence: str,
        *,
        said: str = "",
        retryable: bool = True,
        status: int | None = None,
        pause: float | None = None,
        parameter: str = "",
    ) -> None:
        super().__init__(sentence, said=said, retryable=retryable, status=status)
        self.pause = random.uniform(*RETRY_PAUSE) if pause is None else pause  # noqa: S311 - spreads load, no secret
        self.parameter = parameter


class OpenAIBackend:
    """Streams from `{base_url}/chat/completions`; one object keeps its connections alive between answers.

    One retry, only before the first piece and only for what another moment may mend. Parameters that the
    endpoint says it does not know are left out from then on. Times are seconds: `connect_timeout` to reach the
    endpoint, `silence` between two pieces (a model that is being loaded is silent for long), `longest` in all.
    """

    name = "openai"

    def __init__(
        self,
        base_url: str,
        *,
        model: str = "",
        api_key: str = "",
        connect_timeout: float = 5.0,
        silence: float = 120.0,
        longest: float = 900.0,
        connections: int = 256,
        context: int = 0,
        extra: Mapping[str, object] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`context` are the tokens that question and answer may have together; 0: the endpoint is asked for it.
        `extra` goes into every request's body. Raises ValueError with a sentence for a URL or key of no use."""
        self.model = model
        self._url = _endpoint(base_url)
        self._key = api_key
        self._silence = silence
        self._longest = longest
        self._extra = extra or {}
        self._size = Size(self._url, model, context)
        self._unknown: set[str] = set()  # parameters that the endpoint refused
        self._client = httpx.AsyncClient(
            transport=transport,
            headers=_headers(api_key),
            timeout=httpx.Timeout(silence, connect=connect_timeout, pool=connect_timeout),
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE
            ),
            # A proxy named in the environment must not come between two programs of one machine.
            trust_env=transport is None and not is_loopback(self._url.host),
        )

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Delta | Usage | Cut, None]:
        body = self._body(messages, max_tokens, temperature)
        spoken = retried = False
        while True:
            try:
                async with contextlib.aclosing(self._attempt(body)) as pieces:
                    async for piece in pieces:
                        spoken = True
                        yield piece
            except _FailedError as error:
                if error.parameter:
                    _leave_out(error.parameter, body)
                    continue
                if spoken or retried or not error.retryable or error.pause > LONGEST_PAUSE:
                    raise
                retried = True
                await asyncio.sleep(error.pause)
            else:
                return

    async def reads(self) -> int | None:
        """See `Sized`."""
        return await self._size.reads(self._client)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _body(
        self, messages: Sequence[Message], max_tokens: int | None, temperature: float | None
    ) -> dict[str, object]:
        given = {"max_tokens": max_tokens, "temperature": temperature}
        body: dict[str, object] = {
            **self._extra,
            "model": self.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{key: value for key, value in given.items() if value is not None},
        }
        for parameter in self._unknown:
            _leave_out(parameter, body)
        return body

    async def _attempt(self, body: dict[str, object]) -> AsyncGenerator[Delta | Usage | Cut, None]:
        """One request and its reply."""
        reader = ReplyReader()
        with self._named(reader):
            async with self._client.stream("POST", self._url, content=_encode(body)) as response:
                if response.status_code != httpx.codes.OK:
                    raise await self._refusal(response, body)
                async with contextlib.aclosing(self._chunks(response, reader)) as chunks:
                    async for data in chunks:
                        for piece in reader.feed(data):
                            yield piece
                        if reader.done:
                            break
                    rest = reader.finish()
                    reader.check()
                    for last in rest:
                        yield last
                    async for _ in chunks:
                        pass  # the end of the reply; read, so that the connection can be used again

    async def _chunks(self, response: httpx.Response, reader: ReplyReader) -> AsyncGenerator[bytes, None]:
        deadline = time.monotonic() + self._longest
        chunks = response.aiter_bytes()
        while True:
            try:
                # A whole answer needs no patience for what may follow it.
                async with asyncio.timeout(FAREWELL if reader.finished or reader.done else None):
                    data = await anext(chunks)
            except (StopAsyncIteration, TimeoutError):
                return
            if time.monotonic() > deadline:
                raise BackendError(f"The language model was not done within {self._longest:g} seconds.")
            yield data

    async def _refusal(self, response: httpx.Response, body: Mapping[str, object]) -> _FailedError:
        status = response.status_code
        said = await _error_body(response)
        if self._key:
            said = said.replace(self._key, "***")
        for parameter in OPTIONAL if status in {400, 422} else ():
            if parameter in body and parameter in said:
                if UNKNOWN.search(said):
                    self._unknown.add(parameter)
                return _FailedError(said, status=status, parameter=parameter)
        return _FailedError(
            self._sentence(status),
            said="" if status in {401, 403} else said,
            retryable=status in TRY_AGAIN,
            status=status,
            pause=_retry_after(response),
        )

    def _sentence(self, status: int) -> str:
        if status in {401, 403}:
            return f"The language model's server refused the credential ({status}); check the API key."
        if status == httpx.codes.NOT_FOUND:
            return f"The language model's server does not know the model {self.model!r}, or the address is wrong (404)."
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return "The language model's server has too much to do, or the quota is used up (429)."
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return f"The language model's server failed ({status})."
        return f"The language model's server did not take the question ({status})."

    @contextlib.contextmanager
    def _named(self, reader: ReplyReader) -> Iterator[None]:
        """Says what went wrong on the wire in a sentence, without the address."""
        try:
            yield
        except _FailedError:
            raise
        except BackendError as error:
            said = error.said.replace(self._key, "***") if self._key else error.said
            raise _FailedError(
                error.sentence, said=said, retryable=error.retryable, status=error.status, pause=0
            ) from None
        except httpx.ConnectError as error:
            raise _FailedError(_unreachable(error)) from None
        except httpx.ConnectTimeout:
            raise _FailedError("The language model's server cannot be reached in time.", pause=0) from None
        except httpx.PoolTimeout:
            raise _FailedError("Too many answers are being generated at once.", pause=math.inf) from None
        except httpx.TimeoutException:
            sentence = f"The language model's server was silent for {self._silence:g} seconds."
            raise _FailedError(sentence, pause=math.inf) from None
        except httpx.HTTPError:
            # Also an idle connection that the other side closed just now.
            raise _FailedError(reader.broken().sentence, pause=0) from None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _endpoint(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.strip().rstrip("/") + "/chat/completions")
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise ValueError("The base URL must look like http://127.0.0.1:11434/v1.")
    return url


def _headers(api_key: str) -> dict[str, str]:
    # identity: unpacking would cost more than it saves, and some servers hold pieces back to pack them.
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if not (api_key.isascii() and (api_key.isprintable())):
        raise ValueError("The API key holds characters that no header can carry.")
    return {**headers, "authorization": f"Bearer {api_key}"} if api_key else headers


def _encode(body: Mapping[str, object]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return loose_encoded(msgspec.to_builtins(body))


def _leave_out(parameter: str, body: dict[str, object]) -> None:
    value = body.pop(parameter, None)
    if parameter == "max_tokens" and value is not None:
        body["max_completion_tokens"] = value  # its newer name


async def _error_body(response: httpx.Response) -> str:
    """The endpoint's own words, or an empty string when it sent none that can be quoted."""
    found = b""
    async for data in response.aiter_bytes():
        found += data
        if len(found) > MAX_ERROR_BODY:
            return ""
    try:
        return error_text(json.loads(found))
    except ValueError:
        return ""


def _retry_after(response: httpx.Response) -> float | None:
    try:
        found = float(response.headers["retry-after"])
    except (KeyError, ValueError):  # absent, or a date
        return None
    return max(0.0, found) if math.isfinite(found) else None


def _unreachable(error: BaseException) -> str:
    for cause in _causes(error):
        if isinstance(cause, ConnectionRefusedError):
            return "The language model's server refused the connection; is it running?"
        if isinstance(cause, socket.gaierror):
            return "The language model's server cannot be found under its name."
        if isinstance(cause, ssl.SSLError):
            return "The language model's server could not prove who it is (TLS)."
    return "The language model's server cannot be reached."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from error.exceptions
        error = error.__cause__ or error.__context__
