"""How sources are shown."""

from __future__ import annotations

from django import template
from django.utils.formats import number_format

from privategpt.pages.sentences import in_readers_language
from privategpt.rendering import visible

register = template.Library()


@register.filter
def said(reason: str) -> str:
    """A stored sentence in the reader's language, with hidden characters spelt out: it may quote a stranger."""
    return visible(in_readers_language(reason))


@register.filter
def size(characters: int) -> str:
    """As a reader thinks of it: 96 KB, 4.1 MB."""
    if characters < 1_000_000:
        return f"{max(1, round(characters / 1000))} KB"
    return f"{number_format(characters / 1_000_000, 1)} MB"
