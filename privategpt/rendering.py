"""Markdown that a model wrote, as HTML that can be trusted: html off, an allow-list as the last gate, nothing that
loads by itself. Pure but for a bounded store of what was rendered."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import nh3
from django.templatetags.static import static
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from privategpt.citing import PLACE_START, PLACED, placed, unplaced
from privategpt.colouring import coloured
from privategpt.formulas import formula
from privategpt.hidden import visible as visible
from privategpt.markdown import SAFE_TAG, TooMuch, parser

LONGEST = 200_000  # characters; a longer text is shown as it was written
MOST_LINES = 20_000  # a text of more lines too: each costs, however short
KEPT_CHARACTERS = 3 << 20  # of rendered HTML in memory; twice as many bytes where a dash or a curly quote is in it

TASK = re.compile(r"\[([ xX])\][ \t]+")


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COPY_BUTTON = (
    '<button class="button plain low" type="button" data-copy="{}">'
    '<svg class="i" aria-hidden="true"><use href="{}#copy"/></svg><span>{}</span></button>'
)
COPY = '<button data-copy=""></button>'  # the gate lets nothing else of a button through
MATH_TAGS = words(
    "math mi mn mo mtext mspace mrow mfrac msqrt mroot mstyle merror mpadded mphantom msub msup msubsup munder mover "
    "munderover mmultiscripts mprescripts mtable mtr mtd menclose"
)
TAGS = MATH_TAGS | words(
    "p br hr h3 h4 ul ol li blockquote em strong s code pre a table thead tbody tr th td div section sup sub kbd span "
    "button input"
)
ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href", "id", "aria-label"},
    "li": {"id"},
    "ol": {"start"},
    "div": {"tabindex", "role", "aria-label"},
    "pre": {"tabindex", "role", "aria-label"},
    "button": {"data-copy"},
    "input": {"disabled", "checked", "aria-label"},
    "math": {"xmlns"},
    "mo": {"stretchy", "fence", "form", "separator", "lspace", "rspace", "movablelimits", "minsize", "maxsize"},
    "mi": {"mathvariant"},
    "mspace": {"width"},
    "mfrac": {"linethickness"},
    "mtable": {"columnalign", "rowspacing"},
    "mtd": {"columnalign"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "menclose": {"notation"},
}
CLASSES = {
    "a": {"mark"},
    "span": {"k", "s", "c"},
    "div": {"code", "scroll"},
    "section": {"footnotes"},
    "th": {"end"},
    "td": {"end"},
}
GATE = nh3.Cleaner(
    tags=set(TAGS),
    attributes=ATTRIBUTES,
    allowed_classes=CLASSES,
    tag_attribute_values={"math": {"display": {"block", "inline"}}},
    set_tag_attribute_values={"input": {"type": "checkbox"}},
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
    generic_attribute_prefixes=None,
)


@dataclass(frozen=True, slots=True)
class Cited:
    """The numbers that become jacks and those that the reader may not follow any more.

    `anchor` begins the id of each entry in the panel: number 2 is `#{anchor}-s2`."""

    anchor: str = ""
    shown: frozenset[int] = frozenset()
    withheld: frozenset[int] = frozenset()


NOTHING_CITED = Cited()


def render(markdown_text: str, cited: Cited = NOTHING_CITED) -> SafeString:
    """The text as HTML, from memory when the same was rendered for the same reader's rights and language."""
    key = digest(markdown_text, cited)
    return rendered.get(key) or rendered.keep(key, _render(markdown_text, cited))


def digest(text: str, cited: Cited) -> bytes:
    """Of all that the rendered text depends on."""
    rights = f"{cited.anchor} {sorted(cited.shown)} {sorted(cited.withheld)} {get_language()}"
    # All of the rights, however long: cut off, they would be those of somebody who may read more.
    return hashlib.blake2b(f"{rights}\0{text}".encode("utf-8", "surrogatepass"), digest_size=20).digest()


def _render(text: str, cited: Cited) -> SafeString:
    text = visible(text)
    if len(text) > LONGEST or text.count("\n") > MOST_LINES:
        return as_written(text)
    try:
        marked = placed(text, cited.shown | cited.withheld)
        html = unplaced(MARKDOWN.render(marked, {"docId": cited.anchor or "text", "cited": cited}))
    except (TooMuch, RecursionError):
        return as_written(text)
    return trusted(html)


def trusted(html: str) -> SafeString:
    """What came out of the parser, behind the gate."""
    copy = format_html(COPY_BUTTON, gettext("Copied"), static("icons.svg"), gettext("Copy"))
    return mark_safe(GATE.clean(html).replace(COPY, copy))  # noqa: S308 - it went through the gate


def as_written(text: str) -> SafeString:
    """The text itself, its lines kept, and that it is so."""
    said = gettext("Too long or too intricate to be laid out: shown as plain text.")
    return format_html('<p>{}</p><pre tabindex="0">{}</pre>', said, text)


class Rendered:
    """What was rendered lately, by digest; bounded by its characters."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._html: OrderedDict[bytes, SafeString] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> SafeString | None:
        with self._lock:
            if key in self._html:
                self._html.move_to_end(key)
            return self._html.get(key)

    def keep(self, key: bytes, html: SafeString) -> SafeString:
        with self._lock:
            if key not in self._html and len(html) <= self._most:
                self._html[key] = html
                self._size += len(html)
            while self._size > self._most:
                self._size -= len(self._html.popitem(last=False)[1])
        return html


rendered = Rendered(KEPT_CHARACTERS)


# -- what becomes of tokens -----------------------------------------------------------------------


def _image(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """A link: nothing is fetched before a person asks for it."""
    token = tokens[index]
    source = str(token.attrGet("src") or "")
    words = renderer.renderInlineAsText(token.children or [], options, env).strip() or source
    return f'<a href="{escapeHtml(source)}">{escapeHtml(words + _where(words, source))}</a>'


def _where(words: str, url: str) -> str:
    """Whose link it is, where its words could be taken for the number of a source."""
    return "" if any(map(str.isalpha, words)) else f" ({urlsplit(url).netloc or url})"


def _fence(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    info = token.info.split()
    name = info[0][:40] if info else ""
    label = escape(f"{gettext('Code')}: {name}" if name else gettext("Code"))
    body = coloured(token.content, name, env)
    head = f"<div><span>{escape(name)}</span>{COPY}</div>"
    return (
        f'<div class="code">{head}<pre tabindex="0" role="group" aria-label="{label}"><code>{body}</code></pre></div>'
    )


def _table_open(*_: Any) -> str:
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(gettext("Table"))}"><table>'


def _table_close(*_: Any) -> str:
    return "</table></div>"


def _mark(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    number, cited = tokens[index].meta["number"], env["cited"]
    label = escape(gettext("Source %(number)d") % {"number": number})
    if number in cited.withheld:
        return f" [{number}: {escape(gettext('no longer yours to read'))}]"
    return f'<a class="mark" href="#{escape(cited.anchor)}-s{number}" aria-label="{label}">{number}</a>'


def _checkbox(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    is_done = tokens[index].meta["done"]
    label = escape(gettext("Done") if is_done else gettext("Not done"))
    return f'<input disabled aria-label="{label}"{" checked" if is_done else ""}> '


def _tag(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Raw HTML is text, but for a few tags of writing; `_pair` has made text of those without a partner."""
    found = SAFE_TAG.fullmatch(tokens[index].content)
    return f"<{found[1]}{found[2].lower()}>" if found else escapeHtml(tokens[index].content)


def _formula(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return formula(tokens[index].content, is_block=tokens[index].block, env=env)


# -- what becomes of the whole --------------------------------------------------------------------


def _shape(state: StateCore) -> None:
    """Headings under the question's, cells aligned by class, marks and boxes in the text."""
    first = state.env.get("first_level", 0)  # of the parts before, where a text is rendered in parts
    for index, token in enumerate(state.tokens):
        if token.type in {"heading_open", "heading_close"}:
            first = state.env["first_level"] = first or int(token.tag[1])
            token.tag = "h3" if token.hidden or _level(token) <= first else "h4"
        elif token.type in {"th_open", "td_open"}:
            _align(token)
        elif token.type == "inline" and token.children:
            if index >= 2 and state.tokens[index - 2].type == "list_item_open":
                _tick(token)
            _pair(token.children)
            token.children = _marked(token.children)


def _level(token: Token) -> int:
    return len(token.markup) if token.markup.startswith("#") else 1 + (token.markup == "-")


def _align(token: Token) -> None:
    style = str(token.attrs.pop("style", ""))
    if style.endswith("right"):
        token.attrSet("class", "end")


def _tick(token: Token) -> None:
    first = (token.children or [])[0]
    if first.type == "text" and (found := TASK.match(first.content)):
        first.content = first.content[found.end() :]
        box = Token("checkbox", "", 0, meta={"done": found[1] != " "})
        token.children = [box, *(token.children or [])]


def _pair(children: Sequence[Token]) -> None:
    """Tags that do not open and close around something become text."""
    opened: list[Token] = []
    for child in children:
        found = SAFE_TAG.fullmatch(child.content) if child.type == "html_inline" else None
        if found is None:
            continue
        name = found[2].lower()
        if name == "br":
            child.content = "<br>"
        elif not found[1] and not found[3]:
            opened.append(child)
        elif opened and opened[-1].content.strip("<> \t").lower() == name:
            opened.pop()
        else:
            child.type = "text"
    for child in opened:
        child.type = "text"


def _marked(children: Sequence[Token]) -> list[Token]:
    """The text with a token for each number that was supplied; what merely looks like it is none, see `citing`."""
    found: list[Token] = []
    depth, url, begun = 0, "", 0
    for child in children:
        if child.type == "link_open":
            depth, url, begun = depth + 1, str(child.attrGet("href") or ""), len(found)
        elif child.type == "link_close":
            words = "".join(token.content for token in found[begun:])
            found.append(Token("text", "", 0, content=_where(words, url)))
            depth -= 1
        if child.type == "text" and not depth and PLACE_START in child.content:
            found.extend(_split(child.content))
        else:
            found.append(child)
    return found


def _split(text: str) -> list[Token]:
    tokens: list[Token] = []
    end = 0
    for match in PLACED.finditer(text):
        tokens.append(Token("text", "", 0, content=text[end : match.start()]))
        tokens.extend(Token("mark", "", 0, meta={"number": int(number)}) for number in match[1].split())
        end = match.end()
    return [*tokens, Token("text", "", 0, content=text[end:])]


def _parser() -> MarkdownIt:
    drawing = parser()
    drawing.core.ruler.push("shape", _shape)
    rules = {
        "image": _image,
        "fence": _fence,
        "code_block": _fence,
        "mark": _mark,
        "checkbox": _checkbox,
        "formula": _formula,
        "html_inline": _tag,
        "table_open": _table_open,
        "table_close": _table_close,
    }
    for name, rule in rules.items():
        drawing.add_render_rule(name, rule)
    return drawing


MARKDOWN = _parser()
