"""multilingual-e5-small, 118 million weights, run by onnxruntime.

Several times as fast as the engine of the package that the weights come from. Four fifths of the
weights are the table of words, which stays on disk: the process holds about 170 MB."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from privategpt.retrieval.weights import Floats, Weights, widened

LONGEST = 512  # pieces that the model was trained on


class E5:
    """Texts to unit vectors. Safe to call from several threads at once."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._weights = weights = Weights(path)
        self.size = weights.shape.width
        self._words = weights.blocks("emb.word", self.size)
        self._places = weights.floats("emb.pos").reshape(-1, self.size) + weights.floats("emb.type")[: self.size]
        self._run = _session(weights, threads)

    def ids(self, text: str) -> list[int]:
        """Begin, pieces, end: what the model reads."""
        limit = min(LONGEST, self._weights.shape.positions) - 2
        return [self._weights.begin, *self._weights.tokenizer.ids(text, limit), self._weights.end]

    def embed(self, rows: Sequence[list[int]]) -> Floats:
        """A unit row for each row of ids. Memory and time grow with the longest: put like to like."""
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), np.int64)
        mask = np.zeros((len(rows), longest), np.float32)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        # The table of words is most of the model: its rows are widened where they are needed.
        return self._run(widened(self._words[ids]) + self._places[:longest], mask)


def _session(weights: Weights, threads: int) -> Callable[[Floats, Floats], Floats]:
    import onnxruntime  # only a process that embeds pays for these

    from privategpt.retrieval.encoder import Encoder

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(Encoder(weights).model(), options, providers=["CPUExecutionProvider"])

    def run(embedded: Floats, mask: Floats) -> Floats:
        (found,) = session.run(None, {"embedded": embedded, "mask": mask})
        return found  # type: ignore[no-any-return]

    return run
