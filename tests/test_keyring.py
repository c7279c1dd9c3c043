"""What a process remembers of keys, while other threads have it forget them."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync

from accounts import keyring
from accounts.keyring import KeyRing
from accounts.models import Token, User

pytestmark = pytest.mark.django_db(transaction=True)


def elsewhere(ring: KeyRing, token: Token) -> None:
    """Another thread ends it, right now."""
    thread = threading.Thread(target=ring.forget, args=([token.pk],))
    thread.start()
    thread.join()


def test_what_is_forgotten_while_it_is_looked_up_is_not_kept(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the last moment, when the database has said its word."""
    _, key = Token.objects.issue(Token.Kind.RELAY, alice, days=1)

    ring = KeyRing(Token.Kind.RELAY)

    def late(found: Token) -> float:
        elsewhere(ring, found)
        return timedelta(days=1).total_seconds()

    monkeypatch.setattr(keyring, "_left", late)

    async def asked() -> None:
        assert await ring.find(key.encode())
        assert ring.known(key.encode()) is None

    async_to_sync(asked)()


class Slow(keyring._Entry):
    """While it is looked at, another thread has its token forgotten."""

    ring: KeyRing
    token: Token

    def __getattribute__(self, name: str) -> object:
        if name == "used":
            elsewhere(type(self).ring, type(self).token)
        return super().__getattribute__(name)


def test_uses_are_listed_while_another_thread_forgets(alice: User) -> None:
    ring = KeyRing(Token.Kind.RELAY)
    made = [Token.objects.issue(Token.Kind.RELAY, alice) for _ in range(3)]

    async def known() -> None:
        for _, key in made:
            assert await ring.find(key.encode())

    async_to_sync(known)()
    Slow.ring, Slow.token = ring, made[1][0]
    found, entry = next(iter(ring._entries.items()))
    ring._entries[found] = Slow(entry.principal, entry.checked)
    assert {token for token, _ in ring.uses()} == {token.pk for token, _ in made}
