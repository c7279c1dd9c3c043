"""`manage.py serve --web N`: several web processes behind one port, renewed one by one; and each part on its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.patience import PATIENCE
from tests.redis_server import Redis, a_redis
from tests.running import ROOT, Server, environment, manage, parents, settled, until
from tests.socket_agent import FakeAgent, echo, echo_of


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    yield from a_redis()


@pytest.mark.parametrize(
    ("arguments", "url", "said"),
    [
        (("--web", "2"), "", "set REDIS_URL"),
        ((), "unix:///no/such/socket", "No Redis answers at /no/such/socket"),
        ((), "redis://:a-password@127.0.0.1:1", "No Redis answers at 127.0.0.1:1"),
        (("--only", "web"), "unix:///no/such/socket", "No Redis answers at /no/such/socket"),
        ((), "http://127.0.0.1:6379", "REDIS_URL is no Redis URL; set it to redis://"),
        ((), "redis://127.0.0.1:many", "REDIS_URL is no Redis URL"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], url: str, said: str
) -> None:
    done = manage(tmp_path, "serve", "0", *arguments, REDIS_URL=url)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[-1:]
    assert said in line
    assert "a-password" not in done.stderr
    assert "Traceback" not in done.stderr


def webs(server: Server) -> list[int]:
    """Process ids; of those that end while we look, or have ended, none."""
    found = []
    for pid in server.children():
        with contextlib.suppress(OSError):
            if b"--only\0web" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return sorted(found)


class Asker:
    """Asks again and again, on kept connections, and keeps what came."""

    def __init__(self, server: Server) -> None:
        self._url, self._key = server.url, server.key
        self.statuses: list[int] = []
        self.is_over = False

    async def run(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=PATIENCE) as client:
            while not self.is_over:
                question = f"{number} {len(self.statuses)}"
                headers = {"Authorization": self._key}
                reply = await client.post("/api/ask", headers=headers, json={"content": question})
                self.statuses.append(reply.status_code)
                assert reply.status_code == 200, reply.text
                assert reply.json()["content"] == echo_of(question)


async def coming_back(url: str, over: asyncio.Event) -> None:
    """An agent that dials in anew whenever it is sent away."""
    kept: str | None = None
    while not over.is_set():
        try:
            agent = await FakeAgent.dial(url, echo, kept=kept, declares={"concurrency": 8})
        except OSError:
            await asyncio.sleep(0.05)
            continue
        kept = agent.id
        closed, ended = asyncio.ensure_future(agent.socket.wait_closed()), asyncio.ensure_future(over.wait())
        await asyncio.wait({closed, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (closed, ended):
            task.cancel()
        await agent.end()


def test_web_processes_are_renewed_without_a_failed_request(tmp_path: Path, redis: Redis) -> None:
    with Server(settled(tmp_path), "0", "--web", "2", REDIS_URL=redis.url) as server:
        before = webs(server)
        assert len(before) == 2
        asyncio.run(renewed(server, before))
        after = webs(server)
        assert len(after) == 2
        assert not set(before) & set(after)
        server.send(signal.SIGTERM)
        assert server.wait() == 0


async def renewed(server: Server, before: list[int]) -> None:
    over, asker = asyncio.Event(), Asker(server)
    register = f"{server.url}/client/register".replace("http", "ws")
    agents = [asyncio.create_task(coming_back(register, over)) for _ in range(2)]
    await asyncio.to_thread(until, lambda: bool(server.get("/api/connections").json()["connections"]), "an agent")
    asking = [asyncio.create_task(asker.run(number)) for number in range(4)]
    server.send(signal.SIGUSR1)
    await asyncio.to_thread(until, lambda: len(set(webs(server)) - set(before)) == 2, "both are new")
    several = len(asker.statuses) + 20
    enough = lambda: len(asker.statuses) >= several or any(task.done() for task in asking)  # noqa: E731
    await asyncio.to_thread(until, enough, "more asks")
    asker.is_over = True
    await asyncio.gather(*asking)
    over.set()
    await asyncio.gather(*agents)


def test_a_killed_web_process_comes_back_while_redis_is_away(tmp_path: Path, redis: Redis) -> None:
    with Server(settled(tmp_path), "0", "--web", "2", REDIS_URL=redis.url) as server:
        before = webs(server)
        redis.kill()
        try:
            os.kill(before[0], signal.SIGKILL)
            until(lambda: len(webs(server)) == 2 and before[0] not in webs(server), "it is there again")
            assert server.get("/ready").status_code == 200
        finally:
            redis.start()


def test_several_workers_run(tmp_path: Path) -> None:
    with Server(settled(tmp_path), "0", "--worker", "2") as server:
        workers = [line for line in server.command_lines().values() if line.rstrip().endswith("worker")]
        assert len(workers) == 2


def test_workers_alone_run_beside_a_server_at_the_same_port(tmp_path: Path) -> None:
    with Server(settled(tmp_path), "0") as server:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, str(ROOT / "manage.py"), "serve", port, "--only", "worker", "--worker", "2"]
        alone = subprocess.Popen(command, env=environment(tmp_path), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        until(lambda: len([pid for pid, parent in parents().items() if parent == alone.pid]) == 2, "two workers")
        alone.send_signal(signal.SIGTERM)
        _, said = alone.communicate(timeout=PATIENCE)
        assert (alone.returncode, said) == (0, "")
