"""A question and its answer as a page shows them, with what the reader may see of its sources now."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.template.loader import render_to_string
from django.utils.formats import number_format
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext

from privategpt import blocks, citing, rendering, withheld
from privategpt.llm.refusals import REFUSALS
from privategpt.models import Chat, Citation, Message, Source
from privategpt.pages import growing
from privategpt.pages.asking import backends
from privategpt.pages.sentences import CUT_OFF, in_readers_language
from privategpt.retrieval.passages import SEPARATOR
from privategpt.withheld import Basis

if TYPE_CHECKING:
    from uuid import UUID

    from accounts.models import User

STEP = " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "
SHOWN = 50  # exchanges of a page; earlier ones are a page of their own
CUT = 700  # characters of a passage in the margin; nine lines hold fewer
UNDER_WAY = {Message.State.WAITING, Message.State.ANSWERING}
MARKUP = re.compile(r"^[ \t]*(?:#{1,6}|[-*+>]|\d+\.)[ \t]+|[*`]{1,3}|^[-=|: \t]{3,}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A cited passage in the margin."""

    number: int
    title: str
    path: str
    passage: str
    url: str
    is_named: bool  # by the answer, so far


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer."""

    message: Message
    sources: list[Entry]
    basis: Basis

    @property
    def anchor(self) -> str:
        return f"m{self.message.position}"

    @property
    def is_growing(self) -> bool:
        return self.message.state in UNDER_WAY

    @property
    def is_refused(self) -> bool:
        """The answer is that there is none."""
        message = self.message
        known = REFUSALS.get(message.language, REFUSALS["en"])
        return "searched" in message.trace and message.answer.strip().rstrip(".") == known.rstrip(".")

    @property
    def html(self) -> SafeString:
        return blocks.render(withheld.readable(self.message.answer, self.basis), self.cited)

    @property
    def cited(self) -> rendering.Cited:
        numbers = frozenset(entry.number for entry in self.sources)
        return rendering.Cited(self.anchor, numbers, self.basis.gone)

    @property
    def line(self) -> SafeString:
        return growing.in_line(self.message.trace.get("line"), self.message)

    @property
    def read(self) -> int:
        """How many passages the model was given."""
        return len(self.message.trace.get("used") or self.message.trace.get("found") or [])

    @property
    def heading(self) -> str:
        return gettext("%(cited)d of %(read)d passages cited") % {"cited": len(self.sources), "read": self.read}

    @property
    def error(self) -> str:
        """The sentence of what went wrong, in the reader's language where it is one of ours."""
        return in_readers_language(self.message.error) or gettext("The answer failed.")

    @property
    def cut_off(self) -> str:
        return cut_off(self.message)

    @property
    def by(self) -> str:
        """Who answered, and in what time."""
        seconds = (self.message.trace.get("times") or {}).get("done")
        took = f"{number_format(seconds / 1000, 1)} s" if seconds is not None else ""
        return " · ".join(filter(None, (backend_label(self.message), took)))

    @property
    def nearest(self) -> str:
        """What a refusal says about the search: the best likeness, when it went by meaning."""
        cosines = [found["cosine"] for found in self.message.trace.get("found") or [] if found.get("cosine")]
        return number_format(max(cosines), 2) if cosines else ""


def cut_off(message: Message) -> str:
    """Why the answer is not whole, as a sentence; "" for one that is."""
    return gettext(CUT_OFF.get(message.cut_off, CUT_OFF["length"])) if message.cut_off else ""


def backend_label(message: Message) -> str:
    if message.backend == "quoting":
        return gettext("Quoted")
    if model := message.trace.get("model"):
        return str(model)
    return next((each.label for each in backends() if each.name == message.backend), "") if message.backend else ""


def exchanges_of(chat: Chat, user: User, *, before: int | None = None) -> tuple[list[Exchange], bool]:
    """The last ones, or those before a position, in order; and whether there are earlier ones."""
    messages = chat.messages.order_by("-position")
    if before is not None:
        messages = messages.filter(position__lt=before)
    found = list(messages[: SHOWN + 1])
    return _exchanges(list(reversed(found[:SHOWN])), user), len(found) > SHOWN


def exchange_of(message: Message, user: User) -> Exchange:
    return _exchanges([message], user)[0]


def _exchanges(messages: Sequence[Message], user: User) -> list[Exchange]:
    visible = Source.objects.visible_to(user)
    bases, rows = withheld.bases(messages, visible), _citations(messages)
    return [_exchange(message, rows[message.pk], bases[message.pk]) for message in messages]


def _citations(messages: Sequence[Message]) -> dict[UUID, list[Citation]]:
    """Of each message, those it cites (all while it grows)."""
    unfinished = [message.pk for message in messages if message.state in UNDER_WAY]
    rows = Citation.objects.filter(message__in=[message.pk for message in messages])
    rows = (rows.filter(is_cited=True) | rows.filter(message__in=unfinished)).order_by("message", "number")
    found: dict[UUID, list[Citation]] = defaultdict(list)
    for row in rows.select_related("source").defer("source__content"):
        found[row.message_id].append(row)
    return found


def _exchange(message: Message, rows: Sequence[Citation], basis: Basis) -> Exchange:
    is_growing = message.state in UNDER_WAY
    named = citing.named(message.answer, [row.number for row in rows]) if is_growing else None
    readable = [row for row in rows if row.number not in basis.gone]
    shown = [_entry(row, is_named=named is None or row.number in named) for row in readable]
    return Exchange(message, shown, basis)


def _entry(row: Citation, *, is_named: bool) -> Entry:
    return entry(
        row.number,
        row.source.title,
        row.heading,
        row.context,
        str(row.source_id),
        (row.start, row.end),
        is_named=is_named,
    )


def entry(
    number: int, title: str, heading: str, context: str, source: str, place: tuple[int, int], *, is_named: bool = False
) -> Entry:
    """The entry in the margin for a passage that the reader may see."""
    path = STEP.join(part for part in heading.split(SEPARATOR) if part and part != title)
    url = f"/sources/{source}/?start={place[0]}&end={place[1]}#passage"
    return Entry(number, title or gettext("Untitled"), path, _plain(context, heading), url, is_named)


def _plain(context: str, heading: str) -> str:
    """The passage's words without Markdown's signs, as far as the margin shows them."""
    text = MARKUP.sub("", context[: 2 * CUT]).strip()
    for part in heading.split(SEPARATOR):
        text = text.removeprefix(part.strip()).lstrip()
    return " ".join(text.split())[:CUT]


def piece(exchange: Exchange) -> SafeString:
    """The exchange as HTML; a finished one from memory. It holds nothing of the request: no token, no session."""
    if exchange.is_growing:
        return _piece(exchange)
    message = exchange.message
    basis = exchange.basis
    rights = f"{[entry.number for entry in exchange.sources]} {sorted(basis.gone)} {basis.is_tainted}"
    titles = "\0".join(entry.title for entry in exchange.sources)
    facts = (message.pk, message.state, message.finished_at, message.position, get_language(), rights, titles)
    key = f"piece {facts}".encode()
    return rendering.rendered.get(key) or rendering.rendered.keep(key, _piece(exchange))


def _piece(exchange: Exchange) -> SafeString:
    shown: dict[str, Any] = {"exchange": exchange}
    if exchange.is_growing:
        grown = blocks.Blocks(exchange.cited)
        grown.feed(exchange.message.answer if exchange.basis.is_whole else "")  # the answer is ending, if not
        shown |= {"grown": grown.show().html, "read": grown.closed}
    return mark_safe(render_to_string("chats/_exchange.html", shown))  # noqa: S308 - a template's
