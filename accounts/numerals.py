"""Whole numbers in somebody's text: in a query, a form, a header or a path. The one place that reads them."""

from __future__ import annotations

MOST_DIGITS = 18  # whatever is longer fits no column, and Python itself refuses to read a few thousand


def whole(text: str | bytes, *, most: int = 10**MOST_DIGITS - 1) -> int | None:
    """The number that these ASCII digits are; None for anything else, and for one beyond `most`."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        return None
    found = int(text)
    return found if found <= most else None
