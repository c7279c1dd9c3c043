"""What may be stored: a text that every database takes, and as much of it as one person may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils import translation

from privategpt import file_kinds
from privategpt.models import Source

if TYPE_CHECKING:
    from accounts.models import User


class Unstorable(ValueError):
    """The text holds what no database stores: half a surrogate pair, or NUL."""


class NoText(Unstorable):
    """Bytes of some other kind of file, sent as if they were a text."""

    def __init__(self, kind: str) -> None:
        with translation.override("en"):
            super().__init__(file_kinds.refusal(kind))
        self.kind = kind


class TooMuch(Unstorable):
    """Its creator has as many sources, or as much text in them, as one person may have."""


def check(*texts: str) -> None:
    """Raises Unstorable."""
    for text in texts:
        if "\0" in text:
            raise Unstorable("The text holds the character NUL, which cannot be stored.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unstorable("The text holds half a surrogate pair, which is no character.") from None


def check_content(content: str) -> None:
    """The same for a source's text, which may be no text at all. Raises Unstorable, NoText."""
    kind = file_kinds.no_text(content.encode("utf-8", "surrogatepass"))
    if kind in {"", "data"}:
        check(content)  # whose sentence names the character
    if kind:
        raise NoText(kind)


def check_room(creator: User | None, passages: int, *, sources: int = 0) -> None:
    """Raises TooMuch when so many more are too many."""
    if creator is None:
        return
    own = Source.objects.not_deleted().filter(creator=creator).order_by()
    held = own.aggregate(sources=models.Count("pk"), passages=models.Sum("passages_total"))
    if held["sources"] + sources > settings.PER_USER["sources"]:
        raise TooMuch("You have as many sources as one person may have; delete some first.")
    if (held["passages"] or 0) + passages > settings.PER_USER["passages"]:
        raise TooMuch("Your sources hold as much text as one person may have; delete some first.")
