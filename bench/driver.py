"""The load driver: agents and clients in one event loop, every answer checked against its own question.

`python -m bench.driver --port 8080 --key KEY --clients 64 --agents 64` drives a server that runs already.
"""

import argparse
import asyncio
import gc
import random
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import fields
from typing import TypeVar

import uvloop

from bench import wire
from bench.agents import Agent, Crew
from bench.clients import Client, Run
from bench.load import Load, Tally
from bench.processes import raise_file_limit, tree_cpu

Result = TypeVar("Result")
Kinds = Sequence[Callable[[Crew], Agent]]
PATIENCE = 120.0  # seconds after which a run by count is broken off
SWEEP = 0.1  # seconds between two looks for overdue answers


def on_loop(work: Coroutine[None, None, Result]) -> Result:
    """Do this on an event loop of its own, on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def drive(load: Load, *, kinds: Kinds = (), server_cpu: Callable[[], float] = lambda: 0.0) -> Tally:
    """Put this load on the server. `kinds` names the agents one by one when not all are healthy.

    server_cpu tells the CPU seconds that the server has used so far.
    """
    tally = Tally()
    crew = Crew(load, tally)
    try:
        await crew.dial(list(kinds) or [Agent] * load.agents)
        await listed(load.port, len(crew.agents))
        run = Run(load, tally, crew, random.getrandbits(32))
        clients = [Client(run, number, sticky=number < load.sticky * load.clients) for number in range(load.clients)]
        for client in clients:
            await client.connect()
        await _open_conversations(clients, crew)
        await _ask(run, clients, server_cpu)
        tally.waits = [client.waits for client in clients]
    finally:
        await crew.leave()
    for client in clients:
        client.drop()
    return tally


async def listed(port: int, agents: int, *, within: float = 10.0) -> None:
    """Wait until the server lists that many agents; a server that keeps no list is taken at its word."""
    deadline = time.monotonic() + within
    while True:
        status, answer = await wire.call(port, "GET", "/api/connections")
        count = len(answer["connections"] or ()) if status == 200 else agents
        if count >= agents:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} of {agents} agents are listed after {within:g} s")
        await asyncio.sleep(0.02)


async def add_user(port: int, admin_key: str) -> str:
    """The token of a new user."""
    status, answer = await wire.call(port, "POST", "/admin/users/add", payload={"admin_key": admin_key})
    if status != 200:
        raise ConnectionError(f"/admin/users/add answered {status} {answer}")
    return str(answer["token"])


async def _open_conversations(clients: list[Client], crew: Crew) -> None:
    """One client after the other, without think time: with as many agents as clients each gets one of its own."""
    think, crew.think = crew.think, 0.0
    for client in clients:
        if client.sticky:
            await _finish([client], [client.start(single=True)])
    crew.think = think


async def _ask(run: Run, clients: list[Client], server_cpu: Callable[[], float]) -> None:
    gc.collect()
    gc.disable()
    try:
        if run.load.asks:
            await _by_count(run, clients, server_cpu)
        else:
            await _by_time(run, clients, server_cpu)
    finally:
        gc.enable()


async def _by_count(run: Run, clients: list[Client], server_cpu: Callable[[], float]) -> None:
    run.left = run.load.asks  # what was asked to open conversations does not count
    run.since = time.perf_counter()
    run.until = run.since + PATIENCE
    server, driver = server_cpu(), time.process_time()
    await _finish(clients, [client.start() for client in clients])
    _close_window(run, server_cpu() - server, time.process_time() - driver)


async def _by_time(run: Run, clients: list[Client], server_cpu: Callable[[], float]) -> None:
    run.since = time.perf_counter() + run.load.warmup
    run.until = run.since + run.load.seconds
    sweeper = asyncio.ensure_future(_finish(clients, await _start_spread(clients, run.load.think)))
    await asyncio.sleep(run.since - time.perf_counter())
    server, driver = server_cpu(), time.process_time()
    await asyncio.sleep(run.until - time.perf_counter())
    _close_window(run, server_cpu() - server, time.process_time() - driver)
    await sweeper


async def _start_spread(clients: list[Client], span: float) -> list[asyncio.Future[None]]:
    """Start the clients over a think time: people do not ask in step, and asks in step would queue up each time."""
    working = []
    for client in clients:
        working.append(client.start())
        await asyncio.sleep(span / len(clients))
    return working


def _close_window(run: Run, server: float, driver: float) -> None:
    run.tally.server_cpu, run.tally.driver_cpu = server, driver
    run.tally.seconds = run.load.seconds if not run.load.asks else time.perf_counter() - run.since


async def _finish(clients: list[Client], working: list[asyncio.Future[None]]) -> None:
    pending: set[asyncio.Future[None]] = set(working)
    while pending:
        _, pending = await asyncio.wait(pending, timeout=SWEEP)
        now = time.perf_counter()
        for client in clients:
            client.overdue(now)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.driver", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default="", help="admin key; with --users the clients ask as new users")
    parser.add_argument("--users", type=int, default=0, help="spread the clients over so many new users")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--agent-token", default="")
    parser.add_argument("--declared", type=int, default=0, help="concurrency the agents declare (0: nothing)")
    parser.add_argument("--think", type=float, default=0.0, help="seconds an agent takes for an answer")
    parser.add_argument("--sticky", action="store_const", const=1.0, default=0.0, help="stay in one conversation")
    parser.add_argument("--content-size", type=int, default=64, help="bytes of a question")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--asks", type=int, default=0, help="so many asks in all, however long they take")
    parser.add_argument("--timeout", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--pid", type=int, default=0, help="the server's process, for its CPU time")
    return parser.parse_args(arguments)


async def rounds(options: argparse.Namespace) -> list[Tally]:
    tokens = [await add_user(options.port, options.key) for _ in range(options.users)] or [options.key]
    known = {field.name for field in fields(Load)}
    chosen = {name: value for name, value in vars(options).items() if name in known}
    load = Load(**chosen, tokens=tuple(filter(None, tokens)))
    cpu = (lambda: tree_cpu(options.pid)) if options.pid else (lambda: 0.0)
    tallies = []
    for _ in range(options.rounds):
        tallies.append(await drive(load, server_cpu=cpu))
        print(line(tallies[-1]), flush=True)
    return tallies


def line(tally: Tally) -> str:
    """A run in one line."""
    p50, p99 = 1e3 * tally.wait(0.5), 1e3 * tally.wait(0.99)
    cpu = f"us/ask: server {tally.server_us:.0f}, driver {tally.driver_us:.0f}"
    return f"{tally.rate:8.0f} asks/s  p50 {p50:.1f} p99 {p99:.1f} ms  {cpu}  ok {tally.ok}  {tally.trouble()}"


def main() -> int:
    """0 when every answer was right, else 1."""
    raise_file_limit()
    return 0 if all(tally.clean for tally in on_loop(rounds(parse()))) else 1


if __name__ == "__main__":
    sys.exit(main())
