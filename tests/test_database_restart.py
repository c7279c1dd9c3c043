"""PostgreSQL goes away and comes back: 503 for so long, then all is well without a restart of ours (fault 15)."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests import leg
from tests.running import manage, until
from tests.wire_agent import echo
from tests.wire_server import User, Web

pytestmark = pytest.mark.skipif(leg.SERVER is None, reason="SQLite is a file")

if leg.SERVER is not None:
    from tests.postgres import Postgres

RECOVERY = 10.0  # seconds, at most
UNVERIFIED = {"error": "Failed to verify API key"}  # contract 1's word (with status 500) when keys cannot be read


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One of these tests' own: they end it."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-restart-"))
    server = Postgres(folder / "data")
    server.execute("CREATE DATABASE chats")
    yield server
    server.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def web(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    data = tmp_path_factory.mktemp("restart")
    url = postgres.url("chats")
    assert manage(data, "migrate", DATABASE_URL=url).returncode == 0
    with Web(data, empty_sqlite, DATABASE_URL=url) as found:
        yield found


@pytest.fixture(scope="module")
def asker(web: Web) -> User:
    return web.user()


def connections(postgres: Postgres) -> list[str]:
    """The states of the server's connections to its database."""
    with psycopg.connect(postgres.url()) as connection:
        rows = connection.execute("SELECT state FROM pg_stat_activity WHERE datname = 'chats'").fetchall()
    return [str(state) for (state,) in rows]


def answers(web: Web, asker: User) -> bool:
    """Whether an ask that opens a conversation comes back with its answer."""
    return web.ask(asker.token).status_code == 200


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_asks_are_answered_again_soon_after_its_return(postgres: Postgres, web: Web, asker: User, how: str) -> None:
    with web.agent(echo):
        kept = web.post(asker.token, b'{"content":"Why?"}', Idempotency_Key=how)
        assert kept.status_code == 200
        getattr(postgres, how)()
        assert web.http.get("/ready").status_code == 503
        refused = web.ask(asker.token)
        assert refused.status_code == 503 or refused.json() == UNVERIFIED
        postgres.start()
        back = time.monotonic()
        until(lambda: answers(web, asker), "an ask is answered")
        until(lambda: web.http.get("/ready").status_code == 200, "the server is ready")
        assert time.monotonic() - back < RECOVERY
        again = web.post(asker.token, b'{"content":"Why?"}', Idempotency_Key=how)
        assert again.content == kept.content  # what was answered had been committed


def test_a_page_says_503_meanwhile(postgres: Postgres, web: Web) -> None:
    postgres.stop()
    try:
        found = web.http.get("/", headers={"Cookie": "sessionid=" + "x" * 32, "Accept": "text/html"})
    finally:
        postgres.start()
    assert found.status_code == 503
    assert found.headers["Retry-After"] == "5"
    assert "database" in found.text
    until(lambda: web.http.get("/ready").status_code == 200, "the server is ready")


def test_no_connection_is_left_behind(postgres: Postgres, web: Web, asker: User) -> None:
    with web.agent(echo):
        for _ in range(30):
            assert answers(web, asker)
            assert web.http.get("/ready").status_code == 200
    found = connections(postgres)
    assert len(found) <= 8
    assert not [state for state in found if "transaction" in state]
