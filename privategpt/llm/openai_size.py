"""How much the model of an OpenAI-compatible endpoint reads: as the settings say, else as its list of models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx

from privategpt.llm.base import prompt_room

WITHIN = 2.0  # seconds for the list of models: the question waits for it
KNOWN_FOR, UNKNOWN_FOR = 600.0, 60.0  # seconds until an endpoint is asked again
LONGEST_LIST = 4 << 20  # bytes
LEAST, MOST = 256, 100_000_000  # tokens of a context; anything else is no context

# vLLM, Groq, OpenRouter, LM Studio, llama.cpp: each has a name of its own, at the model or in its `meta`.
NAMES = ("max_model_len", "context_window", "context_length", "loaded_context_length", "max_context_length", "n_ctx")


class Size:
    """Of one model at one endpoint; asked for when it is first wanted, and now and then."""

    def __init__(self, chat: httpx.URL, model: str, context: int = 0) -> None:
        """`chat` is where answers come from; the list of models stands beside it."""
        self._url = chat.copy_with(path=chat.path.removesuffix("/chat/completions") + "/models")
        self._model, self._given = model, context
        self._found: int | None = None
        self._until = float("-inf")
        self._asking = asyncio.Lock()

    async def reads(self, client: httpx.AsyncClient) -> int | None:
        if self._given:
            return prompt_room(self._given)
        async with self._asking:
            if time.monotonic() > self._until:
                self._found = await self._asked(client)
                self._until = time.monotonic() + (KNOWN_FOR if self._found else UNKNOWN_FOR)
        return prompt_room(self._found) if self._found else None

    async def _asked(self, client: httpx.AsyncClient) -> int | None:
        """None for whatever goes wrong: the answer itself will say what is the matter."""
        try:
            async with asyncio.timeout(WITHIN), client.stream("GET", self._url) as response:
                if response.status_code != httpx.codes.OK:
                    return None
                raw = b""
                async for data in response.aiter_bytes():
                    raw += data
                    if len(raw) > LONGEST_LIST:
                        return None
                document = await asyncio.to_thread(httpx.Response(200, content=raw).json)
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError):
            return None
        return context_of(document, self._model)


def context_of(document: Any, model: str) -> int | None:
    """The context that a list of models says this one has."""
    rows = document.get("data") if isinstance(document, dict) else None
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("id") == model:
            return min(_sizes(row), default=None)
    return None


def _sizes(row: dict[str, Any]) -> Iterator[int]:
    meta = row.get("meta")
    for place in (row, meta if isinstance(meta, dict) else {}):
        for name in NAMES:
            size = place.get(name)
            if isinstance(size, int) and not isinstance(size, bool) and LEAST <= size <= MOST:
                yield size
