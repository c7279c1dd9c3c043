"""Markdown to passages: pieces small enough to rank and to quote, cut where the text itself pauses.

Cut by the blocks that the page's own parser finds (`structure`); the time grows with the text and with nothing else."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from privategpt.retrieval.analyse import HAS_UNSPACED
from privategpt.structure import Block, blocks

WHOLE = 2_000  # characters: a passage may be so long, and a text up to here stays whole
ENOUGH = 1_200  # a passage so long takes no further paragraph
TINY = 250  # a section shorter than this is joined with the next one
UNCUT = 6_000  # code and tables stay whole up to here
LONGEST_HEADER = 600  # characters of a table's header row that are repeated
SEPARATOR = " › "  # between the headings of a path
DENSE = 0.4  # what the sizes shrink to where a character is worth a syllable or a word

SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s|[。！？]|\n")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a text: `source[start:end]` is the end of `text`, and all of it unless it continues a table, whose
    header row then stands before it. `heading`: the path of headings it stands under."""

    start: int
    end: int
    heading: str
    text: str


@dataclass(slots=True)
class _Draft:
    """Blocks on their way to become a passage."""

    path: str = ""
    level: int = 0
    blocks: list[Block] = field(default_factory=list)
    has_body: bool = False

    @property
    def start(self) -> int:
        return self.blocks[0].start

    @property
    def size(self) -> int:
        return self.blocks[-1].end - self.start if self.blocks else 0


def passages(text: str) -> list[Passage]:
    """All of the text's passages in order; they do not overlap and leave out only blank space.

    Linear in the length of the text.
    """
    scale = _scale(text)
    found: list[Passage] = []
    for draft in _drafts(text, scale):
        for start, end in _cut(text, draft, scale):
            piece = text[start:end]
            start += len(piece) - len(piece.lstrip())
            piece = piece.strip()
            if piece:
                found.append(Passage(start, start + len(piece), draft.path, _header(text, draft, start) + piece))
    return found


def _scale(text: str) -> float:
    """1, or less for a text whose script packs more into a character."""
    sample = text[:2_000]
    return DENSE if sample and len(HAS_UNSPACED.findall(sample)) > len(sample) * 0.3 else 1.0


def _drafts(text: str, scale: float) -> Iterator[_Draft]:
    whole_fits = len(text) <= WHOLE * scale
    headings: list[tuple[int, str]] = []
    draft = _Draft()
    for block in blocks(text):
        if block.level:
            headings = [known for known in headings if known[0] < block.level] + [(block.level, block.title)]
        if draft.blocks and not whole_fits and _is_full(draft, block, scale):
            yield draft
            draft = _Draft()
        if not draft.blocks or not draft.has_body:
            draft.path, draft.level = SEPARATOR.join(title for _, title in headings), len(headings)
        draft.blocks.append(block)
        draft.has_body = draft.has_body or not block.level
    if draft.blocks:
        yield draft


def _is_full(draft: _Draft, following: Block, scale: float) -> bool:
    if not draft.has_body:
        return False  # a heading stays with what it heads
    if following.level:
        return draft.size >= TINY * scale or following.level < draft.level
    return draft.size >= ENOUGH * scale or following.end - draft.start > WHOLE * scale


def _cut(text: str, draft: _Draft, scale: float) -> Iterator[tuple[int, int]]:
    """The draft's range, in pieces where it is too long."""
    start, end = draft.start, draft.blocks[-1].end
    limit = int((UNCUT if any(block.solid for block in draft.blocks) else WHOLE) * scale)
    while end - start > limit:
        # A solid block is cut between its lines only, anything else between sentences.
        stop = _last_pause(text, start, start + (limit if limit > WHOLE else int(ENOUGH * scale)))
        yield start, stop
        start = stop
    yield start, end


def _header(text: str, draft: _Draft, start: int) -> str:
    """The header row of the table that a piece begins in the middle of, and the row below that."""
    for block in draft.blocks:
        if block.kind == "table" and block.start < start < block.end:
            first = text.find("\n", block.start, block.end)
            end = text.find("\n", first + 1, block.end) + 1
            return text[block.start : end] if 0 < end <= start and end - block.start <= LONGEST_HEADER else ""
    return ""


def _last_pause(text: str, start: int, stop: int) -> int:
    """Where to cut within [start, stop]: behind the last sentence or line in its second half, else at a blank."""
    middle = (start + stop) // 2
    ends = [match.end() for match in SENTENCE_END.finditer(text, middle, stop)]
    if ends:
        return ends[-1]
    blank = text.rfind(" ", middle, stop)
    return blank + 1 if blank >= 0 else stop
