"""Who asks: the `Authorization` header of contract 1, and the admin key."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from channels.db import database_sync_to_async
from django.conf import settings

from accounts.addresses import peer_of
from relay import exchange
from relay.api import guesses
from relay.api.replies import Unauthorized

MISSING = "API key not provided"
INVALID = "Invalid API key"


class Asker(NamedTuple):
    """Who asks, and by which token. `owner` is a user's id; "" without a token is the holder of the admin key."""

    owner: str
    token: int | None


def is_admin_key(key: bytes | str) -> bool:
    """Compares in constant time."""
    shown = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    return bool(settings.ADMIN_KEY) and secrets.compare_digest(shown, settings.ADMIN_KEY.encode())


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


def known_asker(relay: exchange.Exchange, values: Sequence[bytes]) -> Asker | None:
    """What `asker` returns, if memory can tell at once."""
    principal = relay.askers.known(shown_key(values))
    return Asker(principal.owner, principal.token) if principal else None


async def asker(relay: exchange.Exchange, values: Sequence[bytes], scope: Mapping[str, Any] | None) -> Asker:
    """Whose the key is. Raises Unauthorized.

    `scope` says where the key comes from: whoever shows too many wrong ones has it compared with the admin's no more.
    """
    key = shown_key(values)
    address = peer_of(scope) if scope else ""
    is_right = is_admin_key(key)
    if is_right and not guesses.asks.locked(address):
        return Asker("", None)
    principal = await relay.askers.find(key)  # the right one too, where it is locked: its refusal takes as long
    if principal is None:
        if not is_right and guesses.asks.wrong(address, key):
            await database_sync_to_async(guesses.asks.write_down, thread_sensitive=False)(address)
        raise Unauthorized(INVALID)
    return Asker(principal.owner, principal.token)
