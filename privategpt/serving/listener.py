"""Where the server listens. Bound before anything else is done, and handed to the web server's process,
so that the port cannot be lost in between and a restart of that process refuses nobody."""

import errno
import logging
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from privategpt import rundir
from privategpt.rundir import Lock

logger = logging.getLogger(__name__)

SOCKET = "SWITCHBOARD_SOCKET"  # environment of the web server's process: the listening socket's file descriptor
BACKLOG = 2048
ORPHANS_END = 20.0  # seconds in which web servers notice that their supervisor was killed, and let go of the port
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


class CannotListen(Exception):
    """Says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Site:
    """The address that the server listens at."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Only this machine can reach it."""
        return self.host in LOOPBACK

    @property
    def is_everywhere(self) -> bool:
        """Every address of this machine leads to it."""
        return self.host in EVERYWHERE

    @property
    def address(self) -> str:
        """HOST:PORT for connecting from this machine."""
        host = EVERYWHERE.get(self.host, self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """What a person on this machine types."""
        here = self.is_local or self.is_everywhere
        return f"http://localhost:{self.port}" if here else f"http://{self.address}"


def listen_after(folder: Path, host: str, port: int) -> tuple[socket.socket, Site, Lock]:
    """As `listen`, but where a supervisor was killed whose web servers hold the port until they have noticed, waits for
    their end. The lock is to be released when the port is given up in order. Raises CannotListen."""
    lock = Lock(rundir.place(folder) / f"port-{port}")
    is_ours = bool(port) and lock.take()
    if is_ours and lock.said():
        _await(host, port)
    try:
        listener, site = listen(host, port)
    except CannotListen:
        lock.release()  # another program has it, and no later start is to wait for that one's end
        raise
    if is_ours:
        lock.note(str(os.getpid()))
    return listener, site, lock


def _await(host: str, port: int) -> None:
    until, has_said = time.monotonic() + ORPHANS_END, False
    while time.monotonic() < until:
        try:
            listener, _ = listen(host, port)
        except CannotListen as fault:
            if not isinstance(fault.__cause__, OSError) or fault.__cause__.errno != errno.EADDRINUSE:
                return
        else:
            listener.close()
            return
        if not has_said:
            logger.warning("Port %d is still held by a server that was killed; waiting for its end.", port)
            has_said = True
        time.sleep(0.05)


def listen(host: str, port: int) -> tuple[socket.socket, Site]:
    """A listening socket and its address; port 0 takes any that is free. Raises CannotListen."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(_why(error, host, port)) from error
    return listener, Site(host, listener.getsockname()[1])


def inherited() -> socket.socket | None:
    """The socket that the supervisor opened for this process."""
    number = os.environ.pop(SOCKET, "")
    return socket.socket(fileno=int(number)) if number.isdecimal() else None


def _why(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"Port {port} is taken; choose another one: `make run PORT={port + 1}` or `manage.py serve {port + 1}`."
            )
        case errno.EACCES:
            return f"Port {port} needs more rights than this user has; choose one from 1024 on: `make run PORT=8080`."
    return f"HOST is {host!r}, which is no address of this machine ({error.strerror}); 127.0.0.1 is the default."
