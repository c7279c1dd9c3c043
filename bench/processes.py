"""Servers under test: started with a data folder and a process group of their own, watched, and always ended."""

import contextlib
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import wire

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STOP_WITHIN = 20  # seconds
WEB = b"\0serve\0--only\0web\0"  # how its command line ends
FILES = 20_000  # open files: 2,000 agents and their server, with room to spare


def raise_file_limit() -> None:
    """Lift this process's limit of open files, and so that of the servers it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """This process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def tree_cpu(pid: int) -> float:
    """CPU seconds of the process and its descendants, those that ended included."""
    ticks = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(member)[11:15]))
    return ticks / TICK


def tree_rss(pid: int) -> int:
    """Resident bytes of the process and its descendants."""
    pages = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            pages += int(_stat(member)[21])
    return pages * PAGE


def busy_elsewhere() -> float:
    """CPU seconds since the machine's start that neither this process nor its ended children have used."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(interrupts)) / TICK - sum(os.times()[:4])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((wire.HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server that runs for the length of a `with` block.

    `{port}`, `{key}` and `{python}` in its command are filled in.
    """

    def __init__(self, name: str, command: str, *, settings: dict[str, str], misdeeds: list[str]) -> None:
        self.name = name
        self.port = free_port()
        self.key = os.urandom(16).hex()
        filled = {"port": self.port, "key": self.key, "python": shlex.quote(sys.executable)}
        self.command = shlex.split(command.format(**filled))
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self.data = Path(self._folder.name, "data")
        self._misdeeds = misdeeds  # takes up how it broke the rules when it was to end

    def __enter__(self) -> Self:
        try:
            self._start()
            self._await_health()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        folder = Path(self._folder.name)
        environment = (
            os.environ | {"DATA_DIR": str(self.data), "BUILTIN_AGENT": "off", "EMBEDDER": "off"} | self._settings
        )
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self.command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _await_health(self, within: float = 60.0) -> None:
        deadline = time.monotonic() + within
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start: {shlex.join(self.command)}\n{self.log()}")
            time.sleep(0.05)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{wire.HOST}:{self.port}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def log(self) -> str:
        """The end of what it wrote."""
        return Path(self._folder.name, "log").read_text(errors="replace")[-3000:]

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> float:
        return tree_cpu(self._process.pid)

    def rss(self) -> int:
        return tree_rss(self._process.pid)

    def web(self) -> int:
        """The process that answers, where the server is `manage.py serve`. Raises RuntimeError."""
        for pid in tree(self._process.pid):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(WEB):
                    return pid
        raise RuntimeError(f"{self.name} has no web process.")

    def stop(self) -> None:
        """Ask it to end, and end it when it does not; nothing it started stays."""
        if hasattr(self, "_process"):
            family = dict(_identities(tree(self._process.pid)))
            try:
                self._process.terminate()
                self._process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self._misdeeds.append(f"{self.name} did not end within {STOP_WITHIN} s of SIGTERM")
            finally:
                self._kill(family)
        self._folder.cleanup()

    def _kill(self, family: dict[int, str]) -> None:
        left = [pid for pid, born in _identities(list(family)) if family[pid] == born]
        if left:
            self._misdeeds.append(f"{self.name} left {len(left)} processes behind")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _identities(pids: list[int]) -> Iterator[tuple[int, str]]:
    """The processes that are there and no zombies, with their start times: an id alone may be taken again."""
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = _stat(pid)
            if fields[0] != "Z":
                yield pid, fields[19]
