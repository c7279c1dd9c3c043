"""The web server alone, as a process with a data folder of its own, and the doors that tests come through."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

import httpx

from tests import databases, reports
from tests.once import made_once
from tests.patience import PATIENCE
from tests.running import ROOT, cpu_seconds, environment, migrated
from tests.socket_agent import Behaviour, FakeAgent, echo, until

REGISTER = "/client/register"
# One process for all of it; `manage.py token` does no more.
MADE_BY = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()
from django.core.management import call_command
for _ in range(3):
    call_command("token", kind="agent")
"""


@cache
def template() -> Path:
    """A data folder with secrets, a migrated database and agent tokens, to be copied: making one takes seconds."""
    return made_once("with-agent-keys", _fill)


def _fill(folder: Path) -> None:
    databases.clone(migrated(), folder)
    done = subprocess.run(
        [sys.executable, "-c", MADE_BY], env=environment(folder), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder / "agent_keys").write_text(done.stdout)


class Web:
    """`manage.py serve --only web` until the end of the `with` block; it can be killed and started again."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.settings = settings
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.process = self._started()
        reports.has_log(self, f"the web server in {data}", (data / "log").read_text)

    def _started(self) -> subprocess.Popen[bytes]:
        """It inherits the socket, as from the supervisor: what is asked meanwhile waits in the backlog."""
        number = self.listener.fileno()
        with (self.data / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve", "--only", "web"],
                env=environment(self.data, **self.settings, SWITCHBOARD_SOCKET=str(number)),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(number,),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.listener.close()
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """kill -9, and a new start."""
        self.process.kill()
        self.process.wait()
        self.process = self._started()

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return (self.data / "log").read_text()

    @property
    def admin_key(self) -> str:
        return (self.data / "admin_key").read_text().strip()

    @property
    def agent_keys(self) -> list[str]:
        """Keys of agent tokens."""
        return (self.data / "agent_keys").read_text().split()

    def computed(self) -> float:
        """Seconds of processor time that it has taken so far, whatever else the machine does."""
        return cpu_seconds(self.process.pid)

    def memory(self) -> int:
        """The process's resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) << 10

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Straight into its database, as another process of the house would."""
        return databases.sql(self.data, statement, *values)


def copied(source: Path, target: Path) -> Path:
    """The template's files in a new folder."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    databases.clone(source, target)
    return target


class Door:
    """A test's way in to one server: asks by HTTP, agents by websocket."""

    def __init__(self, web: Web, client: httpx.AsyncClient) -> None:
        self.web = web
        self.http = client

    async def user(self) -> str:
        """The relay token of a new user."""
        reply = await self.http.post("/admin/users/add", json={"admin_key": self.web.admin_key})
        return str(reply.json()["token"])

    async def ask(self, content: str = "Why?", token: str | None = None, **fields: str) -> httpx.Response:
        """An ask, with the admin key if no token is given."""
        headers = {"Authorization": token or self.web.admin_key}
        return await self.http.post("/api/ask", headers=headers, json={"content": content, **fields})

    def asking(self, content: str = "Why?", token: str | None = None, **fields: str) -> asyncio.Task[httpx.Response]:
        """The same in the background."""
        return asyncio.get_running_loop().create_task(self.ask(content, token, **fields))

    async def listed(self) -> list[str]:
        """Connection ids of the listed agents."""
        found = (await self.http.get("/api/connections")).json()["connections"]
        return [agent["Id"] for agent in found]

    async def until_list(self, condition: Callable[[list[str]], object]) -> None:
        """Waits until the ids of the listed agents are so."""
        deadline = time.monotonic() + PATIENCE
        while not condition(found := await self.listed()):
            assert time.monotonic() < deadline, f"the list stays {found}"
            await asyncio.sleep(0.01)

    async def until_listed(self, *agent_ids: str) -> None:
        await self.until_list(lambda found: set(agent_ids) <= set(found))

    async def until_unlisted(self, *agent_ids: str) -> None:
        await self.until_list(lambda found: set(agent_ids).isdisjoint(found))

    async def until_logged(self, text: str) -> None:
        await until(lambda: text in self.web.log, f"{text!r} in the log")

    def url(self, path: str = REGISTER) -> str:
        return f"ws://{self.web.address}{path}"

    @asynccontextmanager
    async def agent(
        self, behaviour: Behaviour = echo, *, path: str = REGISTER, listed: bool = True, **how: Any
    ) -> AsyncIterator[FakeAgent]:
        """An agent that is listed, until the end of the block (see FakeAgent.dial for the rest)."""
        agent = await FakeAgent.dial(self.url(path), behaviour, **how)
        try:
            if listed:
                await self.until_listed(agent.id)
            yield agent
        finally:
            await agent.end()

    @asynccontextmanager
    async def agents(self, *behaviours: Behaviour, **how: Any) -> AsyncIterator[list[FakeAgent]]:
        """Several of them, in this order."""
        found = []
        try:
            for behaviour in behaviours:
                found.append(await FakeAgent.dial(self.url(), behaviour, **how))
                await self.until_listed(found[-1].id)
            yield found
        finally:
            for agent in found:
                await agent.end()


@asynccontextmanager
async def door_to(web: Web) -> AsyncIterator[Door]:
    """A client of this test's own loop; `verify` off spares reading certificates that plain HTTP has no use for."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"http://{web.address}",
        trust_env=False,
        verify=False,  # noqa: S501
        timeout=PATIENCE * 2,
        limits=limits,
    ) as client:
        door = Door(web, client)
        await door.until_list(lambda found: not found)  # those of other tests have left
        yield door
