"""Several OpenAI-compatible endpoints as one backend: the first that works answers, one that failed rests a while."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import httpx

from privategpt.llm.base import BackendError, Cut, Delta, Message, Usage
from privategpt.llm.openai import OpenAIBackend

COOL_DOWN = 5.0  # seconds after a failure; doubles with each further one in a row
LONGEST_COOL_DOWN = 60.0
OURS = frozenset({400, 413, 422})  # statuses that the question itself earned: another endpoint would say the same


@dataclass(eq=False, slots=True)
class _Endpoint:
    backend: OpenAIBackend
    failures: int = 0
    rests_until: float = 0.0  # monotonic

    def good(self) -> None:
        self.failures, self.rests_until = 0, 0.0

    def bad(self) -> None:
        pause = min(COOL_DOWN * 2**self.failures, LONGEST_COOL_DOWN)
        self.failures, self.rests_until = self.failures + 1, time.monotonic() + pause


class EndpointsBackend:
    """In the order given; those that failed lately come last, soonest rested first. Nothing is asked again
    elsewhere once a piece was shown."""

    name = "openai"

    def __init__(
        self,
        urls: Sequence[str],
        *,
        model: str = "",
        keys: Sequence[str] = (),
        silence: float = 120.0,
        connect_timeout: float = 5.0,
        context: int = 0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`keys`: none, one for all, or one for each. Raises ValueError."""
        if not urls or len(keys) not in {0, 1, len(urls)}:
            raise ValueError("Give no key, one for all endpoints, or one for each.")
        self.model = model
        padded = [*keys] if len(keys) == len(urls) else [*keys, ""][:1] * len(urls)
        self._endpoints = [
            _Endpoint(
                OpenAIBackend(
                    url,
                    model=model,
                    api_key=key,
                    silence=silence,
                    connect_timeout=connect_timeout,
                    context=context,
                    transport=transport,
                )
            )
            for url, key in zip(urls, padded, strict=True)
        ]

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Delta | Usage | Cut, None]:
        spoken = False
        *others, last = self._in_turn()
        for endpoint in [*others, last]:
            pieces = endpoint.backend.generate(messages, max_tokens=max_tokens, temperature=temperature)
            try:
                async with contextlib.aclosing(pieces):
                    async for piece in pieces:
                        spoken = True
                        yield piece
            except BackendError as error:
                if error.status not in OURS:
                    endpoint.bad()
                if spoken or error.status in OURS or endpoint is last:
                    raise
            else:
                endpoint.good()
                return

    async def reads(self) -> int | None:
        """See `Sized`: what each of those reads that know it, for any of them may answer."""
        found = await asyncio.gather(*(endpoint.backend.reads() for endpoint in self._endpoints))
        return min((reads for reads in found if reads), default=None)

    async def aclose(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.backend.aclose()

    def _in_turn(self) -> list[_Endpoint]:
        now = time.monotonic()
        return sorted(self._endpoints, key=lambda endpoint: max(endpoint.rests_until - now, 0.0))
