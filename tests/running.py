"""A real server in processes of its own, as a user starts it, for tests that watch it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests import databases, reports
from tests.once import made_once
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
OURS = {
    "PORT",
    "HOST",
    "ADMIN_KEY",
    "ADMIN_EMAIL",
    "ADMIN_PASSWORD",
    "SECRET_KEY",
    "DATA_DIR",
    "DATABASE_URL",
    "ALLOWED_HOSTS",
    "DEBUG",
    "REDIS_URL",
    "PYTHONDONTWRITEBYTECODE",  # or each of a hundred servers compiles all packages anew
}


def environment(data: Path, **extra: str) -> dict[str, str]:
    """The tests' own environment, without settings of whoever runs them."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    kept |= databases.settings(data)
    kept |= {"DATA_DIR": str(data), "BUILTIN_AGENT": "off", "EMBEDDER": "off", "PYTHONUNBUFFERED": "1"}
    return kept | {"START_PATIENCE": "0"} | extra  # what is away in a test stays away


def manage(data: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """`manage.py ARGUMENTS` to its end."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=environment(data, **extra),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@cache
def migrated() -> Path:
    """A data folder with a migrated database, for `databases.clone`: migrating takes seconds."""
    return made_once("migrated", _migrate)


def _migrate(folder: Path) -> None:
    done = manage(folder, "migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr


def settled(data: Path) -> Path:
    """The folder, with what a first start spends its time on: a migrated database, and the manual noted as loaded.

    For tests that a first start is only the way to. No tables hold a row."""
    data.mkdir(parents=True, exist_ok=True)
    databases.clone(migrated(), data)
    (data / "manual.json").write_text("{}")  # and no group for it: it stays away
    return data


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for it. Raises AssertionError when it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


class Server:
    """`manage.py serve`, from the start to the end of the `with` block."""

    def __init__(self, data: Path, *arguments: str, before: Sequence[str] = (), **extra: str) -> None:
        """`before` is a command that runs the command behind it."""
        self.data = data
        self.process = subprocess.Popen(
            [*before, sys.executable, str(ROOT / "manage.py"), "serve", *(arguments or ("0",))],
            env=environment(data, **extra),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: dict[str, list[str]] = {"out": [], "err": []}
        for name, stream in (("out", self.process.stdout), ("err", self.process.stderr)):
            threading.Thread(target=self._listen, args=(name, stream), daemon=True).start()
        said = self._said
        reports.has_log(self, f"serve in {data}", lambda: "".join(said["out"] + said["err"]))

    def _listen(self, name: str, stream: Any) -> None:
        for line in stream:
            self._said[name].append(line)

    @property
    def screen(self) -> str:
        """What it wrote to standard output so far."""
        return "".join(self._said["out"])

    @property
    def complaints(self) -> str:
        """What it wrote to standard error so far."""
        return "".join(self._said["err"])

    def __enter__(self) -> Self:
        until(lambda: "curl" in self.screen or self.process.poll() is not None, "the screen")
        assert self.process.poll() is None, self.complaints
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        for pid in [*self.children(), self.process.pid]:
            if runs(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    @property
    def url(self) -> str:
        """The address on the screen, by number: `localhost` may be two."""
        found = re.search(r"http://localhost:(\d+)", self.screen)
        assert found
        return f"http://127.0.0.1:{found[1]}"

    @property
    def key(self) -> str:
        """The admin key in the data folder."""
        return (self.data / "admin_key").read_text().strip()

    def shown(self, row: str) -> str:
        """What stands in this row of the screen, "" when there is none."""
        found = re.search(rf"^  {row} +(.+)$", self.screen, re.MULTILINE)
        return found[1] if found else ""

    def quick_start(self) -> httpx.Response:
        """Does what the shown curl line does."""
        line = next(line for line in self.screen.splitlines() if "curl" in line)
        _, url, _, method, _, header, _, body = shlex.split(line)
        name, value = header.split(": ")
        with httpx.Client(trust_env=False) as client:
            return client.request(method, url.replace("localhost", "127.0.0.1"), headers={name: value}, content=body)

    def get(self, path: str) -> httpx.Response:
        """GET without credentials."""
        return httpx.get(self.url + path, trust_env=False, timeout=PATIENCE)

    def ask(self, content: str) -> httpx.Response:
        """An ask with the admin key."""
        return httpx.post(
            f"{self.url}/api/ask",
            headers={"Authorization": self.key},
            json={"content": content},
            trust_env=False,
            timeout=PATIENCE,
        )

    def agent(self) -> Agent:
        """An agent of this machine that has dialled in."""
        return Agent(self.url.replace("http", "ws") + "/client/register")

    def children(self) -> list[int]:
        """Ids of its living child processes, and theirs."""
        found, known = [self.process.pid], parents()
        for pid in found:
            found += [child for child, parent in known.items() if parent == pid]
        return found[1:]

    def command_lines(self) -> dict[int, str]:
        """Every child's arguments as the list of processes shows them."""
        return {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in self.children()}

    def send(self, number: signal.Signals) -> None:
        """A signal to the supervisor alone."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait(PATIENCE)


def parents() -> Mapping[int, int]:
    """Parent of every process that is not a zombie."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue  # gone while we looked
            if state != "Z":
                found[int(folder.name)] = int(parent)
    return found


def cpu_seconds(pid: int) -> float:
    """What this process has computed so far: unlike the clock, no other work on the machine changes it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime, stime


def runs(pid: int) -> bool:
    """Whether this process lives."""
    return pid in parents()


class Agent:
    """An agent that speaks raw frames: it answers with the question in capitals, when it is let."""

    def __init__(self, url: str) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._open = contextlib.ExitStack()  # closed with the process: an agent stays until the server goes
        self._socket: ClientConnection = self._open.enter_context(connect(url, proxy=None))
        hello = json.loads(self._socket.recv())
        self._send(hello["id"], "Connection id")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _send(self, frame_id: str, message: str, data: str = "") -> None:
        self._socket.send(json.dumps({"id": frame_id, "message": message, "data": data}))

    def _serve(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for text in self._socket:
                frame = json.loads(text)
                if frame["message"] == "ping":
                    self._send(frame["id"], "pong")
                elif frame["message"] == "ChatGptRequest":
                    self.asked.set()
                    threading.Thread(target=self._answer, args=(frame,), daemon=True).start()

    def _answer(self, frame: dict[str, str]) -> None:
        if not self.may_answer.wait(PATIENCE):
            return
        content = json.loads(frame["data"])["content"].upper()
        answer = {"response_id": "r", "conversation_id": "c", "content": content}
        with contextlib.suppress(ConnectionClosed):
            self._send(frame["id"], "ChatGptResponse", json.dumps(answer))

    @property
    def close_code(self) -> int | None:
        """The close code that the server gave, once the socket is closed."""
        self._thread.join(PATIENCE)
        return self._socket.close_code
