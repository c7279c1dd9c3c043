"""Math in Markdown, as MathML that is made here: `$x$`, `$$x$$`, `\\(x\\)` and `\\[x\\]`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from django.utils.html import escape
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

LONGEST = 1_000  # characters of a formula
MOST = 200  # formulas of one text
DEEPEST = 30  # braces within braces
MOST_LINES = 50  # of a formula that stands alone

INLINE = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
BLOCK = (("$$", "$$"), ("\\[", "\\]"))


def formula(latex: str, *, is_block: bool, env: MutableMapping[str, Any]) -> str:
    """MathML, or the source where it cannot be made."""
    made = _mathml(latex, is_block=is_block, env=env)
    if made is None:
        return f"<p><code>{escape(latex)}</code></p>" if is_block else f"<code>{escape(latex)}</code>"
    return made


def _mathml(latex: str, *, is_block: bool, env: MutableMapping[str, Any]) -> str | None:
    env["formulas"] = env.get("formulas", 0) + 1
    if len(latex) > LONGEST or env["formulas"] > MOST or _depth(latex) > DEEPEST:
        return None
    try:
        made = convert(latex, display="block" if is_block else "inline")
    except Exception:  # the library's errors have no common parent; the source is shown
        return None
    # A command that it does not know comes back as an identifier.
    return None if "<mi>\\" in made else made


def _depth(latex: str) -> int:
    depth = most = 0
    for character in latex:
        depth += (character == "{") - (character == "}")
        most = max(most, depth)
    return most + latex.count("\\left") + latex.count("\\begin")


def math_plugin(parser: MarkdownIt) -> None:
    """Adds the token `formula`, inline and as a block."""
    parser.inline.ruler.before("escape", "formula", _inline)
    parser.block.ruler.before("fence", "formula", _block, {"alt": ["paragraph", "blockquote", "list"]})


def _inline(state: StateInline, silent: bool) -> bool:
    text, start = state.src, state.pos
    if text[start] not in "$\\":
        return False
    for opening, closing in INLINE:
        if text.startswith(opening, start):
            begin = start + len(opening)
            end = text.find(closing, begin, begin + LONGEST + len(closing))
            if end <= begin or (opening == "$" and not _is_money_free(text, begin, end)):
                continue
            if not silent:
                state.push("formula", "math", 0).content = text[begin:end].strip()
            state.pos = end + len(closing)
            return True
    return False


def _is_money_free(text: str, begin: int, end: int) -> bool:
    """Pandoc's rule: no blank inside the signs, no digit behind them. So "$5 or $6" is money."""
    return not (text[begin].isspace() or text[end - 1].isspace() or text[end + 1 : end + 2].isdigit())


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.is_code_block(start):
        return False
    first = _line(state, start)
    for opening, closing in BLOCK:
        if first.startswith(opening):
            return _take(state, start, end, (opening, closing), silent)
    return False


def _take(state: StateBlock, start: int, end: int, signs: tuple[str, str], silent: bool) -> bool:
    opening, closing = signs
    lines = [_line(state, start)[len(opening) :]]
    line = start
    while not lines[-1].endswith(closing):
        line += 1
        if line >= min(end, start + MOST_LINES) or state.isEmpty(line) or state.sCount[line] < state.blkIndent:
            return False
        lines.append(_line(state, line))
    if silent:
        return True
    lines[-1] = lines[-1][: -len(closing)]
    token = state.push("formula", "math", 0)
    token.block, token.map = True, [start, line + 1]
    token.content = "\n".join(lines).strip()
    state.line = line + 1
    return True


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
