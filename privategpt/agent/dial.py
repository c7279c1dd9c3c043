"""Keeping a connection to the relay: dial in, take the same id again, wait longer after each failure."""

import asyncio
import contextlib
import errno
import logging
import os
import random
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from privategpt.agent.frames import Abilities
from privategpt.agent.session import NoHelloError, Session
from privategpt.agent.transcripts import Transcripts
from privategpt.llm.base import Backend, Sized
from privategpt.llm.openai import is_loopback

logger = logging.getLogger(__name__)

DOOR = "/client/register"
MAX_FRAME = 16 << 20  # bytes of one frame that is read; a long conversation in JSON in JSON
SUPERSEDED = 4001  # close code: the relay let another agent in under this id
STABLE = 60.0  # seconds of connection after which the next loss counts as the first
SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
REFUSALS = {
    401: "wants an agent token: give one with --token or AGENT_TOKEN (`manage.py token --kind agent` makes it)",
    403: "does not let this agent in: its token is of another kind, or was revoked",
    404: f"has no agent door at this address: its path is usually {DOOR}",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to dial in and as whom.

    `state` is the file that keeps the connection id over restarts. `pauses` are the shortest and the longest wait
    before dialling in again, in seconds; each failure doubles it.
    """

    url: str
    token: str = ""
    name: str = ""
    concurrency: int = 1
    state: Path | None = None
    pauses: tuple[float, float] = (0.5, 30.0)


class Agent:
    """Stays connected to one relay and answers from one backend."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        """Raises ValueError with a sentence for an address or token of no use."""
        self._settings = settings
        self._backend = backend
        self._url = door(settings.url)
        if not (settings.token.isascii() and settings.token.isprintable()):
            raise ValueError("The token holds characters that no header can carry.")
        self._abilities = Abilities(settings.name, backend.model, settings.concurrency, stream=True)
        self._transcripts = Transcripts()
        self._id = ""
        self._told = ""  # the last trouble that was logged; each is told once, not at every try

    async def run(self) -> None:
        """Runs until it is cancelled; then it closes the connection with 1001 and finishes nothing."""
        if self._settings.state:
            self._id = await asyncio.to_thread(_read_id, self._settings.state)
        if isinstance(self._backend, Sized):
            self._abilities = msgspec.structs.replace(self._abilities, context=await self._backend.reads() or 0)
        shortest, longest = self._settings.pauses
        pause = shortest
        while True:
            began = time.monotonic()
            refused = await self._stay()
            if time.monotonic() - began > STABLE:
                pause = shortest
            # Spread, so that a thousand agents do not come back in one moment.
            await asyncio.sleep((longest if refused else pause) * random.uniform(1, 1.5))  # noqa: S311
            pause = min(pause * 2, longest)

    async def _stay(self) -> bool:
        """Dial in and serve until the connection is lost. True when asking again soon would not help."""
        try:
            async with self._dialled() as connection:
                await self._serve(connection)
        except InvalidStatus as error:
            return self._refused(error.response.status_code)
        except (OSError, InvalidHandshake, ConnectionClosed, NoHelloError) as error:
            if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code == SUPERSEDED:
                self._give_up_id()
            self._tell(f"No connection to {self._where()}: {_reason(error)}. Trying again.")
        else:
            self._tell(f"{self._where()} closed the connection. Dialling in again.")
        return False

    def _dialled(self) -> connect:
        token = self._settings.token
        return connect(
            self._url,
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            compression=None,
            # A proxy named in the environment must not come between two programs of one machine.
            proxy=None if is_loopback(urlsplit(self._url).hostname or "") else True,
            # A relay may read its socket only while it asks; it would not answer a websocket ping.
            ping_interval=None,
            close_timeout=2,
            max_size=MAX_FRAME,
        )

    async def _serve(self, connection: ClientConnection) -> None:
        _keep_alive(connection)
        session = Session(connection, self._backend, self._abilities, self._transcripts)
        await session.greet(self._claim)
        self._told = ""
        logger.info("Connected to %s; answers come from %s.", self._where(), self._backend.model or self._backend.name)
        await session.serve()

    async def _claim(self, fresh: str) -> str:
        if not self._id:
            self._id = fresh
            if self._settings.state:
                await asyncio.to_thread(_write_id, self._settings.state, fresh)
        return self._id

    def _give_up_id(self) -> None:
        """Another agent has come under this id. Two that take it from each other in turn would serve nobody."""
        self._tell("Another agent came under this agent's id; it goes on under a new one.")
        self._id, self._settings = "", replace(self._settings, state=None)

    def _refused(self, status: int) -> bool:
        reason = REFUSALS.get(status)
        self._tell(f"{self._where()} {reason or f'answered with status {status}'}. Trying again.")
        return reason is not None

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            logger.warning("%s", trouble)
        self._told = trouble

    def _where(self) -> str:
        """Scheme, host and port: the rest of an address may hold a token."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def door(address: str) -> str:
    """The websocket address for what people write: a whole one, an http one, or just HOST:PORT.

    Raises ValueError with a sentence.
    """
    with contextlib.suppress(ValueError):  # a port that is no number, half an IPv6 address
        parts = urlsplit(address.strip() if "://" in address else f"http://{address.strip()}")
        if parts.scheme in SCHEMES and parts.hostname and parts.port != 0:
            path = parts.path.rstrip("/")
            if parts.scheme in {"http", "https"} or not path:
                path = path.removesuffix(DOOR) + DOOR
            return urlunsplit((SCHEMES[parts.scheme], parts.netloc, path, parts.query, ""))
    raise ValueError("The relay's address must look like ws://127.0.0.1:8080/client/register, or be HOST:PORT.")


def _keep_alive(connection: ClientConnection) -> None:
    """Let the kernel find out within a minute that the other machine is gone; the protocol need not know."""
    found = connection.transport.get_extra_info("socket")
    for level, option, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 20),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    ):
        if found is not None and hasattr(socket, option):
            with contextlib.suppress(OSError):
                found.setsockopt(level, getattr(socket, option), value)


def _reason(error: Exception) -> str:
    # With several addresses to a name, asyncio joins the errors into one text.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "the connection was refused; is the server running?"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__


def _read_id(file: Path) -> str:
    try:
        found = file.read_text().strip()
    except (OSError, ValueError):
        return ""
    return found if found.isprintable() and len(found) <= 64 else ""


def _write_id(file: Path, value: str) -> None:
    """Whole or not at all: a half written id would be another agent's."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(value + "\n")
        draft.replace(file)
    except OSError as error:
        logger.warning("The connection id cannot be kept in %s (%s).", file, error.strerror)
