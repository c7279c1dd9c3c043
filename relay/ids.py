"""Fresh version 4 UUIDs in lower case, cheaper than `uuid.uuid4` by drawing many random bytes at a time."""

import os
import re
from contextvars import ContextVar
from itertools import count

_POOL = 256  # ids for each call to the system's random source
_spare: list[str] = []


def fresh_id() -> str:
    """A random UUID (RFC 9562, version 4) as text."""
    if not _spare:
        text = os.urandom(16 * _POOL).hex()
        _spare.extend(_shaped(text[at : at + 32]) for at in range(0, len(text), 32))
    return _spare.pop()


_start = os.urandom(8).hex()
_numbers = count(1)


def next_request_id() -> bytes:
    """Unique over processes and restarts, and cheap: this process's random start and a number."""
    return b"%s-%x" % (_start.encode(), next(_numbers))


# Of the request that is being worked on: logged with whatever is logged meanwhile.
request_id: ContextVar[str] = ContextVar("request_id", default="")
_SANE = re.compile(rb"[A-Za-z0-9-]{1,64}")


def taken_up(given: bytes) -> bytes:
    """A caller's own request id, if it can do no harm in a header and a log; else a new one."""
    return given if _SANE.fullmatch(given) else next_request_id()


def _shaped(digits: str) -> str:
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
