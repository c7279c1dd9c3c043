"""A SentencePiece unigram tokenizer: the cut of a text whose pieces' log probabilities sum highest."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache

MARK = "\u2581"  # stands for the blank before a word
LONGEST_WORD = 64  # characters; longer runs (no blanks: Chinese, or a blob) are cut into stretches
UNKNOWN_PENALTY = 10.0  # below the rarest piece, as SentencePiece has it

STRETCH = re.compile(rf".{{1,{LONGEST_WORD}}}", re.DOTALL)


class Unigram:
    """Ids of a text's pieces. `pieces`: id and log probability of each."""

    def __init__(self, pieces: Mapping[str, tuple[int, float]], unknown: int) -> None:
        self._pieces, self._unknown = pieces, unknown
        self._longest = min(max(map(len, pieces)), LONGEST_WORD)
        self._unknown_score = min(score for _, score in pieces.values()) - UNKNOWN_PENALTY
        self._word = lru_cache(maxsize=20_000)(self._cut)

    def ids(self, text: str, limit: int) -> list[int]:
        """At most `limit` ids; the rest of the text is not looked at."""
        found: list[int] = []
        for word in _words(text):
            found += self._word(word)
            if len(found) >= limit:
                break
        return found[:limit]

    def _cut(self, word: str) -> tuple[int, ...]:
        """The best cut (Viterbi): for each place, the best way to reach it."""
        best = [0.0] + [float("-inf")] * len(word)
        step: list[tuple[int, int]] = [(0, 0)] * (len(word) + 1)
        for start in range(len(word)):
            for end in range(start + 1, min(start + self._longest, len(word)) + 1):
                piece = self._pieces.get(word[start:end])
                if piece is None and end > start + 1:
                    continue
                number, score = piece or (self._unknown, self._unknown_score)
                if best[start] + score > best[end]:
                    best[end], step[end] = best[start] + score, (start, number)
        return self._followed_back(step)

    def _followed_back(self, step: list[tuple[int, int]]) -> tuple[int, ...]:
        ids: list[int] = []
        at = len(step) - 1
        while at:
            at, number = step[at]
            if number != self._unknown or not ids or ids[-1] != number:  # unknown neighbours are one piece
                ids.append(number)
        return tuple(reversed(ids))


def _words(text: str) -> Iterator[str]:
    for word in unicodedata.normalize("NFKC", text).split():
        yield from STRETCH.findall(MARK + word)
