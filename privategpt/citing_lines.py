"""What kind of line an answer is in, line by line: fenced code, indented code, or text. Pure."""

from __future__ import annotations

import re

LONGEST = 200  # characters of a line's beginning that are waited for

LINE = re.compile(
    r"(?P<quote>(?:[ \t]{0,3}>[ \t]?){0,20})(?P<indent>[ \t]{0,80})"
    r"(?P<items>(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,4}){0,10})(?P<fence>`{3,}|~{3,})?"
)
# A beginning that says nothing yet.
UNDECIDED = re.compile(
    r"[ \t>]{0,80}(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,4}){0,10}"
    r"(?:[-*+]|\d{1,9}[.)]?|(?:`+|~+)[^`\n]*|\[\^?\d{0,9}\]?)?"
)
DEFINITION = re.compile(r"\[(\^?)(\d{1,9})\]:")


class Lines:
    """Fed with the lines of a text. `is_code`: the line that was begun is code; `is_single`: nothing that opens in it
    reaches into the next; `defined` are the numbers of the footnotes that were defined so far."""

    def __init__(self) -> None:
        self.is_code = self.is_single = False
        self.defined: set[int] = set()
        self._fence = ""
        self._home = 0  # the column where the fence's list item begins; a line before it ends the code
        self._is_quoted = False  # the fence
        self._item = 0  # the column of the list item's text that we are in
        self._after_blank = True

    @property
    def open_fence(self) -> str:
        """The fence of the code that we are in; "" outside of any."""
        return self._fence

    def is_undecided(self, beginning: str) -> bool:
        return len(beginning) < LONGEST and bool(UNDECIDED.fullmatch(beginning))

    def begin(self, line: str) -> int:
        """Takes the next line; returns how much of its beginning is no text."""
        line = line[:LONGEST]
        found = LINE.match(line)
        if found is None:  # which cannot be: every part of it may be empty
            return 0
        is_blank = not line.strip(" \t>")
        column = len(found["indent"].expandtabs(4))
        if self._fence and not self._is_still_fenced(found["quote"], column, is_blank=is_blank):
            self._fence = ""
        if self._fence:
            self.is_code = True
            self._close(found, line)
            return 0
        self.is_code = self._is_indented(found, column, is_blank=is_blank)
        self._after_blank = is_blank
        if is_blank or self.is_code:
            return 0
        self.is_single = line[found.end() :].startswith(("#", "|"))
        self._enter_items(found, column)
        if found["fence"] and not (found["fence"][0] == "`" and "`" in line[found.end() :]):
            self._fence, self._is_quoted, self.is_code = found["fence"], bool(found["quote"]), True
            self._home = min(self._item, column) if self._item and not found["items"] else self._item
            return 0
        return self._definition(line, found.start("fence") if found["fence"] else found.end())

    def _is_still_fenced(self, quote: str, column: int, *, is_blank: bool) -> bool:
        return bool(quote) >= self._is_quoted and (is_blank or column >= self._home)

    def _close(self, found: re.Match[str], line: str) -> None:
        run = found["fence"] or ""
        if run.startswith(self._fence) and not found["items"] and not line[found.end() :].strip():
            self._fence = ""
            self._after_blank = True

    def _is_indented(self, found: re.Match[str], column: int, *, is_blank: bool) -> bool:
        """Code by its four blanks, which cannot interrupt a paragraph."""
        if is_blank:
            return False
        if self._after_blank and column < self._item:
            self._item = column
        return column >= self._item + 4 and (self._after_blank or self.is_code)

    def _enter_items(self, found: re.Match[str], column: int) -> None:
        if found["items"]:
            self._item = column + len(found["items"].expandtabs(4))
            self._after_blank = False

    def _definition(self, line: str, begun: int) -> int:
        found = DEFINITION.match(line, begun)
        if found is None:
            return begun
        if found[1]:
            self.defined.add(int(found[2]))
        return found.end()
