"""Math in Markdown, as MathML that is made here: `$x$`, `$$x$$`, `\\(x\\)` and `\\[x\\]`."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from django.utils.html import escape
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from privategpt import spans

LONGEST = spans.LONGEST  # characters of a formula
MOST = 200  # formulas of one text
DEEPEST = 30  # braces within braces
MOST_LINES = 50  # of a formula that stands alone

CENTRED = ("equation", "gather", "gathered", "multline")
ENVIRONMENT = re.compile(
    r"\\(begin|end)\{(equation|gather|gathered|multline|alignat|aligned|eqnarray)\*?\}(?:\{\d+\})?"
)
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
        made = convert(_known(latex), display="block" if is_block else "inline")
    except Exception:  # the library's errors have no common parent; the source is shown
        return None
    # A command that it does not know comes back as an identifier.
    return None if "<mi>\\" in made else made


def _known(latex: str) -> str:
    """The library knows an `align` and a `matrix`, and none of what merely numbers or centres lines."""
    return ENVIRONMENT.sub(lambda found: f"\\{found[1]}{{{'matrix' if found[2] in CENTRED else 'align'}}}", latex)


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
    if state.src[state.pos] not in "$\\":
        return False
    found = spans.formula(state.src, state.pos, state.posMax)
    if found is None:
        return False
    begin, end, behind = found
    if not silent:
        state.push("formula", "math", 0).content = state.src[begin:end].strip()
    state.pos = behind
    return True


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.is_code_block(start):
        return False
    first = _line(state, start)
    for opening, closing in BLOCK:
        if first.startswith(opening):
            return _take(state, start, end, (opening, closing), silent)
    if first.startswith("\\begin") and (closing := spans.environment(first, 0)):
        return _take(state, start, end, ("", closing), silent)
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
        if lines[-1].startswith(("```", "~~~")):  # code wins over formulas
            return False
    if silent:
        return True
    if opening:
        lines[-1] = lines[-1][: -len(closing)]
    token = state.push("formula", "math", 0)
    token.block, token.map = True, [start, line + 1]
    token.content = "\n".join(lines).strip()
    state.line = line + 1
    return True


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
