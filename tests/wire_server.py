"""The web server alone, as a process with a data folder of its own, and a client that sends exact bytes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from tests import databases, reports
from tests.contract1 import Pair
from tests.patience import PATIENCE
from tests.running import ROOT, environment, manage, until
from tests.wire_agent import Script, WireAgent, echo


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may ask."""

    id: str
    token: str


@dataclass(frozen=True, slots=True)
class RawReply:
    """An answer as it came over the socket."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return dict(self.headers).get(name, "")


class Web:
    """`manage.py serve --only web` until the end of the `with` block."""

    def __init__(self, data: Path, database: Path, **settings: str) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        databases.clone(database, data)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        number = listener.fileno()
        with listener, (data / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program(number)],
                env=environment(data, SWITCHBOARD_SOCKET=str(number), **settings),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(number,),
            )
        reports.has_log(self, f"the web server in {data}", (data / "log").read_text)
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE)

    def program(self, listener: int) -> list[str]:
        """What Python runs; `listener` is the open socket's descriptor."""
        return [str(ROOT / "manage.py"), "serve", "--only", "web"]

    def __enter__(self) -> Self:
        # The socket listens already: the request waits in its backlog until the server is there.
        assert self.http.get("/health").text == "OK", self.log
        return self

    def __exit__(self, *fault: object) -> None:
        self.end()

    def end(self) -> None:
        """Ends it as a service manager would; a second call does nothing."""
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        """What it wrote to standard output and standard error."""
        return (self.data / "log").read_text()

    @property
    def admin_key(self) -> str:
        """The key in the data folder."""
        return (self.data / "admin_key").read_text().strip()

    # -- who asks -------------------------------------------------------------------------------

    def user(self) -> User:
        """A new user with a relay token, made through the admin route."""
        found = self.http.post("/admin/users/add", json={"admin_key": self.admin_key}).json()
        return User(found["user_id"], found["token"])

    def delete(self, user: User) -> httpx.Response:
        return self.http.post("/admin/users/delete", json={"admin_key": self.admin_key, "user_id": user.id})

    def key(self, *arguments: str) -> str:
        """What `manage.py token ARGUMENTS` prints."""
        done = manage(self.data, "token", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Straight into its database, as another process of the same house would."""
        return databases.sql(self.data, statement, *values)

    # -- asking ---------------------------------------------------------------------------------

    def ask(self, token: str, content: str = "Why?", **fields: str) -> httpx.Response:
        return self.post(token, json.dumps({"content": content, **fields}).encode())

    def post(self, token: str, body: bytes, **headers: str) -> httpx.Response:
        """An ask whose body need not be JSON. Underscores in header names stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/api/ask", content=body, headers={"Authorization": token, **named})

    def raw(self, *pieces: bytes, shut: bool = False) -> list[RawReply]:
        """Sends these bytes on a connection of their own; all answers until the server closes it.

        The last request has to say `Connection: close`, or be one that the server does not forgive.
        """
        with self.connection() as wire:
            for piece in pieces:
                wire.sendall(piece)
            if shut:
                wire.shutdown(socket.SHUT_WR)
            return replies(wire)

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as wire:
            yield wire

    # -- who answers ----------------------------------------------------------------------------

    @contextmanager
    def agent(self, script: Script = echo, *, declares: str = "") -> Iterator[WireAgent]:
        """An agent of this machine, listed; unlisted again when the block ends."""
        with WireAgent(f"ws://127.0.0.1:{self.port}/client/register", script, declares=declares) as agent:
            until(lambda: agent.id in self.agents(), "the agent is listed")
            yield agent
        until(lambda: agent.id not in self.agents(), "the agent is unlisted")

    def agents(self) -> list[str]:
        """Connection ids of the listed agents."""
        return [found["Id"] for found in self.http.get("/api/connections").json()["connections"]]


class Daphne(Web):
    """The same application in the other server program."""

    def program(self, listener: int) -> list[str]:
        return ["-m", "daphne", "-v", "0", "--fd", str(listener), "project.asgi:application"]


def replies(wire: socket.socket) -> list[RawReply]:
    """Every answer until the other side closes; interim ones are left out."""
    received = b""
    try:
        while part := wire.recv(1 << 16):
            received += part
    except ConnectionResetError:
        pass  # closed with bytes of ours unread
    found = []
    while received:
        head, received = received.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name.lower(), value.strip()) for name, value in (line.split(":", 1) for line in lines)]
        length = int(dict(headers)["content-length"])
        status, body, received = int(first.split()[1]), received[:length], received[length:]
        if status >= 200:
            found.append(RawReply(status, headers, body))
    return found


class Asking(threading.Thread):
    """A request in the background."""

    def __init__(self, work: Callable[[], httpx.Response]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._reply: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        """The thread's work."""
        with suppress(httpx.HTTPError):
            self._reply = self._work()

    @property
    def reply(self) -> httpx.Response:
        """Waits for it."""
        self.join(PATIENCE)
        assert self._reply is not None, "no answer"
        return self._reply


def shows(web: Web, pair: Pair, user: User) -> None:
    """Sends a recorded request and compares the whole reply with the record."""

    def real(text: str) -> str:
        return text.replace("TOKEN", user.token).replace("ADMIN-KEY", web.admin_key)

    method, path = real(pair.request).split(" ", 1)
    body = real(pair.body.decode("latin-1")).encode("latin-1")
    sent = {name: real(value) for name, value in pair.sent.items()}
    found = web.http.request(method, path, content=body or None, headers=sent)
    assert (found.status_code, found.content) == (pair.status, pair.reply)
    for name, value in pair.headers.items():
        assert found.headers.get(name, "") == value, name
    assert found.headers["x-request-id"]
