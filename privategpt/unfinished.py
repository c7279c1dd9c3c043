"""The last block of a text that is still being written, so that it reads well before its signs are complete.

What cannot be told yet (the first sign of a list, half a table's head, a formula without its end) is held back; what
has begun (bold, code, a link) is closed for the moment. Pure and linear; a finished text never goes through here."""

from __future__ import annotations

import re

FENCE = re.compile(r"^[ \t]*(?:(?:[-*+>]|\d{1,9}[.)])[ \t]+)*(`{3,}(?=[^`\n]*$)|~{3,})", re.MULTILINE)
# A line that may become a list, a heading, a rule, a table, a fence or a formula, and is nothing yet.
UNTOLD = re.compile(
    r"[ \t>]*(?:[-*+][ \t]+)?"
    r"(?:[-*+](?:[ \t]+\[[ xX]?\]?)?|\d{1,9}[.)]?|#{1,6}|[=_*]+|`{3}[^`]*|~{3}.*|[-~`|:$\\ \t]+|\\[\[(])?[ \t]*"
)
TABLE_LINE = re.compile(r"[ \t>]*\|")
RULED = re.compile(r"[ \t>]*\|?[ \t]*:?-[-:| \t]*")
MATH = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("\\begin{", "\\end{"))
LONGEST_SIGNS = 300  # characters of a line that is nothing but signs
MOST_OPENED = 50  # signs of emphasis within one another; each further sign is looked for among them
LONGEST_MATH = 1_000  # characters that are held back at most
DOLLAR = re.compile(r"(?<![\w$\\])\$(?=[^\s\d$])[^$\n]{0,80}\Z")
LINK = re.compile(r"!?\[([^\[\]\n]{0,300})(?:\]\([^()\s]{0,2000})?\Z")
SIGNS = "*_~`$\\"  # the last of a line may be half of one; what they close is closed anyhow
SIGN = re.compile(r"\\.|(`+)|\*\*\*|\*\*|\*|__|_|~~", re.DOTALL)


def shown(text: str) -> str:
    """What of it may be drawn by now."""
    lines_end = text.rfind("\n") + 1
    head, line = text[:lines_end], text[lines_end:]
    fence = open_fence(text)
    if fence:
        return head if line and not line.strip().strip(fence[0]) else text
    if _is(UNTOLD, line):
        line = ""
    head, line = _table(head, line.rstrip(SIGNS))
    text = _math(head + line)
    return text[:lines_end] + _closed(text[lines_end:]) if len(text) > lines_end else text


def _is(pattern: re.Pattern[str], line: str) -> bool:
    """Of a short line; a long one is something already."""
    return len(line) <= LONGEST_SIGNS and pattern.fullmatch(line.strip()) is not None


def open_fence(text: str) -> str:
    """The signs of the fence that the text ends in, if it does."""
    fence = ""
    for match in FENCE.finditer(text):
        run = match[1]
        if not fence:
            fence = run
        elif run[0] == fence[0] and len(run) >= len(fence) and not _rest_of_line(text, match.end()):
            fence = ""
    return fence


def _rest_of_line(text: str, at: int) -> str:
    end = text.find("\n", at)
    return text[at : end if end >= 0 else len(text)].strip(" \t`~")


def _table(head: str, line: str) -> tuple[str, str]:
    """Without a table's first line until the line beneath rules its columns."""
    above = head.rstrip("\n").rpartition("\n")
    last, before = above[2], above[0].rpartition("\n")[2]
    if head.endswith("\n\n"):
        return head, "" if TABLE_LINE.match(line) else line
    if line and TABLE_LINE.match(line) and not TABLE_LINE.match(last):
        return head, ""
    is_head = TABLE_LINE.match(last) and not TABLE_LINE.match(before)
    if is_head and not _is(RULED, last) and (not line or _is(RULED, line)):
        return head[: len(head.rstrip("\n")) - len(last)], ""
    return head, line


def _math(text: str) -> str:
    """Up to a formula that has no end yet."""
    begin = max(text.rfind("\n\n") + 1, len(text) - LONGEST_MATH, 0)
    for opening, closing in MATH:
        found = _unclosed(text, begin, opening, closing)
        if found >= 0:
            return text[:found].rstrip()
    dollar = DOLLAR.search(text, begin)
    return text[: dollar.start()].rstrip(" ") if dollar else text


def _unclosed(text: str, begin: int, opening: str, closing: str) -> int:
    """Where it stands, or -1."""
    if opening == closing:
        return text.rfind(opening, begin) if text.count(opening, begin) % 2 else -1
    found = text.rfind(opening, begin)
    return found if found >= 0 and text.find(closing, found + len(opening)) < 0 else -1


def _closed(line: str) -> str:
    """The line with what has begun in it closed: code, then links, then emphasis."""
    opened: list[str] = []
    at = 0
    while match := SIGN.search(line, at):
        at = match.end()
        sign = match[0]
        if match[1]:
            end = re.compile(rf"(?<!`)`{{{len(sign)}}}(?!`)").search(line, at)
            if end is None:
                return _code(line, match.start(), sign, opened)
            at = end.end()
        elif sign[0] != "\\":
            _emphasis(line, match.start(), sign, opened)
    line = LINK.sub(r"\1", line)
    return line.rstrip() + "".join(reversed(opened)) if opened else line


def _code(line: str, at: int, sign: str, opened: list[str]) -> str:
    """A line that ends in a span of code."""
    ending = "".join(reversed(opened))
    return (line + sign if line[at + len(sign) :].strip() else line[:at].rstrip()) + ending


def _emphasis(line: str, at: int, sign: str, opened: list[str]) -> None:
    before, after = line[at - 1 : at], line[at + len(sign) : at + len(sign) + 1]
    if sign in opened and before and not before.isspace():
        del opened[opened.index(sign) :]
    elif len(opened) < MOST_OPENED and not after.isspace() and not (len(sign) == 1 and (before.isalnum() or not after)):
        opened.append(sign)
