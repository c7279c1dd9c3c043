"""Who asks: the `Authorization` header of contract 1, and the admin key."""

import secrets
from collections.abc import Sequence

from django.conf import settings

from relay import exchange
from relay.api.replies import Unauthorized

MISSING = "API key not provided"
INVALID = "Invalid API key"


def is_admin_key(key: bytes | str) -> bool:
    """Compares in constant time."""
    shown = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    return secrets.compare_digest(shown, settings.ADMIN_KEY.encode())


def shown_key(values: Sequence[bytes]) -> bytes:
    """The key in the values of the Authorization header, bare or behind `Bearer`. Raises Unauthorized.

    Two headers are no credential: which of them counts would depend on the server in front.
    """
    if not values:
        raise Unauthorized(MISSING)
    key = values[0].strip()
    if key[:7].lower() == b"bearer ":
        key = key[7:].strip()
    if len(values) > 1 or not key:
        raise Unauthorized(INVALID)
    return key


def known_asker(relay: exchange.Exchange, values: Sequence[bytes]) -> str | None:
    """What `asker` returns, if memory can tell at once."""
    principal = relay.askers.known(shown_key(values))
    return principal.owner if principal else None


async def asker(relay: exchange.Exchange, values: Sequence[bytes]) -> str:
    """The owner of what is asked: a user's id, "" for the holder of the admin key. Raises Unauthorized."""
    key = shown_key(values)
    if is_admin_key(key):
        return ""
    principal = await relay.askers.find(key)
    if principal is None:
        raise Unauthorized(INVALID)
    return principal.owner
