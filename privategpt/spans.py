"""Where formulas begin and end in a line of Markdown: one rule for the check of an answer and for the page. Pure."""

from __future__ import annotations

import re

LONGEST = 1_000  # characters of a formula within a line
SIGNS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
NAMES = (
    "align aligned alignat array Bmatrix bmatrix cases eqnarray equation gather gathered matrix multline pmatrix "
    "smallmatrix split Vmatrix vmatrix"
)
ENVIRONMENTS = frozenset(NAMES.split())
BEGIN = re.compile(r"\\begin\{([A-Za-z]{1,20})(\*?)\}")
# Behind the closing sign: "$HOME/$USER" and "$5-$6" are no formulas, "the $n$th" is one.
GOES_ON = re.compile(r"(?!(?:th|st|nd|rd|s)\b)[A-Za-z0-9_{]")
NUMBER_AND_WORDS = re.compile(r"\d[^\\^_=]*\s[A-Za-z]{2,}")  # "$5 and 6$" is money


def formula(text: str, start: int, stop: int) -> tuple[int, int, int] | None:
    """Where the content of the formula that opens here begins, where it ends, and what is behind its sign."""
    if text[start] == "\\" and (opened := environment(text, start)):
        end = text.find(opened, start, min(stop, start + LONGEST))
        behind = end + len(opened)
        return (start, behind, behind) if end > start and "`" not in text[start:end] else None
    for opening, closing in SIGNS:
        if not text.startswith(opening, start):
            continue
        begin = start + len(opening)
        end = text.find(closing, begin, min(stop, begin + LONGEST + len(closing)))
        if end > begin and _is_math(text, begin, end, closing):
            return begin, end, end + len(closing)
    return None


def environment(text: str, start: int) -> str:
    """What closes the environment that begins here; "" when none of mathematics does."""
    found = BEGIN.match(text, start)
    return f"\\end{{{found[1]}{found[2]}}}" if found and found[1] in ENVIRONMENTS else ""


def _is_math(text: str, begin: int, end: int, closing: str) -> bool:
    """Code wins over formulas; and for the dollar, Pandoc's rule and ours against money and the shell's variables."""
    if text.find("`", begin, end) >= 0:
        return False
    if closing != "$":
        return True
    ahead = text[begin - 2 : begin - 1] if begin > 1 else ""
    if text[begin].isspace() or text[end - 1].isspace() or (ahead.isascii() and ahead.isalnum()):
        return False
    return not (GOES_ON.match(text, end + 1) or NUMBER_AND_WORDS.match(text, begin, end))
