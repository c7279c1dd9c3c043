"""A container's health check: whether the part in it is at work. Exit status 0 or 1, with the reason.

Its argument is web, worker, embedder or agent. It runs every few seconds, so it loads nothing of the program."""

import os
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

WITHIN = 2.5  # seconds
SILENT = 120.0  # seconds without a sign of life
ESTABLISHED = "01"
# ["question", ["x"]] as the embedder reads it: its length, then MessagePack.
QUESTION = b"\x92\xa8question\x91\xa1x"


def web() -> None:
    """Asks `/health`, which needs no database: a container is not ended because another one is away."""
    url = f"http://127.0.0.1:{_port()}/health"
    host = (os.environ.get("ALLOWED_HOSTS") or "localhost").split(",")[0].strip().lstrip(".").replace("*", "localhost")
    try:
        request = urllib.request.Request(url, headers={"Host": host, "X-Forwarded-Proto": "https"})
        with urllib.request.urlopen(request, timeout=WITHIN) as reply:  # noqa: S310 - our own
            if reply.status != 200:
                raise OSError(f"status {reply.status}")
    except (urllib.error.URLError, OSError) as fault:
        raise OSError(f"{url}: {fault}") from None


def worker() -> None:
    """It touches a file whenever it looks for work and behind each batch."""
    age = time.time() - (_folder() / "worker.alive").stat().st_mtime
    if age > SILENT:
        raise OSError(f"the worker has been silent for {age:.0f} seconds")


def embedder() -> None:
    """Has it embed one letter; a process that hangs takes the line and does not answer."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(WITHIN)
        line.connect(str(_folder() / "embedder.sock"))
        line.sendall(struct.pack(">I", len(QUESTION)) + QUESTION)
        if not line.recv(1):
            raise OSError("the embedder hung up")


def agent() -> None:
    """Whether a process of this container holds a line to the server's port."""
    own = {link for entry in Path("/proc").glob("[0-9]*/fd/*") if (link := _link(entry)).startswith("socket:[")}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in _rows(table):
            place, state, inode = row[2], row[3], row[9]
            if state == ESTABLISHED and int(place.rpartition(":")[2], 16) == _port() and f"socket:[{inode}]" in own:
                return
    raise OSError(f"the agent has no line to port {_port()}")


def _rows(table: str) -> list[list[str]]:
    path = Path(table)
    return [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # it has just been closed, or is somebody else's
        return ""


def _port() -> int:
    return int(os.environ.get("PORT") or "8080")


def _folder() -> Path:
    return Path(os.environ.get("DATA_DIR") or "data")


PARTS = {"web": web, "worker": worker, "embedder": embedder, "agent": agent}


def main(arguments: list[str]) -> int:
    """Checks the part that is named, the web server if none is."""
    name = arguments[0] if arguments else "web"
    if name not in PARTS:
        sys.stderr.write(f"{name} is no part; known: {', '.join(PARTS)}\n")
        return 1
    try:
        PARTS[name]()
    except (OSError, ValueError) as fault:
        sys.stderr.write(f"{name}: {fault}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
