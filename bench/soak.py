"""`python -m bench.soak`: whether a server's processes grow under hours of mixed load, in 20 minutes.

The whole server with its embedder, echoing agents, and a mix of everything at a bounded rate (bench/mix.py). The
memory of each process is looked at again and again; what counts is what comes after the warm-up, the first quarter.
Exit status 1 when a process grew too much or an answer was a fault, 2 when the server did not start."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

import httpx

from bench import wire
from bench.cells import users
from bench.chat import EMAIL, PASSWORD, SERVE, token
from bench.driver import listed
from bench.echoes import Echo
from bench.growth import MUST, Watch, table
from bench.mix import Keys, Mix, Outcomes
from bench.processes import Server, busy_elsewhere, raise_file_limit
from bench.relay import noise
from bench.scale import signed_in

USERS = 4
WARM_UP = 0.25  # of the time
AT_ONCE = 64  # deeds under way
SAMPLES, LEAST_PAUSE = 400, 0.05  # looks in a whole run; seconds between two
KEPT_OPEN = 2.0  # seconds; shorter than the server's own, so that no request goes into a closing connection
PATIENCE = 60.0  # seconds for a reply


async def load(mix: Mix, rate: float, seconds: float) -> int:
    """Deeds at this rate for so long; how many were begun. A deed that breaks the bench itself ends it."""
    gate, begun, count = asyncio.Semaphore(AT_ONCE), time.monotonic(), 0

    async def one() -> None:
        async with gate:
            await mix.any()

    async with asyncio.TaskGroup() as group:
        while (now := time.monotonic()) < begun + seconds:
            group.create_task(one())
            count += 1
            await asyncio.sleep(max(0.0, begun + count / rate - now))
            async with gate:  # beyond AT_ONCE the rate is not kept, rather than the queue made longer
                pass
    return count


async def look(watch: Watch, every: float) -> None:
    """Until it is cancelled."""
    while True:
        watch.look()
        await asyncio.sleep(every)


async def soak(server: Server, watch: Watch, options: argparse.Namespace) -> tuple[Mix, float]:
    """The mix with its outcomes, and when the warm-up was over."""
    cookies = await signed_in(server.port)
    keys = Keys(await users(server, USERS), await token(server.port), cookies)
    echoes = [Echo(f"ws://{wire.HOST}:{server.port}/client/register", options.stays) for _ in range(options.agents)]
    limits = httpx.Limits(max_connections=2 * AT_ONCE, keepalive_expiry=KEPT_OPEN)
    address = f"http://{wire.HOST}:{server.port}"
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, limits=limits, trust_env=False) as client:
        beside = [asyncio.create_task(echo.run()) for echo in echoes]
        try:
            await listed(server.port, len(echoes))
            mix, seconds = Mix(client, keys), 60 * options.minutes
            warm = time.monotonic() + WARM_UP * seconds
            beside.append(asyncio.create_task(look(watch, max(LEAST_PAUSE, seconds / SAMPLES))))
            count = await load(mix, options.rate, seconds)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
    visits = sum(echo.visits for echo in echoes)
    print(f"{count:,} deeds in {options.minutes:g} minutes; {len(echoes)} agents that dialled in {visits} times")
    return mix, warm


def judged(outcomes: Outcomes, watch: Watch, warm: float) -> bool:
    """Prints what was found; whether the promise was kept."""
    growths, troubles = watch.growths(warm), outcomes.troubles()
    print(outcomes.table(), table(growths), sep="\n\n")
    troubles += [f"a process ended: {name}" for name in watch.ended]
    troubles += [f"{each.name} grew by {MUST:.0%} or more" for each in growths if not each.is_kept]
    troubles += ["too short a run: no process was looked at often enough"] if not growths else []
    print("", *troubles, sep="\n")
    return not troubles


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    say = parser.add_argument
    say("--minutes", type=float, default=20.0, help="the first quarter warms up (20)")
    say("--rate", type=float, default=20.0, help="deeds a second (20)")
    say("--agents", type=int, default=8, help="echoing agents (8)")
    say("--stays", type=float, default=30.0, help="seconds until an agent dials in anew, on average (30)")
    say("--embedder", choices=("on", "off"), default="on", help="off: search by words alone")
    say("--database-url", default="", metavar="URL", help="PostgreSQL instead of a file of its own")
    say("--redis-url", default="", metavar="URL", help="for several web processes")
    say("--server", default=SERVE, metavar="COMMAND", help=f"how to start the server: {SERVE}")
    return parser.parse_args(arguments)


def settings(options: argparse.Namespace) -> dict[str, str]:
    """Of the server under test."""
    named = {"DATABASE_URL": options.database_url, "REDIS_URL": options.redis_url}
    return {
        "ADMIN_EMAIL": EMAIL,
        "ADMIN_PASSWORD": PASSWORD,
        "EMBEDDER": options.embedder,
        "LLM_BACKEND": "relay",
        **{name: url for name, url in named.items() if url},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    raise_file_limit()
    misdeeds: list[str] = []
    begun, elsewhere = time.monotonic(), busy_elsewhere()
    try:
        with Server("the server", options.server, settings=settings(options), misdeeds=misdeeds) as server:
            watch = Watch(server.pid)
            mix, warm = asyncio.run(soak(server, watch, options))
            is_kept = judged(mix.outcomes, watch, warm)
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*misdeeds, noise(elsewhere, time.monotonic() - begun), sep="\n")
    return 0 if is_kept and not misdeeds else 1


if __name__ == "__main__":
    sys.exit(main())
