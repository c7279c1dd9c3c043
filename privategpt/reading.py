"""A source as a page: its text cut where it has headings, with the passage that an answer rests on marked.

Cut by the same blocks as passages are, so a passage begins and ends between paragraphs. A long text comes in
parts: rendering takes some 10 ms for a page of print, and a source may be a library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from privategpt.rendering import render
from privategpt.structure import Block, blocks, title_in

PART = 40_000  # characters, or what one block has
LONGEST_HEADING = 2_000  # characters of one that are drawn
MOST_HEADINGS = 60  # in the list beside the text
HEADING = re.compile(r"<h[34]>(.*?)</h[34]>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Heading:
    anchor: str
    title: str
    level: int
    is_above_passage: bool = False


@dataclass(slots=True)
class Stretch:
    """Rendered pieces that belong together: the passage, or what lies before or behind it."""

    is_passage: bool
    pieces: list[SafeString] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reading:
    """One part of a source, `number` of `parts`, from 1 on."""

    stretches: list[Stretch]
    headings: list[Heading]
    number: int
    parts: int


def read(content: str, passage: range = range(0), part: int = 1, title: str = "") -> Reading:
    """The part with the passage if there is one, else the wanted one. A first heading that is the title is left out."""
    every = list(blocks(content))
    if every and every[0].level and every[0].title == title:
        every = every[1:]
    parts = list(_parts(every))
    holding = (number for number, part_ in enumerate(parts) if part_[-1].end > passage.start)
    number = next(holding, 0) if passage else max(0, min(part - 1, len(parts) - 1))
    stretches, headings = _drawn(content, parts[number] if parts else [], passage)
    return Reading(stretches, headings, number + 1, max(1, len(parts)))


def preview(content: str) -> SafeString:
    """The beginning as it will be read."""
    stretches = read(content).stretches
    return mark_safe("".join(piece for stretch in stretches for piece in stretch.pieces))  # noqa: S308 - rendered pieces


def first_heading(content: str) -> str:
    """What a text calls itself; "" when it does not."""
    return title_in(content[:20_000])


def _parts(every: list[Block]) -> Iterator[list[Block]]:
    part: list[Block] = []
    for block in every:
        if part and block.end - part[0].start > PART:
            yield part
            part = []
        part.append(block)
    if part:
        yield part


def _drawn(content: str, part: list[Block], passage: range) -> tuple[list[Stretch], list[Heading]]:
    stretches: list[Stretch] = []
    headings: list[Heading] = []
    for start, end, block in _runs(part, passage):
        is_passage = bool(passage) and start < passage.stop and end > passage.start
        if not stretches or stretches[-1].is_passage != is_passage:
            stretches.append(Stretch(is_passage))
        if block.level:
            anchor = f"h{block.start}"
            if len(headings) < MOST_HEADINGS and block.level <= 3:
                headings.append(Heading(anchor, block.title, block.level))
            stretches[-1].pieces.append(_heading(content, block, anchor))
        else:
            stretches[-1].pieces.append(_text(content[start:end], block))
    return stretches, _current(headings, passage)


def _runs(part: list[Block], passage: range) -> Iterator[tuple[int, int, Block]]:
    """Headings, and what stands between them as one; cut at the passage's ends."""
    borders = {passage.start, passage.stop} if passage else set()
    run: Block | None = None
    for block in part:
        if run and not block.level and run.kind != "front" and not any(run.end <= at <= block.start for at in borders):
            run = Block(run.start, block.end)
            continue
        if run:
            yield from _pieces(run, borders)
        run = None if block.level else block
        if block.level:
            yield block.start, block.end, block
    if run:
        yield from _pieces(run, borders)


def _pieces(run: Block, borders: set[int]) -> Iterator[tuple[int, int, Block]]:
    cuts = [run.start, *sorted(at for at in borders if run.start < at < run.end), run.end]
    for start, end in pairwise(cuts):
        yield start, end, run


def _heading(content: str, block: Block, anchor: str) -> SafeString:
    """The page's own title is above them all."""
    found = HEADING.search(render(content[block.start : min(block.end, block.start + LONGEST_HEADING)]))
    tag = "h2" if block.level <= 2 else "h3"
    words = found[1] if found else escape(block.title)
    return mark_safe(f'<{tag} id="{anchor}">{words}</{tag}>')  # noqa: S308 - words are rendered, anchor is a number


def _text(text: str, block: Block) -> SafeString:
    if block.kind == "front":
        return render(
            f"```yaml\n{text.strip().removeprefix('---').removesuffix('---').removesuffix('...').strip()}\n```"
        )
    return render(text)


def _current(headings: list[Heading], passage: range) -> list[Heading]:
    above = [heading.anchor for heading in headings if int(heading.anchor[1:]) <= passage.start] if passage else []
    return [Heading(each.anchor, each.title, each.level, bool(above) and each.anchor == above[-1]) for each in headings]
