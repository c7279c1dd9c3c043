"""Markdown to passages: pieces small enough to rank and to quote, cut where the text itself pauses.

One pass over the lines, without building a tree: the time grows with the text and with nothing
else, whatever stands in it (a parser is ten times slower, and slower still on hostile nesting)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from privategpt.retrieval.analyse import HAS_UNSPACED

WHOLE = 2_000  # characters: a passage may be so long, and a text up to here stays whole
ENOUGH = 1_200  # a passage so long takes no further paragraph
TINY = 250  # a section shorter than this is joined with the next one
UNCUT = 6_000  # code and tables stay whole up to here
LONGEST_HEADING = 200  # characters of one heading that are kept with its passages
SEPARATOR = " › "  # between the headings of a path
DENSE = 0.4  # what the sizes shrink to where a character is worth a syllable or a word

ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
SETEXT = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
FENCE = re.compile(r"[ \t>]{0,20}(`{3,}|~{3,})")
INDENTED = re.compile(r" {4}|\t")
SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s|[。！？]|\n")
DELIMITER_ROW = frozenset("|:- \t\r")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a text: `source[start:end] == text`. `heading`: the path of headings it stands under."""

    start: int
    end: int
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together. `level` is a heading's, 0 for anything else; `solid` is not to be cut."""

    start: int
    end: int
    level: int = 0
    title: str = ""
    solid: bool = False


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
                found.append(Passage(start, start + len(piece), draft.path, piece))
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


def _last_pause(text: str, start: int, stop: int) -> int:
    """Where to cut within [start, stop]: behind the last sentence or line in its second half, else at a blank."""
    middle = (start + stop) // 2
    ends = [match.end() for match in SENTENCE_END.finditer(text, middle, stop)]
    if ends:
        return ends[-1]
    blank = text.rfind(" ", middle, stop)
    return blank + 1 if blank >= 0 else stop


def blocks(text: str) -> Iterator[Block]:
    """Headings, fenced and indented code, tables and paragraphs, in order, without the blank lines between."""
    lines = _lines(text)
    at = _front_matter(text, lines)
    if at:
        yield Block(0, lines[at - 1][1])
    while at < len(lines):
        start, end = lines[at]
        line = text[start:end]
        if not line or line.isspace():
            at += 1
            continue
        stop, block = _block(text, lines, at, line)
        yield block
        at = stop


def _lines(text: str) -> list[tuple[int, int]]:
    """(start, end) of each line without its line feed."""
    starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text) + 1]
    return [(start, following - 1) for start, following in pairwise(starts)]


def _front_matter(text: str, lines: list[tuple[int, int]]) -> int:
    """How many lines of YAML between two `---` the text begins with; 0 for none."""
    if not text.startswith("---"):
        return 0
    for number, (start, end) in enumerate(lines[1:100], 2):
        if text[start:end].rstrip() == "---":
            return number
    return 0


def _block(text: str, lines: list[tuple[int, int]], at: int, line: str) -> tuple[int, Block]:
    """The block that begins at this line, and the number of the first line behind it."""
    start, end = lines[at]
    if heading := ATX.match(line):
        title = line[heading.end() :].strip().rstrip("#").strip()
        return at + 1, Block(start, end, len(heading[1]), title[:LONGEST_HEADING])
    if fence := FENCE.match(line):
        stop = _fence_end(text, lines, at, fence[1])
        return stop, Block(start, lines[stop - 1][1], solid=True)
    if INDENTED.match(line):
        return _indented(text, lines, at)
    return _paragraph(text, lines, at)


def _fence_end(text: str, lines: list[tuple[int, int]], at: int, fence: str) -> int:
    """The line behind the closing fence, or behind the last line when nothing closes it."""
    for number in range(at + 1, len(lines)):
        start, end = lines[number]
        closing = FENCE.match(text, start, end)
        if closing and closing[1].startswith(fence) and not text[closing.end() : end].strip():
            return number + 1
    return len(lines)


def _indented(text: str, lines: list[tuple[int, int]], at: int) -> tuple[int, Block]:
    """Indented code, with the blank lines inside it."""
    stop = last = at + 1
    while stop < len(lines):
        line = text[lines[stop][0] : lines[stop][1]]
        if INDENTED.match(line):
            last = stop + 1
        elif line.strip():
            break
        stop += 1
    return last, Block(lines[at][0], lines[last - 1][1], solid=True)


def _paragraph(text: str, lines: list[tuple[int, int]], at: int) -> tuple[int, Block]:
    """Lines up to a blank one, a heading or a fence; with an underline they are a heading, with a delimiter row
    a table."""
    block, stop = Block(*lines[at]), at + 1
    while stop < len(lines):
        start, end = lines[stop]
        line = text[start:end]
        if not line.strip() or ATX.match(line) or FENCE.match(line):
            break
        stop += 1
        if stop == at + 2 and SETEXT.match(line) and block.end - block.start <= LONGEST_HEADING:
            title = text[block.start : block.end].strip()
            return stop, replace(block, end=end, level=1 if "=" in line else 2, title=title)
        is_table = stop == at + 2 and "|" in line and "-" in line and DELIMITER_ROW.issuperset(line)
        block = replace(block, end=end, solid=block.solid or is_table)
    return stop, block
