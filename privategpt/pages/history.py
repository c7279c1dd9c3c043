"""One's chats in the side bar: grouped by day, and found by their words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from privategpt.models import Chat, ChatQuerySet, Message
from privategpt.rendering import visible

if TYPE_CHECKING:
    from accounts.models import User

LISTED = 60  # chats in the side bar; all are on a page of their own
PINNED = 20
A_PAGE = 100  # chats on that page
HITS = 30  # chats that a search shows
MOST_WORDS = 6
AROUND = 60  # characters before the first word that was found
SHOWN = 180
SIGNS = re.compile(r"[*`#|]+|\[\d{1,4}\]")  # of Markdown, which the excerpt does without


@dataclass(frozen=True, slots=True)
class Group:
    """Chats under one heading."""

    name: str
    chats: list[Chat]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chat that was found, with the words marked."""

    chat: Chat
    title: SafeString
    text: SafeString


def listed(user: User) -> ChatQuerySet:
    """All of one's chats, newest first, each knowing whether an answer is under way."""
    is_running = Exists(Message.objects.filter(chat=OuterRef("pk")).being_answered())
    chats = Chat.objects.visible_to(user).only("id", "title", "pinned_at", "updated_at")
    return chats.annotate(is_running=is_running).order_by("-updated_at")


def grouped(user: User) -> tuple[list[Group], bool]:
    """Pinned, today, this week, older; and whether there are more than are listed."""
    chats = list(listed(user).order_by(F("pinned_at").desc(nulls_last=True), "-updated_at")[: LISTED + 1])
    return by_age(chats[:LISTED]), len(chats) > LISTED


def by_age(chats: Iterable[Chat], *, with_pinned: bool = True) -> list[Group]:
    """In the reader's own days."""
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    names = (gettext("Pinned"), gettext("Today"), gettext("This week"), gettext("Older"))
    found: list[list[Chat]] = [[], [], [], []]
    for chat in chats:
        found[0 if with_pinned and chat.pinned_at else _age(chat.updated_at, today)].append(chat)
    return [Group(name, group) for name, group in zip(names, found, strict=True) if group]


def _age(moment: datetime, today: datetime) -> int:
    if moment >= today:
        return 1
    return 2 if moment >= today - timedelta(days=6) else 3


# -- search ---------------------------------------------------------------------------------------


def search(user: User, query: str) -> list[Hit]:
    """Chats that hold every word, in one message or in the title; newest first."""
    words = list(dict.fromkeys(query.replace("\0", " ").split()))[:MOST_WORDS]
    if not words:
        return []
    last = Message.objects.filter(_all_of(("question", "answer"), words), chat=OuterRef("pk")).order_by("-position")
    found = listed(user).annotate(message=Subquery(last.values("pk")[:1]))
    chats: list[Any] = list(found.filter(Q(message__isnull=False) | _all_of(("title",), words))[:HITS])
    messages = Message.objects.only("question", "answer").in_bulk([found.message for found in chats])
    pattern = re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)), re.IGNORECASE)
    return [Hit(chat, marked(chat.title, pattern), _excerpt(messages.get(chat.message), pattern)) for chat in chats]


def _all_of(fields: Sequence[str], words: Sequence[str]) -> Q:
    """Every word is in one of the fields."""
    return reduce(and_, (_any_of(fields, word) for word in words))


def _any_of(fields: Sequence[str], word: str) -> Q:
    # SQLite folds the case of ASCII only.
    forms = {word} if word.isascii() else {word, word.lower(), word.capitalize()}
    return reduce(or_, (Q(**{f"{field}__icontains": form}) for field in fields for form in forms))


def _excerpt(message: Message | None, pattern: re.Pattern[str]) -> SafeString:
    """Two lines around the first hit."""
    text = f"{message.question}\n{message.answer}"[:200_000] if message else ""
    text = " ".join(SIGNS.sub("", text).split())
    first = pattern.search(text)
    begin = max(0, first.start() - AROUND) if first else 0
    begin = text.rfind(" ", 0, begin) + 1 if begin else 0
    cut = text[begin : begin + SHOWN]
    return marked(("…" if begin else "") + cut + ("…" if begin + SHOWN < len(text) else ""), pattern)


def marked(text: str, pattern: re.Pattern[str]) -> SafeString:
    """The text with its hits in `mark`."""
    text = visible(text)
    parts: list[str] = []
    end = 0
    for match in pattern.finditer(text):
        parts += [escape(text[end : match.start()]), "<mark>", escape(match[0]), "</mark>"]
        end = match.end()
    return mark_safe("".join([*parts, escape(text[end:])]))  # noqa: S308 - every part was escaped
