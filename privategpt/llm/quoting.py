"""Answers without a model: the best sentences of what was found, each under the number of its source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from privategpt.llm.base import BackendError, Delta, Message, Usage
from privategpt.llm.matter import Grounds, Matter
from privategpt.llm.refusals import refusal
from privategpt.retrieval.embedders import EmbedderUnavailable
from privategpt.retrieval.passages import SEPARATOR
from privategpt.retrieval.sentences import Quote, answer


class QuotingBackend:
    """Cannot invent: it says what the sources say, or that they do not say it."""

    name = "quoting"
    model = ""

    def __init__(self, matter: Matter | None = None) -> None:
        self._matter = matter

    def about(self, matter: Matter) -> QuotingBackend:
        """The same for one question."""
        return QuotingBackend(matter)

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Delta | Usage, None]:
        if self._matter is None or self._matter.grounds is None:
            raise BackendError("There is no language model, and no sources to quote from were asked for.", status=503)
        loop = asyncio.get_running_loop()
        yield Delta(await loop.run_in_executor(self._matter.executor, quoted, self._matter.grounds))

    async def aclose(self) -> None:
        """Holds nothing."""


def quoted(grounds: Grounds) -> str:
    """The answer as Markdown. Waits for the embedder, not for long."""
    try:
        found = answer(grounds.found, grounds.embed)
    except EmbedderUnavailable:
        found = answer(grounds.found)
    if found.refused:
        return refusal(grounds.language)
    by_passage: dict[int, list[Quote]] = {}
    for quote in found.quotes:
        by_passage.setdefault(quote.hit.passage, []).append(quote)
    return "\n\n".join(_block(quotes, grounds.numbers) for quotes in by_passage.values())


def _block(quotes: Sequence[Quote], numbers: Mapping[int, int]) -> str:
    """The quotes of one passage, and where they stand."""
    hit = quotes[0].hit
    text = " ".join(quote.text for quote in quotes)
    number = numbers.get(hit.passage)
    mark = f" [{number}]" if number else ""
    lines = [f"> {line}" for line in f"{text}{mark}".splitlines()]
    return "\n".join([*lines, "", f"— {_place(hit.title, hit.heading)}"])


def _place(title: str, heading: str) -> str:
    """Title and innermost heading, once when they are the same."""
    innermost = heading.split(SEPARATOR)[-1]
    return " ".join(title.split()) if innermost in {"", title} else f"{' '.join(title.split())}, {innermost}"
