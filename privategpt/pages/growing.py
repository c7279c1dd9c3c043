"""The line in which an answer waits before it grows, as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.contrib.humanize.templatetags.humanize import ordinal
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

if TYPE_CHECKING:
    from privategpt.models import Message

LONG = 90.0  # seconds that are told as minutes
SHOWN = 3  # of those ahead in line; more are counted


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
