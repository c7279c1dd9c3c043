"""What a backend may know of one question besides the messages, if it asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from privategpt.llm.base import Backend
from privategpt.retrieval.embedders import Floats
from privategpt.retrieval.search import Found

Embed = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a question is answered from: what was found, and under which number each passage may be cited."""

    found: Found
    numbers: Mapping[int, int]  # of each passage, by its id
    language: str
    embed: Embed | None = None  # for sentences, by the embedder that made the passages' vectors


@dataclass(frozen=True, slots=True)
class Matter:
    """`owner` is the asking user's id; `grounds` is None when nothing was searched; work that waits or
    computes goes to `executor`."""

    owner: str
    grounds: Grounds | None = None
    executor: Executor | None = None


@runtime_checkable
class Particular(Protocol):
    """A backend that has to know the matter."""

    def about(self, matter: Matter) -> Backend:
        """The same backend for this one question."""
