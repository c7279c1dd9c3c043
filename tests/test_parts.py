"""The parts apart, as compose.yml starts them: each `serve --only PART` by itself, on PostgreSQL and Redis."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from privategpt.llm.embedded import available
from tests.patience import PATIENCE
from tests.postgres import Postgres
from tests.redis_server import Redis, a_redis
from tests.running import ROOT, Server, environment, manage, until

LOGIN = {"email": "root@example.com", "password": "a long enough password"}
pytestmark = pytest.mark.skipif(bool(available()), reason="the built-in model is not installed (`make model`)")


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    yield from a_redis()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="switchboard-parts-"))  # pytest's own are for this user alone
    server = Postgres(folder / "data")
    yield server
    server.end()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis: Redis) -> Iterator[Server]:
    """Everything runs: two web processes, a worker, the embedder, the agent, with one data folder."""
    data = Path(tempfile.mkdtemp(prefix="parts-"))  # short: the embedder's socket lies in it
    settings = {
        "DATABASE_URL": postgres.url(),
        "REDIS_URL": redis.url,
        "HOST": "0.0.0.0",  # noqa: S104 - as in a container
        "ADMIN_EMAIL": LOGIN["email"],
        "ADMIN_PASSWORD": LOGIN["password"],
        "BUILTIN_AGENT": "on",
        "EMBEDDER": "on",
    }
    (data / "manual.json").write_text("{}")  # the manual stays away: embedding it takes a minute of a busy machine
    done = manage(data, "setup", **settings)
    assert done.returncode == 0, done.stderr
    with ExitStack() as stack:
        server = stack.enter_context(Server(data, "0", "--only", "web", "--web", "2", **settings))
        port = server.url.rpartition(":")[2]
        for part in ("worker", "embedder", "agent"):
            stack.enter_context(running(part, environment(data, **settings, PORT=port)))
        yield server
    shutil.rmtree(data)


class running:  # noqa: N801 - reads as a verb in a `with`
    """`manage.py serve --only PART` to the end of the block; it has to end at SIGTERM."""

    def __init__(self, part: str, settings: dict[str, str]) -> None:
        program = [sys.executable, str(ROOT / "manage.py"), "serve", "--only", part]
        self._process = subprocess.Popen(program, cwd=ROOT, env=settings, stdin=subprocess.DEVNULL)

    def __enter__(self) -> None:
        assert self._process.poll() is None

    def __exit__(self, *fault: object) -> None:
        os.kill(self._process.pid, signal.SIGTERM)
        assert self._process.wait(PATIENCE) in {0, -signal.SIGTERM}


def test_the_agent_dials_in_with_a_token_and_answers_the_quick_start(web: Server) -> None:
    until(lambda: web.ask("Hello world").status_code == 200, "the built-in model answers")
    assert web.ask("What is the capital of France?").json()["content"]


def test_a_source_is_embedded_by_the_worker_and_found_by_its_meaning(web: Server) -> None:
    with httpx.Client(base_url=web.url, trust_env=False, timeout=PATIENCE) as client:
        token = client.post("/api/v1/login", json=LOGIN).json()["data"]["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        body = {"title": "Pumps", "content": "# Care\n\nThe pumps are oiled every Friday.", "groups": []}
        source = client.post("/api/v1/sources", json=body).json()["data"]["documentId"]

        def state() -> str:
            return str(client.get(f"/api/v1/sources/{source}").json()["data"]["state"])

        until(lambda: state() == "vectorized", "the source is vectorized")
        question = {"question": "How often are the pumps oiled?", "usePublic": True}
        reply = client.post("/api/v1/chats", json=question).json()
    assert "Friday" in reply["data"]["answer"], reply


def test_both_web_processes_serve(web: Server) -> None:
    processes = [line for line in web.command_lines().values() if "--only web" in line]
    assert len(processes) == 2
    assert httpx.get(f"{web.url}/ready", trust_env=False, timeout=PATIENCE).status_code == 200
