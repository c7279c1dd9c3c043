"""A request's body as an object. It is JSON, whatever the Content-Type says: the documentation's own curl lines lie."""

from __future__ import annotations

from typing import Any

import msgspec
from django.http import HttpRequest

from accounts.numerals import MOST_DIGITS, whole
from privategpt.api.envelope import Refusal

_decode = msgspec.json.Decoder().decode


def read(request: HttpRequest, limit: int) -> bytes:
    """The bytes. Raises Refusal (413) beyond `limit` of them."""
    declared = str(request.META.get("CONTENT_LENGTH") or "0")
    if len(declared) > MOST_DIGITS or (whole(declared) or 0) > limit:
        raise too_large(limit)
    raw: bytes = request.read(limit + 1)
    if len(raw) > limit:
        raise too_large(limit)
    return raw


def too_large(limit: int) -> Refusal:
    """413."""
    return Refusal(413, f"The request body is longer than {limit} bytes.")


def parse(raw: bytes) -> dict[str, Any]:
    """The object; an empty body is an empty one. Raises Refusal (400)."""
    if not raw.strip():
        return {}
    try:
        found = _decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise Refusal(400, "The request body is not valid JSON.") from None
    if not isinstance(found, dict):
        raise Refusal(400, "The request body is not a JSON object.")
    return found
