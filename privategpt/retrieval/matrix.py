"""All vectors of one embedder in memory, and exact nearest neighbours among them.

One byte a number: 100,000 passages of 384 numbers take 38 MB in each process that searches,
and the cosine errs in the fourth decimal (measured in docs/retrieval.md)."""

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privategpt.models import Vector

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

BLOCK = 512  # rows that are widened to float32 at a time: 0.8 MB, what a core's own cache holds
BATCH = 1_000  # rows that are read from the database at a time: what they take while being read stays with the process
CHECK_EVERY = 5.0  # seconds between two looks for deleted rows


def packed(vectors: Floats) -> list[bytes]:
    """Unit rows as `Vector.data`."""
    return [row.tobytes() for row in vectors.astype("<f2")]


class Matrix:
    """Follows the table of vectors: new rows before each search, deleted ones within some seconds.

    A deleted passage may so be named by `nearest`; whoever asks reads the passage by its right, and finds nothing.
    """

    def __init__(self, embedder: str, size: int) -> None:
        self.embedder, self.size = embedder, size
        self._lock = threading.Lock()
        self._checked_at = time.monotonic()
        self._forget()

    def _forget(self) -> None:
        self._last = 0
        self._count = 0
        self._passages: Integers = np.empty(0, np.int64)
        self._scales: Floats = np.empty(0, np.float32)
        self._rows: NDArray[np.int8] = np.empty((0, self.size), np.int8)

    def __len__(self) -> int:
        return self._count

    def nearest(self, question: Floats) -> tuple[Integers, Floats]:
        """Every passage's id and its cosine with the question (a unit vector), unsorted."""
        with self._lock:
            self._refresh()
            passages, scales, rows = self._passages[: self._count], self._scales, self._rows
        scores = np.empty(len(passages), np.float32)
        for start in range(0, len(passages), BLOCK):
            stop = min(start + BLOCK, len(passages))
            # einsum and not "@": BLAS would take every core for this, and wait for those that others use.
            scores[start:stop] = np.einsum("ij,j->i", rows[start:stop].astype(np.float32), question)
        return passages, scores * scales[: len(scores)]

    def _refresh(self) -> None:
        mine = Vector.objects.filter(embedder=self.embedder)
        if time.monotonic() - self._checked_at > CHECK_EVERY:
            self._checked_at = time.monotonic()
            if mine.filter(pk__lte=self._last).count() != self._count:
                self._forget()
        # Ids only grow and SQLite has one writer, so what is new has a higher id than all that was read.
        while batch := list(
            mine.filter(pk__gt=self._last).order_by("pk").values_list("pk", "passage_id", "data")[:BATCH]
        ):
            self._append(batch)

    def _append(self, batch: list[tuple[int, int, Any]]) -> None:
        vectors = np.frombuffer(b"".join(bytes(data) for _, _, data in batch), "<f2").astype(np.float32)
        vectors = vectors.reshape(len(batch), self.size)
        largest = np.maximum(np.abs(vectors).max(axis=1), 1e-9)
        stop = self._count + len(batch)
        self._reserve(stop)
        self._passages[self._count : stop] = [passage for _, passage, _ in batch]
        self._scales[self._count : stop] = largest / 127
        self._rows[self._count : stop] = np.rint(vectors * (127 / largest)[:, None])
        self._count, self._last = stop, batch[-1][0]

    def _reserve(self, rows: int) -> None:
        """Room for so many rows, a quarter more than needed, in new arrays: a running search keeps the old ones."""
        if rows <= len(self._passages):
            return
        room = rows + rows // 4
        self._passages = _grown(self._passages, (room,))
        self._scales = _grown(self._scales, (room,))
        self._rows = _grown(self._rows, (room, self.size))


def _grown(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    grown = np.zeros(shape, array.dtype)
    grown[: len(array)] = array
    return grown
