"""A growing answer as a page shows it: plain text in which each marker of a source is a jack already, and the line
in which it waits before that."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from django.contrib.humanize.templatetags.humanize import ordinal
from django.template.loader import render_to_string
from django.utils.html import escape, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from privategpt.citing import Citing, numbers_in
from privategpt.rendering import visible

if TYPE_CHECKING:
    from privategpt.models import Message

LONG = 90.0  # seconds that are told as minutes
SHOWN = 3  # of those ahead in line; more are counted


class Jacks(Citing):
    """Turns the text of one answer into HTML, piece by piece. Only numbers that were supplied become links."""

    def __init__(self, anchor: str, supplied: Collection[int] = ()) -> None:
        super().__init__(supplied)
        self._anchor = anchor

    def supply(self, numbers: Collection[int]) -> None:
        self._supplied = frozenset(numbers)

    def html(self, text: str) -> SafeString:
        """No piece may end within a marker; those that `follow` tells of never do."""
        return mark_safe(self._checked(escape(visible(text))))  # noqa: S308 - escaped, and links of ours

    def _token(self, match: re.Match[str]) -> str:
        """A number that is a link's text is no marker: its link leads elsewhere."""
        is_link = match[0].endswith(("]", "】")) and match.string[match.end() : match.end() + 1] == "("
        return match[0] if is_link else super()._token(match)

    def _marker(self, found: str) -> str:
        numbers = [number for number in numbers_in(found) if number in self._supplied]
        links = format_html_join("", '<a class="mark" href="#{}-s{}" aria-label="{}">{}</a>', map(self._link, numbers))
        return links or found

    def _link(self, number: int) -> tuple[str, int, str, int]:
        return self._anchor, number, gettext("Source %(number)s") % {"number": number}, number


def in_line(line: Mapping[str, Any] | None, message: Message) -> SafeString:
    """Where the question stands; nothing when it stands in no line any more. `line` is an `InLine` as a dict."""
    if not (line and line["place"]):
        return SafeString("")
    ahead = line["place"] - 1
    named = ahead if ahead <= SHOWN else SHOWN - 1
    shown = {
        "line": line,
        "message": message,
        "ahead": range(1, named + 1),
        "more": ahead - named,
        "sentence": place_sentence(line),
        "has_sources": message.chat.use_public or message.chat.groups.exists(),
    }
    return mark_safe(render_to_string("chats/_line.html", shown))  # noqa: S308 - a template's


def place_sentence(line: Mapping[str, Any]) -> str:
    """Its place, and about how long it may take where that is known."""
    place, seconds = ordinal(line["place"]), line["seconds"]
    if not seconds:
        return gettext("%(place)s in line.") % {"place": place}
    if seconds < LONG:
        return gettext("%(place)s in line, about %(seconds)d s.") % {"place": place, "seconds": seconds}
    return gettext("%(place)s in line, about %(minutes)d min.") % {"place": place, "minutes": round(seconds / 60)}
