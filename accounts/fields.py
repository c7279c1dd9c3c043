"""The e-mail field: one address is one spelling."""

import unicodedata
from typing import TYPE_CHECKING, Any

from django.db import models


def canonical_email(value: str | None) -> str | None:
    """The address in the one form that is stored: NFKC, no blanks around it, lower case; None for an empty one."""
    if value is None:
        return None
    return unicodedata.normalize("NFKC", str(value)).strip().casefold() or None


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
