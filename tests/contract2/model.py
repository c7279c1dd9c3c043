"""A model that says back what it was given, as slowly as a test wishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar

from privategpt.llm.base import BackendError, Cut, Delta, Message, Usage

STEP = 5  # characters of a piece


class Echo:
    """Says the whole prompt, so that whatever was in it is in the answer. Fails at "Please fail"."""

    name = "echo"
    model = "none"
    after: ClassVar[int | None] = None  # characters that an answer has before it waits; None: it never does

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Delta | Usage | Cut, None]:
        if "Please fail" in messages[-1].content:
            raise BackendError("The model broke.")
        text = "\n".join(message.content for message in messages)
        for start in range(0, len(text), STEP):
            while self.after is not None and start >= self.after:  # noqa: ASYNC110 - set from another thread
                await asyncio.sleep(0.01)
            yield Delta(text[start : start + STEP])
        if "stop at length" in text:
            yield Cut("length")

    async def aclose(self) -> None:
        """Holds nothing."""
