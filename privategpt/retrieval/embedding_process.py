"""The one process that holds the embedder, and how others ask it.

    python -m privategpt.retrieval.embedding_process SOCKET

It answers on a Unix socket: frames of four bytes of length and a msgpack value. Questions have a thread
of their own and go ahead of passages, whose thread is also the last to get a core. It ends with its parent.

The socket has the process's own name, and SOCKET is a link to it, which only the one that it leads to takes away."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from privategpt import orphan, rundir
from privategpt.pulse import EVERY, Pulse
from privategpt.retrieval.embedders import Embedder, EmbedderUnavailable, Floats, from_environment
from privategpt.rundir import Lock

LENGTH = struct.Struct(">I")
LONGEST_FRAME = 32 << 20  # bytes
LONGEST_QUESTION = 4_000  # characters
LONGEST_SENTENCE = 1_000
MOST_SENTENCES = 16
LONGEST_PID = 1 << 22  # the kernel's limit
LONGEST_PATH = 107  # bytes: the kernel's limit for the name of a socket
WAITING_QUESTIONS = 64  # more are refused at once: their askers would have given up before their turn
BATCH = 32  # passages in one request, so that a batch ends within a few seconds
BATCH_SECONDS = 300.0
SENTENCES_SECONDS = 2.0
CONNECT_SECONDS = 0.1
COOL_DOWN = 5.0  # seconds without asking a process that did not answer in time
NICENESS = 10
STUCK = 60.0  # seconds in which the event loop makes a step
LAST_RESORT = 10.0  # seconds to end in order after the parent's death
PREDECESSOR_ENDS = 20.0  # seconds that a new one waits for the end of the one before

PARENT = os.getppid()
_held: list[Lock] = []  # as long as the process lives


class Ask(msgspec.Struct, array_like=True):
    kind: Literal["question", "sentences", "passages"]
    texts: list[str]


class Reply(msgspec.Struct, array_like=True):
    """Rows of float32, little endian; or an error, which is a sentence."""

    identity: str = ""
    size: int = 0
    rows: bytes = b""
    error: str = ""
    related: float | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """Unit rows, and of the embedder that made them its identity and its `related`."""

    rows: Floats
    identity: str
    related: float | None = None


def socket_path(folder: Path) -> Path:
    """Where the process of this data folder listens. Raises EmbedderUnavailable when the path is too long."""
    path = folder / "embedder.sock"
    if len(os.fsencode(_own(path, LONGEST_PID))) > LONGEST_PATH:
        raise EmbedderUnavailable(f"The path {path} is too long for a socket; choose a shorter DATA_DIR.")
    return path


def _own(path: Path, pid: int) -> Path:
    """The name of this process's socket."""
    return path.with_name(f"{path.stem}-{pid}{path.suffix}")


# -- the process ----------------------------------------------------------------------------------


class Server:
    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._questions = ThreadPoolExecutor(1, "question")
        self._passages = ThreadPoolExecutor(1, "passages", initializer=_step_back)
        self._waiting = 0
        self._is_ending = False

    async def serve(self, path: Path) -> None:
        """Until it is cancelled. Takes the place of whoever had the link; only the owner may connect."""
        own = _own(path, os.getpid())
        own.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._connected, own)
        finally:
            os.umask(before)
        try:
            _lead(path, own)
            async with server:
                await server.serve_forever()
        finally:
            _take_away(path, own)
            self._is_ending = True
            for pool in (self._questions, self._passages):
                pool.shutdown(wait=False, cancel_futures=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled at the end of the process only: nobody waits for this task, and asyncio would log it.
        over = (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError, ValueError, asyncio.CancelledError)
        with contextlib.suppress(*over):
            while True:
                ask = msgspec.msgpack.decode(await _read(reader), type=Ask)
                writer.write(_frame(await self._reply(ask, reader)))
                await writer.drain()
        writer.close()

    async def _reply(self, ask: Ask, reader: asyncio.StreamReader) -> Reply:
        if ask.kind == "passages":
            return await self._in(self._passages, lambda: self._embedder.passages(ask.texts))
        if self._waiting >= WAITING_QUESTIONS:
            return Reply(error="Too many questions wait for the embedder.")
        self._waiting += 1
        try:
            return await self._in(self._questions, lambda: self._at_once(ask, reader))
        finally:
            self._waiting -= 1

    def _at_once(self, ask: Ask, reader: asyncio.StreamReader) -> Floats:
        if reader.at_eof():
            raise EmbedderUnavailable("The asker has gone.")
        if ask.kind == "question":
            return self._embedder.question(ask.texts[0][:LONGEST_QUESTION])[None, :]
        return self._embedder.passages([text[:LONGEST_SENTENCE] for text in ask.texts[:MOST_SENTENCES]])

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], Floats]) -> Reply:
        try:
            rows = await asyncio.get_running_loop().run_in_executor(pool, work)
        except EmbedderUnavailable as reason:
            return Reply(error=str(reason))
        except RuntimeError:  # the threads take nothing any more
            if not self._is_ending:
                raise
            return Reply(error="The embedder is just ending.")
        embedder = self._embedder
        return Reply(embedder.identity, embedder.size, rows.astype("<f4").tobytes(), related=embedder.related)


def _step_back() -> None:
    """This thread's niceness, where threads have one (Linux): questions and the web come first."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


async def _read(reader: asyncio.StreamReader) -> bytes:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > LONGEST_FRAME:
        raise ValueError(length)
    return await reader.readexactly(length)


def _frame(value: msgspec.Struct) -> bytes:
    data = msgspec.msgpack.encode(value)
    return LENGTH.pack(len(data)) + data


def _lead(path: Path, own: Path) -> None:
    """Whoever asks comes to this process from now on; sockets that nobody listens at any more are cleared away."""
    for old in path.parent.glob(f"{path.stem}-*{path.suffix}"):
        if old != own and not is_reachable(old):
            old.unlink(missing_ok=True)
    draft = path.with_name(f".{own.name}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(own.name)
    draft.replace(path)


def _take_away(path: Path, own: Path) -> None:
    with contextlib.suppress(OSError):
        if path.readlink() == Path(own.name):
            path.unlink()
    own.unlink(missing_ok=True)


async def _with_parent() -> None:
    """Returns when the parent is gone, where no supervisor started this: nothing is left behind."""
    while os.getppid() == PARENT:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(1)


async def _beats(pulse: Pulse) -> None:
    while True:
        pulse.go_on()
        await asyncio.sleep(EVERY)


async def run(path: Path, embedder: Embedder, pulse: Pulse) -> None:
    """Serves until SIGTERM, SIGINT or the parent's end."""
    serving = asyncio.ensure_future(Server(embedder).serve(path))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    beating, orphaned = asyncio.ensure_future(_beats(pulse)), asyncio.ensure_future(_with_parent())
    await asyncio.wait({serving, orphaned}, return_when=asyncio.FIRST_COMPLETED)
    for task in (serving, beating, orphaned):
        task.cancel()
    await asyncio.gather(serving, beating, orphaned, return_exceptions=True)
    if not serving.cancelled() and (fault := serving.exception()):
        raise fault


def _alone(path: Path) -> bool:
    """Whether no other embedder serves this folder; one that is just ending gets the time for it."""
    lock, until = Lock(rundir.place(path.parent) / path.stem), time.monotonic() + PREDECESSOR_ENDS
    while not lock.take():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    lock.note(str(os.getpid()))
    _held.append(lock)
    return True


def main() -> int:
    """The exit status."""
    orphan.end_with_parent(LAST_RESORT)  # first: loading takes seconds in which nobody else would notice
    pulse = Pulse(STUCK)
    parser = argparse.ArgumentParser(description="Answers with vectors on a Unix socket.")
    parser.add_argument("socket", type=Path)
    path = parser.parse_args().socket
    if not _alone(path):
        sys.stderr.write(f"Another embedder serves {path.parent} already; stop it, or name another folder.\n")
        return 1
    try:
        embedder = from_environment()
    except EmbedderUnavailable as reason:
        sys.stderr.write(f"{reason}\n")
        return 2
    asyncio.run(run(path, embedder, pulse))
    return 0


# -- those who ask --------------------------------------------------------------------------------


def is_reachable(path: Path) -> bool:
    """Whether somebody listens there; returns at once."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:  # so many wait already
            return True
        except OSError:
            return False
    return True


class Client:
    """Asks the process at this socket, from any thread. A connection for each request: a local one costs 50 us."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._quiet_until = 0.0

    def ask(self, question: str) -> "Pending":
        """Sends the question and returns at once."""
        if time.monotonic() < self._quiet_until:
            return Pending(self, None)
        return Pending(self, self._sent(Ask("question", [question[:LONGEST_QUESTION]])))

    def sentences(self, texts: Sequence[str], timeout: float = SENTENCES_SECONDS) -> Embedded:
        """A unit row for each of at most 16 sentences, ahead of all passages. Raises EmbedderUnavailable."""
        return Pending(self, self._sent(Ask("sentences", list(texts)))).embedded(timeout)

    def passages(self, texts: Sequence[str]) -> Embedded:
        """A unit row for each text, and whose they are. Raises EmbedderUnavailable."""
        found = [self._batch(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
        if len({part.identity for part in found}) != 1:
            raise EmbedderUnavailable("The embedder changed between two batches.")
        return Embedded(np.concatenate([part.rows for part in found]), found[0].identity)

    def _batch(self, texts: Sequence[str]) -> Embedded:
        if (connection := self._sent(Ask("passages", list(texts)))) is None:
            raise EmbedderUnavailable("The embedder is not running.")
        return _received(connection, BATCH_SECONDS)

    def _sent(self, ask: Ask) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(CONNECT_SECONDS)
        try:
            connection.connect(str(self._path))
            connection.settimeout(BATCH_SECONDS if ask.kind == "passages" else CONNECT_SECONDS)
            connection.sendall(_frame(ask))
        except OSError:
            connection.close()
            return None
        return connection

    def rest(self) -> None:
        """Leaves a process that is too slow in peace for a while."""
        self._quiet_until = time.monotonic() + COOL_DOWN


class Pending:
    """A question on its way."""

    def __init__(self, client: Client, connection: socket.socket | None) -> None:
        self._client, self._connection = client, connection

    def embedded(self, timeout: float) -> Embedded:
        """One row. Raises EmbedderUnavailable when it does not come in so many seconds."""
        if self._connection is None:
            raise EmbedderUnavailable("The embedder is not running.")
        try:
            return _received(self._connection, timeout)
        except TimeoutError:
            self._client.rest()
            raise EmbedderUnavailable("The embedder is too slow just now.") from None


def _received(connection: socket.socket, timeout: float) -> Embedded:
    """The reply; closes the connection. Raises TimeoutError, EmbedderUnavailable."""
    deadline = time.monotonic() + timeout
    with connection:
        try:
            (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size, deadline))
            reply = msgspec.msgpack.decode(_exactly(connection, length, deadline), type=Reply)
        except TimeoutError:
            raise
        except (OSError, msgspec.MsgspecError) as error:
            raise EmbedderUnavailable("The embedder ended while it worked.") from error
    if reply.error:
        raise EmbedderUnavailable(reply.error)
    return Embedded(np.frombuffer(reply.rows, "<f4").reshape(-1, reply.size), reply.identity, reply.related)


def _exactly(connection: socket.socket, count: int, deadline: float) -> bytes:
    """So many bytes. Raises TimeoutError, ConnectionError."""
    found = bytearray()
    while len(found) < count:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        if not (part := connection.recv(count - len(found))):
            raise ConnectionError
        found += part
    return bytes(found)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # nothing is to be saved: a batch at hand would keep the process for seconds
