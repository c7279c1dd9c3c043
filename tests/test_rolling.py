"""Two machines behind the real proxies, restarted by SIGTERM one after the other while people ask: nobody notices."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from websockets.exceptions import WebSocketException

from tests import reports
from tests.patience import PATIENCE
from tests.proxies import NAME, PROXIES, Proxy
from tests.redis_server import Redis, a_redis
from tests.running import ROOT, environment, manage, settled, until
from tests.test_drain import events
from tests.test_proxy import LOGIN, outside, way
from tests.wire_agent import Asked, WireAgent


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    yield from a_redis()


SLOW = "Tell me slowly"
PIECES = [f"Piece {number}. " for number in range(12)]


class Machine:
    """`manage.py serve --only web` at a port of its own."""

    def __init__(self, data: Path, redis: Redis) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self._data = data
        self._settings = {
            "REDIS_URL": redis.url,
            "BEHIND_TLS": "on",
            "METRICS_FROM_LOOPBACK": "on",
            "ALLOWED_HOSTS": f"{NAME},127.0.0.1",
            "LLM_BACKEND": "relay",
        }

    def __enter__(self) -> Self:
        place = self._data / f"log-{self.port}"
        reports.has_log(self, f"the machine at {self.port}", place.read_text)
        with place.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve", str(self.port), "--only", "web"],
                env=environment(self._data, **self._settings),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: self._get("/ready") == "200", "it is ready")
        return self

    def __exit__(self, *fault: object) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """As an administrator does; returns when the proxy has come back to it."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.__enter__()
        until(lambda: "ask_replies_total{" in self._get("/metrics", text=True), "the proxy asks it again")

    def _get(self, path: str, *, text: bool = False) -> str:
        headers = {"X-Forwarded-Proto": "https"} if path == "/ready" else {}
        with suppress(httpx.HTTPError):
            reply = httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, trust_env=False, timeout=PATIENCE)
            return reply.text if text else str(reply.status_code)
        return ""


class Agent(threading.Thread):
    """Dials in through the proxy, and again whenever it is sent away."""

    def __init__(self, proxy: Proxy, key: str) -> None:
        super().__init__(daemon=True)
        self._proxy, self._key = proxy, key
        self._over = threading.Event()
        self._story: deque[str] = deque(maxlen=400)
        reports.has_log(self, "an agent", partial("\n".join, self._story))
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.05):
            try:
                self._serve()
            except (OSError, WebSocketException) as fault:
                self._note(repr(fault))
            except BaseException as fault:
                self._note(repr(fault))
                raise

    def _serve(self) -> None:
        url = f"ws://{NAME}/agent/{self._key}/client/register"
        self._note("dials")
        with WireAgent(url, self._answer, declares='{"concurrency": 16, "stream": true}', **way(self._proxy)) as agent:
            self._note(f"is {agent.id}")
            while agent.is_connected and not self._over.wait(0.05):
                pass

    def _note(self, what: str) -> None:
        self._story.append(f"{time.time():.3f} {what}")

    def _answer(self, agent: WireAgent, asked: Asked) -> None:
        if SLOW in asked.content:
            threading.Thread(target=self._answer_slowly, args=(agent, asked), daemon=True).start()
        else:
            agent.answer(asked, f"About {asked.content[:20]}")

    def _answer_slowly(self, agent: WireAgent, asked: Asked) -> None:
        for piece in PIECES:
            agent.say(asked.frame, "ChatGptDelta", piece)
            self._over.wait(0.2)  # an answer as slow as a model's
        agent.answer(asked, "".join(PIECES))

    def end(self) -> None:
        self._over.set()
        self.join(PATIENCE)


class Load:
    """Asks and chats without a pause, on kept connections; what was no 200 is in `failed`."""

    def __init__(self, proxy: Proxy, admin_key: str) -> None:
        self.failed: list[str] = []
        self.done = 0
        self._over = threading.Event()
        with outside(proxy) as visitor:
            token = visitor.post("/api/v1/login", json=LOGIN).json()["data"]["token"]
        admin, ada = {"Authorization": admin_key}, {"Authorization": f"Bearer {token}"}
        self.read = 0
        sends: list[Callable[[httpx.Client], None]] = [
            *[lambda client: self._good(client.post("/api/ask", headers=admin, json={"content": "Ducks?"}))] * 4,
            *[lambda client: self._good(client.post("/api/v1/chats", headers=ada, json={"question": "Geese?"}))] * 2,
            *[lambda client: self._follow(client, ada)] * 2,
        ]
        self._threads = [threading.Thread(target=self._run, args=(proxy, send), daemon=True) for send in sends]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.done > 20, "some were answered")
        return self

    def __exit__(self, *fault: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _good(self, reply: httpx.Response) -> None:
        if reply.status_code >= 300:
            self.failed.append(f"{reply.request.url.path}: {reply.status_code} {reply.text[:200]}")

    def _follow(self, client: httpx.Client, headers: dict[str, str]) -> None:
        """A slow answer to its end, as a browser does: where the stream breaks, from its last event on."""
        asks: dict[str, Any] = {"method": "POST", "url": "/api/v1/chats", "json": {"question": SLOW}}
        told, place, chat = "", "", ""
        while True:
            known = {"Last-Event-ID": place} if place else {}
            with client.stream(**asks, headers=headers | {"Accept": "text/event-stream"} | known) as stream:
                if stream.status_code >= 300:
                    stream.read()
                    return self._good(stream)
                for event in events(stream.iter_lines()):
                    place = event.get("id", place)
                    data = event["data"]
                    chat = data.get("chatId", chat)
                    told += data.get("text", "")
                    if event["event"] in {"done", "error"}:
                        self.read += 1
                        if event["event"] == "error" or told != "".join(PIECES):
                            self.failed.append(f"{told!r}, then {event}")
                        return None
            asks = {"method": "GET", "url": f"/api/v1/chats/{chat}"}

    def _run(self, proxy: Proxy, send: Callable[[httpx.Client], None]) -> None:
        with outside(proxy) as client:
            while not self._over.is_set():
                try:
                    send(client)
                except httpx.HTTPError as fault:
                    self.failed.append(repr(fault))
                self.done += 1
                time.sleep(0.01)  # the load, not a wait


@contextmanager
def agents(proxy: Proxy, keys: list[str]) -> Iterator[None]:
    running = [Agent(proxy, key) for key in keys]
    yield
    for each in running:
        each.end()


@pytest.mark.parametrize("kind", PROXIES, ids=lambda kind: str(kind.name))
def test_four_restarts_by_sigterm_fail_nobody(tmp_path: Path, redis: Redis, kind: type[Proxy]) -> None:
    if not kind.program():
        pytest.skip(f"{kind.name} is not installed (Debian: apt install {kind.package})")
    data = settled(tmp_path / "data")
    done = manage(data, "setup", ADMIN_EMAIL=LOGIN["email"], ADMIN_PASSWORD=LOGIN["password"])
    assert done.returncode == 0, done.stderr
    keys = [manage(data, "token", "--kind", "agent").stdout.strip() for _ in range(2)]
    with ExitStack() as stack:
        machines = [stack.enter_context(Machine(data, redis)) for _ in range(2)]
        (tmp_path / "proxy").mkdir()
        proxy = stack.enter_context(kind(tmp_path / "proxy", *(machine.port for machine in machines)))
        stack.enter_context(agents(proxy, keys))
        until(lambda: connected(proxy, data) == len(keys), "the agents are there")
        with Load(proxy, (data / "admin_key").read_text().strip()) as load:
            for machine in [*machines, *machines]:
                machine.restart()
                until(lambda: connected(proxy, data) == len(keys), "the agents are back")
    assert load.done > 100
    assert load.read > 10
    assert load.failed == []


def connected(proxy: Proxy, data: Path) -> int:
    with outside(proxy) as visitor:
        key = (data / "admin_key").read_text().strip()
        return len(re.findall('"Id"', visitor.get("/api/connections", headers={"Authorization": key}).text))
