"""JSON as the reference server (a Go program) reads and writes it.

Reading forgives what Go forgives: letter case of keys, a key twice, bytes after the
document, invalid UTF-8 and lone surrogates. Writing escapes what Go escapes."""

import json
from typing import Any, NoReturn

import msgspec

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_BLANKS = " \t\r\n"
_ESCAPES = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))
_SEPARATORS = (("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))


class NotJSON(ValueError):
    """The text does not begin with a JSON document."""


class Pairs(list[tuple[str, Any]]):
    """An object's keys and values in the order in which they stand, doubled keys included."""


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8, with `<`, `>`, `&`, U+2028 and U+2029 as escapes (Go's encoding/json)."""
    text = _encode(value)
    for raw, escape in _ESCAPES:
        if raw in text:
            text = text.replace(raw, escape)
    if b"\xe2\x80" in text:
        for raw, escape in _SEPARATORS:
            text = text.replace(raw, escape)
    return text


def fields(raw: bytes | str, names: frozenset[str]) -> dict[str, Any]:
    """The values of an object's known keys; `null` is an empty object. Raises NotJSON on anything else.

    Keys are compared without regard to letter case, the last of equal ones wins, unknown ones are dropped.
    """
    try:
        document = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = leniently(raw)
    else:
        # Only foreign spellings and null, which leaves an earlier value of its key, need Go's order of keys.
        if isinstance(document, dict) and (None in document.values() or not document.keys() <= names):
            document = leniently(raw)
    if document is None:
        return {}
    if isinstance(document, Pairs):
        folded = ((key.casefold(), value) for key, value in document)
        return {key: value for key, value in folded if key in names and value is not None}
    if isinstance(document, dict):
        return {key: value for key, value in document.items() if value is not None}
    raise NotJSON("not an object")


def leniently(raw: bytes | str) -> Any:
    """The first JSON document of a text, objects as Pairs, numbers as text; broken characters become U+FFFD."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    try:
        document, _ = _LENIENT.raw_decode(text.lstrip(_BLANKS))
    except (ValueError, RecursionError) as fault:
        raise NotJSON(str(fault)[:200]) from None
    if isinstance(document, Pairs):
        return Pairs((_whole(key), _whole(value) if is_text(value) else value) for key, value in document)
    return document


def _whole(text: str) -> str:
    """Lone surrogates, which no UTF-8 can hold, become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


class _Number(str):
    """A number's digits. Never computed: a thousand digits must not cost more than their bytes."""

    __slots__ = ()


_LENIENT = json.JSONDecoder(object_pairs_hook=Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)


def is_text(value: Any) -> bool:
    """True for a JSON string; a number read leniently is not one."""
    return isinstance(value, str) and not isinstance(value, _Number)
