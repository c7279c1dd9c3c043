"""What a start waits for, what it refuses, what it clears away and what it warns of."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from privategpt.rundir import Lock
from privategpt.serving.workplace import workplace
from tests import databases, leg
from tests.patience import PATIENCE
from tests.redis_server import Redis, a_redis
from tests.running import ROOT, Server, environment, manage, migrated, runs, settled, until

NEWER = "INSERT INTO django_migrations (app, name, applied) VALUES ('relay', '9999_later', '2030-01-01 00:00:00')"
DRAFTS = """
import sys, time
from pathlib import Path
from privategpt.serving.workplace import workplace
with workplace(Path(sys.argv[1])) as folder:
    (folder / "secret_key").write_text("everything")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def redis() -> Iterator[Redis]:
    yield from a_redis()


def test_a_redis_that_is_away_is_waited_for(tmp_path: Path, redis: Redis) -> None:
    redis.kill()
    server = Server(settled(tmp_path), REDIS_URL=redis.url, START_PATIENCE="60")
    until(lambda: "Waiting for it for up to 60 s." in server.complaints, "it says that it waits")
    assert server.process.poll() is None
    redis.start()
    with server:
        assert server.get("/ready").status_code == 200


def test_a_postgresql_that_is_away_is_waited_for_and_a_wrong_word_is_not(tmp_path: Path) -> None:
    url = "postgres://nobody@127.0.0.1:1/none"
    done = manage(tmp_path, "serve", "0", DATABASE_URL=url, START_PATIENCE="1")
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr
    assert "Waiting for it for up to 1 s." in done.stderr
    assert "nothing was started" in done.stderr.splitlines()[-1]
    assert "Waiting" not in manage(tmp_path, "serve", "0", DATABASE_URL=url).stderr


@pytest.mark.parametrize("command", [("worker", "--once"), ("rehearse",), ("reindex", "--no-wait"), ("serve", "0")])
def test_nothing_runs_on_a_database_that_is_newer_than_the_program(tmp_path: Path, command: tuple[str, ...]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    databases.clone(migrated(), data)
    databases.sql(data, NEWER)
    done = manage(data, *command)
    assert done.returncode == 1
    assert "The database is newer than this program (it knows relay.9999_later)" in done.stderr
    assert "can be made" not in done.stdout


def killed_in_its_work(data: Path, parent: Path) -> Path:
    """The folder of drafts that a backup leaves which is killed."""
    program = [sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c"]
    text = DRAFTS.replace("sys.argv[1]", repr(str(parent)))
    process = subprocess.Popen([*program, text], env=environment(data), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert folder.stat().st_mode & 0o777 == 0o700
    process.kill()
    process.wait()
    process.stdout.close()
    assert (folder / "secret_key").exists()
    return folder


on_sqlite = pytest.mark.skipif(leg.SERVER is not None, reason="a copy of PostgreSQL needs pg_dump: tests/test_move.py")


@on_sqlite
def test_what_a_killed_backup_left_behind_goes_with_the_next_start_and_the_next_backup(tmp_path: Path) -> None:
    data, elsewhere = settled(tmp_path / "data"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    left = killed_in_its_work(data, elsewhere)
    with Server(data):
        assert not left.exists()
        left = killed_in_its_work(data, data)
        done = manage(data, "backup")
        assert done.returncode == 0, done.stderr
        assert not left.exists()
    assert list((data / ".run" / "drafts").iterdir()) == []
    assert [path.name for path in data.rglob(".work-*")] == []


@on_sqlite
def test_a_backup_that_is_under_way_keeps_its_drafts(tmp_path: Path) -> None:
    data = settled(tmp_path / "data")
    program = [sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c"]
    text = DRAFTS.replace("sys.argv[1]", repr(str(data)))
    process = subprocess.Popen([*program, text], env=environment(data), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    try:
        assert manage(data, "backup").returncode == 0
        assert (folder / "secret_key").exists()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_name_whose_note_somebody_else_has_is_not_taken(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = tmp_path
    names = iter(["theirs", "ours"])
    monkeypatch.setattr(secrets, "token_hex", lambda _size: next(names))
    (tmp_path / ".run" / "drafts").mkdir(parents=True)
    theirs = Lock(tmp_path / ".run" / "drafts" / ".work-theirs")
    assert theirs.take()
    with workplace(tmp_path) as folder:
        assert folder.name == ".work-ours"
    theirs.release()


def test_a_secret_that_others_may_write_is_warned_of(tmp_path: Path) -> None:
    with Server(settled(tmp_path)) as server:
        assert "Others on this machine" not in server.complaints
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    (tmp_path / "secret_key").chmod(0o666)
    with Server(tmp_path) as server:
        line = f"may change {tmp_path / 'secret_key'}; `chmod 600 {tmp_path / 'secret_key'}` keeps it private."
        assert line in server.complaints


def test_who_waits_for_ready_can_sign_in(tmp_path: Path) -> None:
    login = {"email": "root@example.org", "password": "a long enough password"}
    settings = {"ADMIN_EMAIL": login["email"], "ADMIN_PASSWORD": login["password"]}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    server = Server(settled(tmp_path), port, **settings)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) as client:
        until(lambda: is_ready(client), "it is ready")
        assert client.post("/api/v1/login", json=login).status_code == 200
        with server:
            marker = Lock(tmp_path / ".run" / "first_start")
            assert marker.take()
            found = client.get("/ready")
            assert (found.status_code, found.json()) == (503, {"error": "The first start is under way."})
            marker.release()  # as when it was killed: somebody can sign in
            assert client.get("/ready").status_code == 200


def is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return client.get("/ready").status_code == 200
    return False


def test_ready_names_a_part_that_is_not_there(tmp_path: Path) -> None:
    with Server(settled(tmp_path)) as server:
        worker = next(pid for pid, line in server.command_lines().items() if line.rstrip().endswith("worker"))
        until(lambda: server.get("/ready").json() == {"status": "ready"}, "all is well")
        os.kill(worker, signal.SIGKILL)
        until(lambda: not runs(worker), "it is gone")
        told = {"status": "ready", "details": ["The ingest worker is down and starts again."]}
        until(lambda: server.get("/ready").json() == told, "it is told")
        until(lambda: server.get("/ready").json() == {"status": "ready"}, "all is well again")


def test_at_the_limit_of_open_files_a_connection_is_refused_in_words(tmp_path: Path) -> None:
    limited = ("prlimit", "--nofile=256:256")
    with Server(settled(tmp_path), before=limited, LOG_LEVEL="ERROR") as server:
        port = int(server.url.rpartition(":")[2])
        clients = [
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) for _ in range(300)
        ]
        try:
            statuses = [client.get("/health").status_code for client in clients]
        finally:
            for client in clients:
                client.close()
        assert set(statuses) == {200, 503}
        assert statuses[:100] == [200] * 100
        assert "new connections are refused (503)" in server.complaints
        assert "database" not in server.complaints.lower()
        until(lambda: server.get("/ready").status_code == 200, "it recovers")
