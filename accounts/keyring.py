"""Which live token a key opens, from memory, with the database's word at most a second old.

A request costs a digest and a dictionary look-up. A token that is revoked, expired or
whose user was retired, in this process or any other, is refused within `TRUSTED_FOR`."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from channels.db import database_sync_to_async

from accounts import keys
from accounts.models import Token

TRUSTED_FOR = 1.0  # seconds that the database's word on a token holds
REFRESHED_AFTER = 0.5  # seconds; asked again in the background, so that a busy token never waits
MOST_KEPT = 10_000  # tokens in memory


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token stands for. `user` is None for an agent's token that belongs to nobody."""

    token: int
    user: UUID | None
    name: str = ""
    owner: str = ""  # the user's id as text, made once


@dataclass(slots=True)
class _Entry:
    principal: Principal
    checked: float
    used: bool = True


class KeyRing:
    """The tokens of one kind that were used lately."""

    def __init__(self, kind: Token.Kind) -> None:
        self.kind = kind
        self._digest = keys.digester()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}

    def known(self, key: bytes) -> Principal | None:
        """The token's principal if memory can vouch for it; None means: ask `find`."""
        found = self._digest(key)
        entry = self._entries.get(found)
        if entry is None:
            return None
        age = time.monotonic() - entry.checked
        if age > TRUSTED_FOR:
            return None
        if age > REFRESHED_AFTER and found not in self._asking:
            self._ask(found)
        entry.used = True
        return entry.principal

    async def find(self, key: bytes) -> Principal | None:
        """The principal of a usable token, None for any other key; waits for the database when it must."""
        if not key or len(key) > keys.LONGEST_KEY:
            return None
        principal = self.known(key)
        if principal is None:
            found = self._digest(key)
            # Shielded: an asker that leaves must not take the others' look-up along.
            principal = await asyncio.shield(self._asking.get(found) or self._ask(found))
        return principal

    def _ask(self, found: bytes) -> asyncio.Task[Principal | None]:
        task = asyncio.get_running_loop().create_task(self._look_up(found))
        self._asking[found] = task
        task.add_done_callback(lambda done: self._forget(found, done))
        return task

    def _forget(self, found: bytes, task: asyncio.Task[Principal | None]) -> None:
        if self._asking.get(found) is task:
            del self._asking[found]
        if not task.cancelled():
            task.exception()  # retrieved here: with nobody waiting it would be logged as lost

    async def _look_up(self, found: bytes) -> Principal | None:
        asked = time.monotonic()
        token = await database_sync_to_async(self._usable, thread_sensitive=False)(found)
        if token is None:
            self._entries.pop(found, None)
            return None
        principal = Principal(token.pk, token.user_id, token.name, str(token.user_id or ""))
        self._entries[found] = _Entry(principal, asked)
        if len(self._entries) > MOST_KEPT:
            self._entries.popitem(last=False)
        return principal

    def _usable(self, found: bytes) -> Token | None:
        return Token.objects.usable().filter(digest=found, kind=self.kind).first()

    def uses(self) -> list[tuple[int, datetime]]:
        """Tokens used since the last call, with the time of the call: good to the minute, no write per request."""
        now = datetime.now(UTC)
        used = [(entry.principal.token, now) for entry in self._entries.values() if entry.used]
        for entry in self._entries.values():
            entry.used = False
        return used

    async def write_uses(self) -> None:
        """Writes the last-used times of the tokens used since the last call."""
        if uses := self.uses():
            await database_sync_to_async(Token.objects.all().touch, thread_sensitive=False)(uses)
