"""The admin key cannot be found by trying, and nobody tries without being seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from pytest_django import Settings

from accounts import signlog
from accounts.models import AuditEntry
from relay.api import credentials, guesses
from relay.api.replies import Unauthorized
from tests.running import Server, manage
from tests.wire_server import Web

BEHIND = {"BEHIND_TLS": "on", "ADMIN_KEY_FAILURES": "3"}
TLS = {"X-Forwarded-Proto": "https"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    """Behind a proxy, so that a test can come from any address."""
    with Web(tmp_path_factory.mktemp("guarded"), empty_sqlite, **BEHIND) as web:
        yield web


def listed(web: Web, key: str, address: str) -> int:
    headers = TLS | {"X-Forwarded-For": address}
    return web.http.get("/admin/users", params={"admin_key": key}, headers=headers).status_code


def asked(web: Web, key: str, address: str) -> int:
    headers = TLS | {"X-Forwarded-For": address, "Authorization": key}
    return web.http.post("/api/ask", content=b"{}", headers=headers).status_code


def rows(web: Web, address: str) -> list[tuple[str, str]]:
    statement = "SELECT action, what FROM accounts_auditentry WHERE address = ? ORDER BY id"
    return [(action, what) for action, what in web.sql(statement, address)]


def test_who_guesses_is_locked_out_and_nobody_else(guarded: Web) -> None:
    guesser, other = "203.0.113.1", "203.0.113.2"
    assert [listed(guarded, f"guess {n}", guesser) for n in range(4)] == [401, 401, 401, 429]
    headers = TLS | {"X-Forwarded-For": guesser}
    found = guarded.http.get("/admin/users", params={"admin_key": guarded.admin_key}, headers=headers)
    assert (found.status_code, found.json()) == (429, {"error": "Too many wrong admin keys; try again later"})
    assert 500 < int(found.headers["Retry-After"]) <= 601
    assert listed(guarded, guarded.admin_key, other) == 200
    body = {"admin_key": guarded.admin_key}
    assert guarded.http.post("/admin/users/add", json=body, headers=headers).status_code == 429
    assert guarded.http.post("/admin/users/delete", json=body, headers=headers).status_code == 429


def test_guesses_are_logged_and_in_the_audit_log_without_the_key(guarded: Web) -> None:
    for _ in range(5):
        listed(guarded, "guess-4711", "203.0.113.3")
    assert rows(guarded, "203.0.113.3") == [
        ("wrong admin key", "admin routes"),
        ("lock admin key", "admin routes"),
    ]
    assert "Wrong admin key: admin routes, from 203.0.113.3" in guarded.log
    assert "Lock admin key: admin routes, from 203.0.113.3" in guarded.log
    assert "guess-4711" not in guarded.log


def test_one_network_of_ipv6_is_one_guesser(guarded: Web) -> None:
    assert [listed(guarded, "guess", f"2001:db8::{n}") for n in range(1, 5)] == [401, 401, 401, 429]


def test_asks_tell_a_guesser_nothing_either_and_other_keys_go_on(guarded: Web) -> None:
    guesser, user = (
        "203.0.113.4",
        guarded.http.post(
            "/admin/users/add", json={"admin_key": guarded.admin_key}, headers=TLS | {"X-Forwarded-For": "203.0.113.5"}
        ).json(),
    )
    assert asked(guarded, guarded.admin_key, guesser) == 503  # right, but there is no agent
    assert {asked(guarded, f"guess {n}", guesser) for n in range(30)} == {401}
    assert asked(guarded, guarded.admin_key, guesser) == 401
    assert asked(guarded, user["token"], guesser) == 503
    assert asked(guarded, guarded.admin_key, "203.0.113.5") == 503
    assert rows(guarded, guesser) == [("lock admin key", "asks and connections")], "a mistyped token is no guess"
    headers = TLS | {"X-Forwarded-For": guesser, "Authorization": guarded.admin_key}
    assert guarded.http.get("/api/connections", headers=headers).status_code == 401


def test_a_program_whose_token_ended_does_not_lock_the_admin_key_of_its_network(guarded: Web) -> None:
    assert {asked(guarded, "an ended token", "203.0.113.6") for _ in range(40)} == {401}
    assert asked(guarded, guarded.admin_key, "203.0.113.6") == 503


def test_guesses_from_ever_new_networks_make_few_rows(tmp_path: Path, empty_sqlite: Path) -> None:
    """On a server of its own: in the hour that follows other guesses are counted among these."""
    count = "SELECT count(*) FROM accounts_auditentry WHERE action = 'wrong admin key'"
    with Web(tmp_path, empty_sqlite, **BEHIND) as web:
        assert {listed(web, "guess", f"2001:db8:1:{n:x}::1") for n in range(40)} == {401}
        assert web.sql(count)[0][0] <= 11


@pytest.mark.django_db
def test_rows_of_guesses_end_as_those_of_sign_ins_do() -> None:
    for _ in range(2):
        guesses.admin_routes.write_down("203.0.113.7")
    AuditEntry.objects.update(at=timezone.now() - timedelta(days=400))
    assert signlog.purge() == 1


def test_a_lock_ends_whatever_is_shown_meanwhile(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ADMIN_KEY_FAILURES, settings.SIGN_IN = 3, settings.SIGN_IN | {"minutes": 10}
    now, door = 1000.0, guesses.Guesses("door")
    monkeypatch.setattr(guesses, "time", SimpleNamespace(monotonic=lambda: now))
    assert [door.wrong("203.0.113.8") for _ in range(3)] == [True, False, True]
    now = 1500.0
    assert not door.wrong("203.0.113.8")
    assert door.locked("203.0.113.8") == 101
    now = 1601.0
    assert not door.locked("203.0.113.8")
    assert door.wrong("203.0.113.8"), "the first one again"


def test_the_right_key_is_never_counted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it comes too early, and the lock ends before its look-up does."""
    door = guesses.Guesses("door")
    settings.ADMIN_KEY, settings.ADMIN_KEY_FAILURES = "the right key", 1
    monkeypatch.setattr(guesses, "asks", door)
    door.wrong("203.0.113.9")

    class Nobody:
        async def find(self, key: bytes) -> None:
            door._counts.clear()

    async def asks() -> None:
        relay: Any = SimpleNamespace(askers=Nobody())
        scope = {"client": ("203.0.113.9", 1), "headers": []}
        with pytest.raises(Unauthorized):
            await credentials.asker(relay, [b"the right key"], scope)

    async_to_sync(asks)()
    assert not door._counts


@pytest.mark.parametrize("key", ["a", "hello world", "aaaaaaaaaaaaaaaaaaaaaaaa"])
def test_a_weak_admin_key_is_taken_and_warned_of(tmp_path: Path, key: str) -> None:
    with Server(tmp_path, "0", key, BUILTIN_AGENT="off", EMBEDDER="off") as server:
        assert "The admin key can be guessed" in server.complaints
        assert server.get(f"/admin/users?admin_key={key}").status_code == 200
        assert key not in server.complaints.replace("The admin key can be guessed, and it", "") or len(key) < 3


def test_a_short_secret_key_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for short in ("x", "secret", "fifteen letters"):
        refused = manage(tmp_path, "check", SECRET_KEY=short)
        assert refused.returncode == 1
        assert f"SECRET_KEY has {len(short)} characters; the least is 16." in refused.stderr
        assert "openssl rand" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert manage(tmp_path, "check", SECRET_KEY="sixteen letters!").returncode == 0
    assert manage(tmp_path, "check").returncode == 0  # with one of its own making
