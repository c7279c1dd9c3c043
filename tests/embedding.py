"""An embedder for tests: a text's vector is made of its letters, at once and in this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from privategpt.retrieval.embedders import EmbedderUnavailable, unit
from privategpt.retrieval.embedding_process import Embedded
from tests.patience import PATIENCE

SIZE = 16


class FakeEmbedding:
    """`asked` are the texts of each request, `is_asking` is set when the first waits for its answer. `poison` makes a
    request fail that holds it; `absent`, every one."""

    def __init__(self, identity: str = "fake/1/16") -> None:
        self.identity = identity
        self.asked: list[list[str]] = []
        self.poison = ""
        self.absent = False
        self.is_asking = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def texts(self) -> list[str]:
        """All that was embedded, without probes."""
        return [text for batch in self.asked for text in batch]

    def passages(self, texts: Sequence[str]) -> Embedded:
        if self.absent:
            raise EmbedderUnavailable("The embedder is not running.")
        is_probe = list(texts) == ["Is anybody there?"]
        if not is_probe:
            self.is_asking.set()
            assert self.may_answer.wait(PATIENCE)
            self.asked.append(list(texts))
        if self.poison and any(self.poison in text for text in texts):
            raise EmbedderUnavailable("The embedder ended while it worked.")
        return Embedded(rows(texts), self.identity)


def rows(texts: Sequence[str]) -> np.ndarray:
    found = np.ones((len(texts), SIZE), np.float32)
    for number, text in enumerate(texts):
        for letter in text.encode():
            found[number, letter % SIZE] += 1
    return unit(found)
