"""Which live token a key opens, from memory, with the database's word at most a second old.

A request costs a digest and a dictionary look-up. What ends a token says so (accounts/revocation.py), and then memory
forgets it at once; what changes the database past the program is noticed within `TRUSTED_FOR`."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from channels.db import database_sync_to_async

from accounts import keys, revocation
from accounts.models import Token
from accounts.revocation import TRUSTED_FOR

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
        self.forgettings = 0  # how often something was forgotten; what was found out before may be out of date
        self._digest = keys.digester()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._digests: dict[int, bytes] = {}  # of the tokens in memory
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        revocation.remembers(self)

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

    def forget(self, tokens: Collection[int]) -> None:
        """These open nothing any more, from any thread: each step is one that the interpreter does not divide."""
        self.forgettings += 1
        self._asking = {}  # their word may be of before: whoever comes now does not wait for it, but asks anew
        for token in tokens:
            found = self._digests.pop(token, None)
            if found is not None:
                self._entries.pop(found, None)

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
        asking = self._asking
        if asking.get(found) is task:
            del asking[found]
        if not task.cancelled():
            task.exception()  # retrieved here: with nobody waiting it would be logged as lost

    async def _look_up(self, found: bytes) -> Principal | None:
        asked, forgettings = time.monotonic(), self.forgettings
        token = await database_sync_to_async(self._usable, thread_sensitive=False)(found)
        if token is None:
            if entry := self._entries.pop(found, None):
                self._digests.pop(entry.principal.token, None)
            return None
        principal = Principal(token.pk, token.user_id, token.name, str(token.user_id or ""))
        self._keep(found, _Entry(principal, min(asked, asked + _left(token) - TRUSTED_FOR)), forgettings)
        return principal

    def _keep(self, found: bytes, entry: _Entry, forgettings: int) -> None:
        """Unless something was forgotten since there were so many of these, before the database was asked."""
        if forgettings != self.forgettings:
            return
        self._entries[found], self._digests[entry.principal.token] = entry, found
        if len(self._entries) > MOST_KEPT:
            _, oldest = self._entries.popitem(last=False)
            self._digests.pop(oldest.principal.token, None)
        if forgettings != self.forgettings:  # another thread came in between, and may not have seen it
            self._entries.pop(found, None)

    def _usable(self, found: bytes) -> Token | None:
        return Token.objects.usable().filter(digest=found, kind=self.kind).first()

    def uses(self) -> list[tuple[int, datetime]]:
        """Tokens used since the last call, with the time of the call: good to the minute, no write per request."""
        now = datetime.now(UTC)
        used = [entry for entry in list(self._entries.values()) if entry.used]  # another thread may forget meanwhile
        for entry in used:
            entry.used = False
        return [(entry.principal.token, now) for entry in used]

    async def write_uses(self) -> None:
        """Writes the last-used times of the tokens used since the last call."""
        if uses := self.uses():
            await database_sync_to_async(Token.objects.all().touch, thread_sensitive=False)(uses)


def _left(token: Token) -> float:
    """Seconds until it expires by itself; infinite for one that does not."""
    return (token.expires_at - datetime.now(UTC)).total_seconds() if token.expires_at else float("inf")
