"""The Markdown parser: the same for what pages draw and for what sources are cut by. It makes no HTML.

CommonMark with tables, strikethrough, footnotes and formulas. Raw HTML is text, but for headings and a few tags of
writing. It has a budget: whoever parses somebody's text gets TooMuch where the text asks for more work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.html_block import html_block
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token
from mdit_py_plugins.footnote import footnote_plugin

from privategpt.formulas import math_plugin

MOST_STEPS = 60_000  # of the parser in one text: some ten microseconds each
DEEPEST = 36  # quotes and lists within each other; a list and its item are two
MOST_NESTED = DEEPEST + 4
LONGEST_ADDRESS = 2_000  # characters

SAFE_TAG = re.compile(r"<(/?)(br|sub|sup|kbd)[ \t]*(/?)>", re.IGNORECASE)
HTML_HEADING = re.compile(r"<h([1-6])(?:\s[^<>]{0,500})?>(.*?)</h\1\s*>", re.IGNORECASE | re.DOTALL)
HTML_TAG = re.compile(r"<[^<>]{0,1000}>")
LONGEST_HTML_HEADING = 4_000  # characters
# An address ends before a blank, a sign of markup or of East Asian writing; brackets may hold a citation.
ADDRESS = re.compile(
    r"//(?:\[[0-9A-Fa-f:.]{2,45}\])?[^\s<>\[\]\"`|\\{}^\u2018-\u201f\u2026\u3000-\u3020\uff01\uff08\uff09\uff0c\uff0e\uff1a"
    r"\uff1b\uff1f\ufdd0-\ufdef]+"
)
BEHIND_ADDRESS = "?!.,:;*_~'\""
SCHEME = re.compile(r"(?:^|[^A-Za-z0-9+.-])(https?)$", re.IGNORECASE)
# Scripts without blanks between words: there a sign of emphasis need not stand at a blank.
EAST_ASIAN = re.compile(
    "[\u1100-\u11ff\u2e80-\u303f\u3040-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)


class TooMuch(Exception):
    """The text asks for more work than a text may."""


def is_absolute(url: str) -> bool:
    """Links lead out of here or nowhere: a relative one would mean a page of ours that the model made up."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return (parts.scheme in {"http", "https"} and bool(parts.netloc)) or parts.scheme == "mailto"


def parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": True, "maxNesting": MOST_NESTED}).enable(["table", "strikethrough"])
    made.validateLink = is_absolute  # type: ignore[method-assign]
    made.use(footnote_plugin).use(math_plugin)
    made.block.ruler.at("html_block", _html, {"alt": ["paragraph", "reference", "blockquote"]})
    made.block.ruler.before("table", "budget", _count_block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    made.inline.ruler.before("text", "budget", _count_inline)
    made.inline.ruler.after("newline", "address", _address)
    made.inline.ruler.before("strikethrough", "east_asian", _emphasis)
    return made


def _count_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.level >= DEEPEST:
        raise TooMuch
    return _count(state.env)


def _count_inline(state: StateInline, silent: bool) -> bool:
    return _count(state.env)


def _count(env: Any) -> bool:
    """A rule that never applies, and is tried first. `env["most"]`: how many steps, where it is another number."""
    env["steps"] = steps = env.get("steps", 0) + 1
    if steps > env.get("most", MOST_STEPS):
        raise TooMuch
    return False


# -- raw HTML -------------------------------------------------------------------------------------


def _html(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """What CommonMark takes for raw HTML is a paragraph of it, or the heading that it is."""
    if SAFE_TAG.match(state.src, state.bMarks[start] + state.tShift[start]) or not html_block(
        state, start, end, silent
    ):
        return False
    if silent:
        return True
    raw = state.tokens.pop()
    heading = _heading_in(raw.content)
    level, content = heading or (0, raw.content.strip())
    name, tag = ("heading", f"h{level}") if level else ("paragraph", "p")
    opening = state.push(f"{name}_open", tag, 1)
    opening.map, opening.markup = raw.map, "#" * level
    inline = state.push("inline", "", 0)
    inline.content, inline.map, inline.children = content, raw.map, []
    state.push(f"{name}_close", tag, -1).markup = "#" * level
    return True


def _heading_in(html: str) -> tuple[int, str] | None:
    """The level and the words of a block that holds a heading and no other text."""
    if len(html) > LONGEST_HTML_HEADING or "</h" not in html.lower():
        return None
    found = HTML_HEADING.search(html)
    if found is None or HTML_TAG.sub("", html[: found.start()] + html[found.end() :]).strip():
        return None
    return int(found[1]), " ".join(unescape(HTML_TAG.sub("", found[2])).split())


# -- addresses ------------------------------------------------------------------------------------


def _address(state: StateInline, silent: bool) -> bool:
    """A bare http(s) address becomes a link."""
    if state.src[state.pos] != ":" or state.linkLevel > 0:
        return False
    found = ADDRESS.match(state.src, state.pos + 1, min(state.posMax, state.pos + LONGEST_ADDRESS))
    scheme = SCHEME.search(state.src[max(0, state.pos - 6) : state.pos]) if found else None
    if not (found and scheme):
        return False
    url = scheme[1] + ":" + _without_stops(found[0])
    if not is_absolute(url):
        return False
    if not silent:
        state.pending = state.pending[: -len(scheme[1])]
        opening = state.push("link_open", "a", 1)
        opening.attrs, opening.markup, opening.info = {"href": state.md.normalizeLink(url)}, "linkify", "auto"
        state.push("text", "", 0).content = url
        state.push("link_close", "a", -1).markup = "linkify"
    state.pos += len(url) - len(scheme[1])
    return True


def _without_stops(address: str) -> str:
    """Without what ends the sentence, or the bracket around it, rather than the address."""
    unmatched = address.count(")") - address.count("(")
    end = len(address)
    while end and (address[end - 1] in BEHIND_ADDRESS or (address[end - 1] == ")" and unmatched > 0)):
        unmatched -= address[end - 1] == ")"
        end -= 1
    return address[:end]


# -- emphasis in East Asian writing ---------------------------------------------------------------


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Emphasis that opens or closes between a sign and a letter of these scripts, which CommonMark does not see."""
    marker = state.src[state.pos]
    if silent or marker not in "*~":
        return False
    before = state.src[state.pos - 1] if state.pos else " "
    end = state.pos
    while end < state.posMax and state.src[end] == marker:
        end += 1
    after = state.src[end] if end < state.posMax else " "
    if not (EAST_ASIAN.match(before) or EAST_ASIAN.match(after)) or (marker == "~" and end - state.pos != 2):
        return False
    opens = not isWhiteSpace(ord(after)) and not (_is_sign(after) and not _lets(before))
    closes = not isWhiteSpace(ord(before)) and not (_is_sign(before) and not _lets(after))
    _push(state, marker, end - state.pos, opens=opens, closes=closes)
    state.pos = end
    return True


def _is_sign(character: str) -> bool:
    return isMdAsciiPunct(ord(character)) or isPunctChar(character)


def _lets(character: str) -> bool:
    return isWhiteSpace(ord(character)) or _is_sign(character) or bool(EAST_ASIAN.match(character))


def _push(state: StateInline, marker: str, length: int, *, opens: bool, closes: bool) -> None:
    size = 2 if marker == "~" else 1
    for _ in range(length // size):
        state.push("text", "", 0).content = marker * size
        at = len(state.tokens) - 1
        counted = 0 if marker == "~" else length
        state.delimiters.append(
            Delimiter(marker=ord(marker), length=counted, token=at, end=-1, open=opens, close=closes)
        )


# -- words ----------------------------------------------------------------------------------------


def plain(tokens: Sequence[Token]) -> str:
    """The words of inline tokens, without any markup."""
    parts: list[str] = []
    for token in tokens:
        if token.type in {"text", "text_special", "code_inline", "formula"}:
            parts.append(token.content)
        elif token.type in {"softbreak", "hardbreak"} or (
            token.type == "html_inline" and "br" in token.content.lower()
        ):
            parts.append(" ")
        elif token.type == "image":
            parts.append(plain(token.children or []))
    return " ".join("".join(parts).split())
