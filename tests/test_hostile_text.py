"""What is done with somebody's text takes time that grows with the text: four times as much takes no more than that."""

from __future__ import annotations

import gc
import random
import re
import time
from collections.abc import Callable, Iterator
from itertools import permutations

import pytest

from accounts.passwords import _folded, _readings
from privategpt import citing, fitting, rendering, unfinished, withheld
from privategpt.answers import title_of
from privategpt.blocks import Blocks
from privategpt.followups import reach
from privategpt.hidden import visible
from privategpt.pages.exports import _closed
from privategpt.pages.history import marked
from privategpt.pages.sentences import in_readers_language
from privategpt.reading import read
from privategpt.rendering import Cited
from privategpt.retrieval.analyse import detect, index_words, question_terms
from privategpt.retrieval.passages import passages
from privategpt.retrieval.sentences import sentences
from privategpt.structure import title_in

PIECES = (
    r"[ ] ( ) { } < > & * _ ` ~ | # ! ^ $ \ / @ : ; . , - + = 1 a 汉 \u0301 ^[ [a [1] [^a] [a]( ![ ]( `` ``` ~~~ $$ \( "
    r"\[ *a **a _a ~~a <a <!-- <br> <sub> &amp; http:// 1. A1 aB a. .) [[1] \u0315\u0300 \u2066 \u200b x=[ 1.1 #a"
)
SPACED = [
    "\n",
    " ",
    "\t",
    "\n\n",
    "> ",
    "- ",
    "1. ",
    "# a\n",
    "|a|b|\n|-|-|\n",
    "a\n===\n",
    "- a\n",
    "\r",
    "a ",
    ". ",
    "\n ",
    "```\n",
    "[a]: b\n",
]
HOSTILE = [re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), each) for each in PIECES.split()] + SPACED


def _by_pieces(text: str) -> None:
    scanner = citing.Citing([1, 2])
    for at in range(0, len(text), 7):
        scanner.feed(text[at : at + 7])
    scanner.finish()


def _growing(text: str) -> object:
    """As a page draws it while it comes, in pieces of a hundredth."""
    growing = Blocks(Cited("m1", frozenset({1})))
    for at in range(0, len(text), max(1, len(text) // 100)):
        growing.feed(text[at : at + max(1, len(text) // 100)])
    return growing.show(), growing.finish()


GONE = withheld.Basis(frozenset({1, 2}), frozenset({2}), words=frozenset({("a", "b", "c", "d", "e")}))
READERS: dict[str, tuple[Callable[[str], object], int]] = {
    "the check of citations": (lambda text: citing.named(text, [1, 2]), 10_000),
    "the check, piece by piece": (_by_pieces, 5_000),
    "the growing page": (_growing, 6_000),
    "a block that is open": (unfinished.shown, 20_000),
    "the finished page": (lambda text: rendering._render(text, Cited("m1", frozenset({1}))), 6_000),
    "hidden characters": (visible, 40_000),
    "passages": (passages, 20_000),
    "a page of a source": (lambda text: read(text, title="t"), 6_000),
    "a title": (title_in, 20_000),
    "index words": (lambda text: index_words(text, "en"), 20_000),
    "a question's terms": (lambda text: question_terms(text, ["en", "de"]), 20_000),
    "a language": (detect, 20_000),
    "sentences": (lambda text: list(sentences(text)), 20_000),
    "an export": (_closed, 40_000),
    "an excerpt": (citing.without_markers, 10_000),
    "words that were found": (lambda text: marked(text, re.compile("a|b", re.IGNORECASE)), 20_000),
    "a stored sentence": (in_readers_language, 20_000),
    "a chat's title": (title_of, 20_000),
    "what may still be read": (lambda text: withheld.readable(text, GONE), 20_000),
    "tokens": (fitting.tokens, 40_000),
    "a text that is fitted": (lambda text: fitting.shortened(text, 500), 20_000),
    "a follow-up": (reach, 20_000),
    "a password": (lambda text: _readings(text[:-1] + "a"), 4_000),
    "a password of numbers in brackets": (lambda text: _readings(_folded("⑽" * len(text) + "a")), 1_000),
}
PAIRS = [(" **a", "a_b"), (" _a", "a*b"), ("[a", "]("), ("`a ", "[1] "), ("- `` ", "$a ")]
NOISE = 0.12  # seconds, below which a ratio says nothing


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """Whose cost hangs on all that the process holds, not on the text."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize(("reader", "size"), READERS.values(), ids=READERS.keys())
def test_four_times_the_text_takes_no_more_than_about_four_times(reader: Callable[[str], object], size: int) -> None:
    assert [piece for piece in HOSTILE if not _is_linear(reader, size, piece)] == []


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize(("reader", "size"), READERS.values(), ids=READERS.keys())
def test_nor_where_one_piece_follows_many_of_another(reader: Callable[[str], object], size: int) -> None:
    """What the first leaves open, each of the second may look at; some of all pairs."""
    pairs = [*PAIRS, *random.Random(size).sample(list(permutations(HOSTILE, 2)), 2)]
    assert [pair for pair in pairs if not _is_linear(reader, size // 2, *pair)] == []


def _is_linear(reader: Callable[[str], object], size: int, *pieces: str) -> bool:
    def cost(length: int) -> float:
        part = length // len(pieces)
        text = "".join((piece * part)[:part] for piece in pieces)
        begin = time.thread_time()
        reader(text)
        return time.thread_time() - begin

    def seems_so() -> bool:
        large = cost(4 * size)
        return large < NOISE or large < 9 * max(cost(size), NOISE / 6)  # what is quadratic takes 16 times

    # A busy machine errs now and then, but not five times in a row.
    return any(seems_so() for _ in range(5))


def test_thirty_thousand_line_breaks_are_nothing() -> None:
    begin = time.thread_time()
    assert citing.Citing([1]).feed("\n" * 30_000 + "a")
    assert time.thread_time() - begin < 1
