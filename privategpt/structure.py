"""A text in blocks, as the parser sees them that draws the page: headings, code, tables, front matter and paragraphs.

The text is parsed in stretches, each from the last block of the one before on, so the time grows with the text and
with nothing else; what asks for more work than a text may is taken as paragraphs from there on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from markdown_it.token import Token

from privategpt.markdown import TooMuch, parser, plain

STRETCH = 1_000  # lines that are parsed at once
MOST_WORK = 300_000  # tokens and steps of the parser in one text: some seconds
MOST_TITLES = 5_000  # whose markup is read; further ones are as they were written
LONGEST_HEADING = 200  # characters of one heading that are kept with its passages
LONGEST_MARKUP = 600  # characters of one that are read
MOST_FRONT = 100  # lines of front matter

FRONT_LINE = re.compile(r"[A-Za-z_][\w .-]{0,60}:(?:\s|$)|\s|#|-\s|$")
FRONT_TITLE = re.compile(r"title[ \t]*:[ \t]*(.+)", re.IGNORECASE)
MARKUP = re.compile(r"[\\`*_~\[\]<>&!$^:]")
CONTAINERS = {"bullet_list_open", "ordered_list_open", "blockquote_open", "footnote_reference_open"}
LEAVES = {"paragraph_open", "heading_open", "fence", "code_block", "table_open", "hr", "formula"}
SOLID = {"fence", "code_block", "table_open", "formula"}


PARSER = parser()  # keeps nothing between two texts


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together. `level` is a heading's, 0 for anything else; `solid` is not to be cut; `kind` is
    "table" or "front" (matter) for what is treated in its own way."""

    start: int
    end: int
    level: int = 0
    title: str = ""
    solid: bool = False
    kind: str = ""


def blocks(text: str) -> Iterator[Block]:
    """All blocks in order, without the blank lines between."""
    return _Reader(text).blocks()


def title_in(text: str) -> str:
    """What a text calls itself, in its front matter or its first heading; "" when it does not."""
    return next((block.title for block in blocks(text) if block.title), "")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text = text.replace("\r\n", " \n").replace("\r", "\n")  # as long as it was
        starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text) + 1]
        self._lines = [(start, following - 1) for start, following in pairwise(starts)]
        self._work = 0
        self._titles = 0

    def blocks(self) -> Iterator[Block]:
        at = self._front_matter()
        if at:
            yield Block(0, self._lines[at - 1][1], title=self._front_title(at), kind="front")
        while at < len(self._lines):
            try:
                at, found = self._stretch(at)
            except TooMuch:
                yield from self._paragraphs(at, len(self._lines))
                return
            yield from found

    def _stretch(self, at: int) -> tuple[int, list[Block]]:
        """The blocks from this line on, but for the last one where it may go on; and where to read further."""
        size = STRETCH
        while True:
            stop = min(at + size, len(self._lines))
            tokens = self._parsed(at, stop)
            starts = [token.map[0] for token in tokens if token.level == 0 and token.map and token.nesting >= 0]
            if stop == len(self._lines) or not starts:
                return stop, self._between(tokens, at, stop)
            if len(starts) > 1 and starts[-1]:
                last = at + starts[-1]
                return last, self._between(
                    [token for token in tokens if not token.map or token.map[0] < starts[-1]], at, last
                )
            size *= 4

    def _parsed(self, at: int, stop: int) -> list[Token]:
        tokens: list[Token] = []
        text = self._text[self._lines[at][0] : self._lines[stop - 1][1]].replace("\0", "\ufffd")
        env = {"steps": self._work, "most": MOST_WORK}
        PARSER.block.parse(text, PARSER, env, tokens)
        self._work = max(env["steps"], self._work + len(tokens))
        if self._work > MOST_WORK:
            raise TooMuch
        return tokens

    def _between(self, tokens: list[Token], at: int, stop: int) -> list[Block]:
        """The blocks of these tokens; lines that none of them holds (definitions) are paragraphs."""
        found: list[Block] = []
        line = at
        for number, token in enumerate(tokens):
            if token.type not in LEAVES or not token.map or at + token.map[0] < line:
                continue
            begin, end = at + token.map[0], at + token.map[1]
            found += self._paragraphs(line, begin)
            while end > begin + 1 and self._is_blank(end - 1):
                end -= 1
            found.append(self._block(token, tokens[number + 1] if number + 1 < len(tokens) else token, begin, end))
            line = end
        return _joined([*found, *self._paragraphs(line, stop)], self._text)

    def _block(self, token: Token, following: Token, begin: int, end: int) -> Block:
        start, stop = self._lines[begin][0], self._lines[end - 1][1]
        if token.type == "heading_open" and token.level == 0:
            return Block(start, stop, int(token.tag[1]), self._title(following.content))
        return Block(start, stop, solid=token.type in SOLID, kind="table" if token.type == "table_open" else "")

    def _title(self, markup: str) -> str:
        """A heading's words."""
        markup = markup[:LONGEST_MARKUP]
        if MARKUP.search(markup) and self._titles < MOST_TITLES:
            self._titles += 1
            try:
                inline = PARSER.parseInline(markup, {})
            except (TooMuch, RecursionError):
                return markup[:LONGEST_HEADING]
            markup = plain(inline[0].children or []) if inline else ""
        return " ".join(markup.split())[:LONGEST_HEADING]

    def _paragraphs(self, at: int, stop: int) -> Iterator[Block]:
        """Lines without a structure, cut where they are blank."""
        begun = -1
        for number in range(at, stop + 1):
            if number == stop or self._is_blank(number):
                if begun >= 0:
                    yield Block(self._lines[begun][0], self._lines[number - 1][1])
                begun = -1
            elif begun < 0:
                begun = number

    def _is_blank(self, number: int) -> bool:
        start, end = self._lines[number]
        return not self._text[start:end].strip()

    # -- front matter ---------------------------------------------------------------------------

    def _front_matter(self) -> int:
        """How many lines of YAML between two `---` the text begins with; 0 for none."""
        if self._line(0) != "---":
            return 0
        has_key = False
        for number in range(1, min(MOST_FRONT, len(self._lines))):
            line = self._line(number)
            if line in {"---", "..."}:
                return number + 1 if has_key else 0
            if not FRONT_LINE.match(line):
                return 0
            has_key = has_key or line[:1].isalpha()
        return 0

    def _front_title(self, stop: int) -> str:
        found = (FRONT_TITLE.match(self._line(number)) for number in range(1, stop))
        words = next((match[1] for match in found if match), "").strip()
        if len(words) > 1 and words[0] == words[-1] and words[0] in "\"'":
            words = words[1:-1]
        return words[:LONGEST_HEADING]

    def _line(self, number: int) -> str:
        start, end = self._lines[number]
        return self._text[start:end].rstrip()


def _joined(found: list[Block], text: str) -> list[Block]:
    """Paragraphs and items without a blank line between them are one block."""
    joined: list[Block] = []
    for block in found:
        last = joined[-1] if joined else None
        if last and not (last.level or block.level or last.solid or block.solid) and block.start == last.end + 1:
            joined[-1] = replace(last, end=block.end)
        else:
            joined.append(block)
    return joined
