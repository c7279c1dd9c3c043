"""The e-mail field: one address is one spelling."""

import unicodedata
from typing import TYPE_CHECKING, Any

from django.db import models

ACE = "xn--"  # begins a label of a domain that is written in ASCII in the place of its own script
LONGEST_LABEL = 63
DOT = "\u3002"  # of Chinese and Japanese; in a domain it is a dot


def canonical_email(value: str | None) -> str | None:
    """The address in the one form that is stored: NFKC, no blanks around it, lower case, the domain in its own script.

    None for an empty one.
    """
    if value is None:
        return None
    text = _folded(str(value)).strip()
    local, at, domain = text.rpartition("@")
    if at:
        text = f"{local}@{'.'.join(map(_label, domain.replace(DOT, '.').split('.')))}"
    return text or None


def _folded(text: str) -> str:
    """Once more after the case is gone: some small letters come out in two characters."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _label(label: str) -> str:
    """A part of a domain in its own script; as it is where that is no plain name (RFC 3492)."""
    if not label.startswith(ACE) or len(label) > LONGEST_LABEL:
        return label
    try:
        found = label.removeprefix(ACE).encode("ascii").decode("punycode")
        shown = _folded(found)
        shown.encode()
    except UnicodeError:  # of either step: no Punycode, or characters that no database stores
        return label
    is_name = not any(char in f"@.{DOT}" or char.isspace() or unicodedata.category(char) == "Cc" for char in shown)
    return shown if is_name and not found.isascii() and not shown.startswith(ACE) else label


if TYPE_CHECKING:
    NullableEmailField = models.EmailField[str | None, str | None]
else:
    NullableEmailField = models.EmailField


class CanonicalEmailField(NullableEmailField):
    """Stores and compares addresses in canonical form, so that a plain unique index knows no case."""

    def to_python(self, value: Any) -> str | None:
        """Canonical already in forms, so that an administrator sees what will be stored."""
        return canonical_email(value)

    def get_prep_value(self, value: Any) -> str | None:
        """Also in every query: a look-up under any spelling finds the one row."""
        return canonical_email(value)
