"""An answer that is being written, rendered block by block with the renderer that draws the finished page.

A block that can change no more is rendered once; only the last one, which is still being written, is rendered again.
Pieces after one another are what the whole would be, but for what a later line says of an earlier one: a link or a
footnote that is defined only at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from mdit_py_plugins.footnote.index import footnote_tail

from privategpt import rendering, unfinished
from privategpt.citing import placed, unplaced
from privategpt.markdown import TooMuch
from privategpt.rendering import LONGEST, MARKDOWN, MOST_LINES, Cited

LINE_END = re.compile(r"\r\n|\r|\n")
FORMULAS = ("$$", "\\[", "\\begin{")  # what begins a formula of several lines
FORMULA_LINES = 50  # a formula without an end is none beyond them
PART = 20_000  # characters of a text that is shown as it was written, at least; at most twice as many
MARK = SafeString("<!--open-->")  # stands before the block that is open, for the page's script


@dataclass(frozen=True, slots=True)
class Piece:
    """`closed` stays as it is; `open` is what stands behind it until the next piece."""

    closed: SafeString
    open: SafeString

    @property
    def html(self) -> SafeString:
        return SafeString(self.closed + MARK + self.open)


class Blocks:
    """Fed with one answer piece by piece. `closed` is how many of its characters are rendered for good."""

    def __init__(self, cited: Cited) -> None:
        self.closed = 0
        self._lines = 0  # of what is closed
        self._rest = ""
        self._env: dict[str, Any] = {"docId": cited.anchor or "text"}
        self._is_plain = False
        self._notes: list[Token] = []  # what footnotes say, as far as they are closed
        self.cite(cited)

    def cite(self, cited: Cited) -> None:
        """What may be cited from here on."""
        self._env["cited"] = cited

    @property
    def open_size(self) -> int:
        """Characters that are rendered again each time."""
        return len(self._rest)

    def feed(self, text: str) -> None:
        self._rest += text

    def begin_at(self, offset: int) -> None:
        """All before it is closed and was shown already."""
        self._close(offset - self.closed)

    def show(self) -> Piece:
        """What closed since the last time, and what is open now."""
        if self.is_too_long:
            return self._show_plain()
        closed = self._close(self._boundary())
        text = unfinished.shown(_normal(self._rest.removesuffix("\r")))
        env, notes = _copy(self._env), [*self._notes]
        html = _html(text, env, notes) if text.strip() else ""
        return Piece(closed, SafeString(html + _section(env, notes)))

    def finish(self) -> Piece:
        """All of it, as it will be on the finished page."""
        if self.is_too_long:
            piece = self._show_plain()
            self._rest = ""
            return piece
        return Piece(self._close(len(self._rest)), _section(self._env, self._notes))

    @property
    def is_too_long(self) -> bool:
        """Whether what comes now is beyond what is rendered of one text."""
        return (
            self._is_plain or self.closed + len(self._rest) > LONGEST or self._lines + _lines(self._rest) > MOST_LINES
        )

    def _show_plain(self) -> Piece:
        """What is beyond, as it was written, in parts of which only the last is sent again."""
        parts: list[str] = [] if self._is_plain else [self._turn_plain()]
        while end := _end_of_part(self._rest):
            parts.append(rendering.as_written(_normal(self._rest[:end])))
            self._pass(end)
        is_open = bool(self._rest.strip())
        rest = rendering.as_written(_normal(self._rest)) if is_open else SafeString("")
        return Piece(SafeString("".join(parts)), rest)

    def _turn_plain(self) -> SafeString:
        """The last blocks that are rendered, wherever the text was cut when it was fed, and a word on what follows."""
        ends = [match.end() for match in LINE_END.finditer(self._rest)][: max(0, MOST_LINES - self._lines)]
        cut = max((end for end in ends if self.closed + end <= LONGEST), default=0)
        beyond, self._rest = self._rest[cut:], self._rest[:cut]
        closed = self._close(self._boundary())
        self._rest += beyond
        self._is_plain = True
        said = gettext("The rest is shown as plain text, for this answer is very long.")
        return SafeString(closed + _section(self._env, self._notes) + format_html("<p>{}</p>", said))

    def _close(self, end: int) -> SafeString:
        text = self._pass(end)
        return _html(_normal(text), self._env, self._notes) if text else SafeString("")

    def _pass(self, end: int) -> str:
        text, self._rest = self._rest[:end], self._rest[end:]
        self.closed += len(text)
        self._lines += _lines(text)
        return text

    def _boundary(self) -> int:
        """Where in the rest its last block begins that has a whole line: what stands before it can change no more."""
        ends = [match.end() for match in LINE_END.finditer(self._rest.removesuffix("\r"))]
        if not ends:
            return 0
        text = _normal(self._rest[: ends[-1]])
        try:
            tops = _tops(text)
        except (TooMuch, RecursionError):
            return 0  # it is shown as it was written, as one block
        starts = [start for start, _ in tops]
        line = _before_formula(text.split("\n"), tops, starts[-1]) if starts else 0
        return ends[line - 1] if line else 0


def render(answer: str, cited: Cited) -> SafeString:
    """A finished answer: one that is longer than what is rendered of a text ends as it did while it grew."""
    blocks = Blocks(cited)
    blocks.feed(answer)
    if not blocks.is_too_long:
        return rendering.render(answer, cited)
    key = rendering.digest(answer, cited)
    if found := rendering.rendered.get(key):
        return found
    piece = blocks.finish()
    return rendering.rendered.keep(key, SafeString(piece.closed + piece.open))


# -- where blocks end -----------------------------------------------------------------------------


def _tops(text: str) -> list[tuple[int, str]]:
    """The first line of each outermost block, and its kind."""
    tokens: list[Token] = []
    MARKDOWN.block.parse(text, MARKDOWN, {}, tokens)
    found: list[tuple[int, str]] = []
    depth = 0
    for token in tokens:
        if depth == 0 and token.map:
            found.append((token.map[0], token.type))
        depth += token.nesting
    return found


def _before_formula(lines: Sequence[str], tops: Sequence[tuple[int, str]], start: int) -> int:
    """`start`, or the block before it that a formula may still join with what comes: it has begun and has no end."""
    line = start - 1
    while line >= max(0, start - FORMULA_LINES) and lines[line].strip():
        if lines[line].lstrip(" >*+-0123456789.)").startswith(FORMULAS):
            first, kind = max(top for top in tops if top[0] <= line)
            if kind not in {"formula", "fence", "code_block"}:
                return first
        line -= 1
    return start


def _end_of_part(text: str) -> int:
    """Of a long text that is shown as it was written: the end of its first part, 0 while there is none."""
    match = LINE_END.search(text, PART, 2 * PART)
    return match.end() if match else 2 * PART * (len(text) > 2 * PART)


def _lines(text: str) -> int:
    return sum(1 for _ in LINE_END.finditer(text)) if "\r" in text else text.count("\n")


# -- rendering one part ---------------------------------------------------------------------------


def _normal(text: str) -> str:
    return rendering.visible(LINE_END.sub("\n", text))


def _copy(env: dict[str, Any]) -> dict[str, Any]:
    """So that what is open leaves no trace."""
    copied = {**env, "references": dict(env.get("references", {}))}
    if "footnotes" in env:
        notes = env["footnotes"]
        listed = {number: dict(note) for number, note in notes.get("list", {}).items()}
        copied["footnotes"] = {**notes, "refs": dict(notes.get("refs", {})), "list": listed}
    return copied


def _html(text: str, env: dict[str, Any], notes: list[Token]) -> SafeString:
    """The part without its footnotes, which go into `notes`. Each part has the whole budget of the parser."""
    cited = env["cited"]
    env["steps"] = 0
    state = StateCore(placed(text, cited.shown | cited.withheld), MARKDOWN, env)
    try:
        for rule in MARKDOWN.core.ruler.getRules(""):
            if rule is not footnote_tail:
                rule(state)
        return _trusted(_without_notes(state.tokens, notes), env)
    except (TooMuch, RecursionError):
        return rendering.as_written(text)


def _without_notes(tokens: Sequence[Token], notes: list[Token]) -> list[Token]:
    kept: list[Token] = []
    is_note = False
    for token in tokens:
        is_note = is_note or token.type == "footnote_reference_open"
        (notes if is_note else kept).append(token)
        is_note = is_note and token.type != "footnote_reference_close"
    return kept


def _section(env: dict[str, Any], notes: Sequence[Token]) -> SafeString:
    """The footnotes that were pointed at, as they stand at the end."""
    if not env.get("footnotes", {}).get("list"):
        return SafeString("")
    state = StateCore("", MARKDOWN, env)
    state.tokens = list(notes)
    footnote_tail(state)
    return _trusted(state.tokens, env)


def _trusted(tokens: Sequence[Token], env: dict[str, Any]) -> SafeString:
    return rendering.trusted(unplaced(MARKDOWN.renderer.render(tokens, MARKDOWN.options, env)))
