"""One's chats in the side bar: grouped by day, and found by their words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from privategpt import withheld
from privategpt.citing import without_markers
from privategpt.models import Chat, ChatQuerySet, Message, Source, SourceQuerySet
from privategpt.rendering import visible

if TYPE_CHECKING:
    from accounts.models import User

LISTED = 60  # chats in the side bar; all are on a page of their own
PINNED = 20
A_PAGE = 100  # chats on that page
HITS = 30  # chats that a search shows
MOST_WORDS = 6
MOST_OTHERS = 300  # earlier messages that are looked at where the last one holds the words no more
LONGEST_WORD = 100  # characters; each place of a text is compared with all of them
AROUND = 60  # characters before the first word that was found
SHOWN = 180
SEARCHED = 200_000  # characters of a message
SIGNS = re.compile(r"[*`#|]+")  # of Markdown, which the excerpt does without


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
    words = list(dict.fromkeys(word[:LONGEST_WORD] for word in query.replace("\0", " ").split()))[:MOST_WORDS]
    if not words:
        return []
    holding = Message.objects.filter(_all_of(("question", "answer"), words))
    last = holding.filter(chat=OuterRef("pk")).order_by("-position")
    found = listed(user).annotate(message=Subquery(last.values("pk")[:1]))
    chats: list[Any] = list(found.filter(Q(message__isnull=False) | _all_of(("title",), words))[:HITS])
    messages = _readable(holding, [chat for chat in chats if chat.message], user, words)
    pattern = re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)), re.IGNORECASE)
    return [
        Hit(chat, marked(chat.title, pattern), _excerpt(messages.get(chat.pk), pattern))
        for chat in chats
        if chat.pk in messages or _holds(chat.title, words)
    ]


def _readable(holding: QuerySet[Message], chats: Sequence[Any], user: User, words: Sequence[str]) -> dict[UUID, str]:
    """By chat, the latest question and answer that hold the words in what may still be read of them."""
    visible = Source.objects.visible_to(user)
    wanted = {chat.message for chat in chats}
    rows = list(Message.objects.only("chat", "question", "answer", "trace").filter(pk__in=wanted))
    found: dict[UUID, str] = {}
    lost: list[UUID] = []
    for row, text in _texts(rows, visible):
        if text is None or _holds(text, words):
            found[row.chat_id] = f"{row.question}\n{row.answer}" if text is None else text
        else:
            lost.append(row.chat_id)
    others = holding.filter(chat__in=lost).exclude(pk__in=wanted).order_by("-position")[:MOST_OTHERS] if lost else ()
    for row, text in _texts(list(others), visible):
        told = f"{row.question}\n{row.answer}" if text is None else text
        if row.chat_id not in found and _holds(told, words):
            found[row.chat_id] = told
    return found


def _texts(rows: Sequence[Message], visible: SourceQuerySet) -> Iterator[tuple[Message, str | None]]:
    """Each with what may be read of it; None where that is all."""
    bases = withheld.bases(rows, visible)
    for row in rows:
        basis = bases[row.pk]
        text = None if basis.is_whole else f"{row.question}\n{withheld.readable(row.answer, basis, is_noted=False)}"
        yield row, text


def _holds(text: str, words: Iterable[str]) -> bool:
    folded = text.casefold()
    return all(word.casefold() in folded for word in words)


def _all_of(fields: Sequence[str], words: Sequence[str]) -> Q:
    """Every word is in one of the fields."""
    return reduce(and_, (_any_of(fields, word) for word in words))


def _any_of(fields: Sequence[str], word: str) -> Q:
    # SQLite folds the case of ASCII only.
    forms = {word} if word.isascii() else {word, word.lower(), word.capitalize()}
    return reduce(or_, (Q(**{f"{field}__icontains": form}) for field in fields for form in forms))


def _excerpt(told: str | None, pattern: re.Pattern[str]) -> SafeString:
    """Two lines around the first hit."""
    text = " ".join(SIGNS.sub("", without_markers((told or "")[:SEARCHED])).split())
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
