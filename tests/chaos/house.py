"""The whole of Switchboard under a storm: `serve` with its parts, agents as processes, and its stores."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg

from tests.patience import PATIENCE
from tests.postgres import Postgres
from tests.redis_server import Redis
from tests.running import ROOT, Server, environment, until

LOGIN = {"email": "root@example.com", "password": "a long enough password"}
QUICK = {"AGENT_TIMEOUT": "20", "QUEUE_WAIT": "20", "ASK_TIMEOUT": "60"}


class House:
    """Runs until the end of the `with` block; `postgres` and `redis` are None on a single machine with SQLite."""

    def __init__(self, folder: Path, postgres: Postgres | None = None, redis: Redis | None = None) -> None:
        self.postgres, self.redis = postgres, redis
        settings = QUICK | {"ADMIN_EMAIL": LOGIN["email"], "ADMIN_PASSWORD": LOGIN["password"]}
        # Left to itself it quotes where no agent is there, as for a moment after a web process died.
        settings["LLM_BACKEND"] = "relay"
        arguments = ["0"]
        if postgres:
            postgres.execute("CREATE DATABASE storm")
            settings["DATABASE_URL"] = postgres.url("storm")
        if redis:
            settings["REDIS_URL"] = redis.url
            arguments += ["--web", "2"]
        self.server = Server(folder / "data", *arguments, **settings)
        self.agents: list[subprocess.Popen[bytes]] = []
        self._folder = folder

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        for agent in self.agents:
            agent.send_signal(signal.SIGCONT)
            agent.kill()
            agent.wait()
        self.server.__exit__(None, None, None)

    # -- who is there ---------------------------------------------------------------------------

    def add_agents(self, count: int) -> subprocess.Popen[bytes]:
        """A process with so many echoing agents, which dial in by and by."""
        url = self.server.url.replace("http", "ws") + "/client/register"
        program = [sys.executable, "-m", "tests.chaos.agent", url, str(count)]
        agent = subprocess.Popen(program, cwd=ROOT, env=environment(self._folder), stdin=subprocess.DEVNULL)
        self.agents.append(agent)
        return agent

    def connected(self) -> int:
        """How many agents the server counts; 0 while it does not say."""
        try:
            listed = self.server.get("/api/connections").json()["connections"]
        except (httpx.HTTPError, ValueError, KeyError):
            return 0
        return len(listed)

    def until_connected(self, count: int) -> None:
        """Waits for so many agents."""
        until(lambda: self.connected() >= count, f"{count} agents are connected")

    def asker(self) -> str:
        """A relay key of a new user."""
        body = {"admin_key": self.server.key}
        reply = httpx.post(f"{self.server.url}/admin/users/add", json=body, trust_env=False, timeout=PATIENCE)
        return str(reply.json()["token"])

    def token(self) -> str:
        """An API token of the administrator."""
        reply = httpx.post(f"{self.server.url}/api/v1/login", json=LOGIN, trust_env=False, timeout=PATIENCE)
        return str(reply.json()["data"]["token"])

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the database itself holds."""
        if self.postgres:
            with psycopg.connect(self.postgres.url("storm")) as connection:
                return connection.execute(statement.encode()).fetchall()
        with closing(sqlite3.connect(self.server.data / "switchboard.sqlite3", timeout=10)) as database:
            return database.execute(statement).fetchall()

    # -- what strikes ---------------------------------------------------------------------------

    def pids(self, part: str) -> list[int]:
        """Processes of a part, by a word of their command line."""
        return sorted(pid for pid in self.server.children() if part in _command_line(pid))

    def kill(self, part: str) -> None:
        """kill -9 of one process of a part; it is started again by its supervisor."""
        found = self.pids(part)
        assert found, f"{part} does not run: {self.server.command_lines()}"
        os.kill(found[0], signal.SIGKILL)
        until(lambda: found[0] not in self.pids(part) and len(self.pids(part)) == len(found), f"{part} runs again")

    def kill_agents(self, which: int) -> None:
        """kill -9 of a process with agents; another takes its place."""
        self.agents[which].kill()
        self.agents[which].wait()
        self.agents[which] = self.add_agents(2)
        self.agents.pop()

    def pause_agents(self, which: int) -> None:
        """Their sockets stay open and nothing comes from them."""
        self.agents[which].send_signal(signal.SIGSTOP)

    def wake_agents(self, which: int) -> None:
        self.agents[which].send_signal(signal.SIGCONT)


def _command_line(pid: int) -> str:
    """Its arguments; empty when it is gone already."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
