"""The cells of the relay's bench: each measures one promise and says whether it is kept."""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.agents import Agent, Crew
from bench.driver import add_user, drive, listed, on_loop
from bench.faults import FAULTS, Mortal
from bench.load import Load, Tally, quantile
from bench.processes import Server

REAL = "{python} manage.py serve {port} {key}"
BARE = "{python} -m bench.bare {port}"
USERS = 8
MS = 1000
KIB = 1024
NONE = float("-inf")  # where there is no aim, or it is missed for another reason


@dataclass(frozen=True)
class Row:
    """One line of the table: what was found beside what was promised."""

    what: str
    found: str
    must: str
    aim: str
    verdict: str
    figures: dict[str, float]
    trouble: str = ""

    @property
    def kept(self) -> bool:
        return self.verdict != "MISSED"


@dataclass
class Bench:
    """What a run of the bench works with."""

    real_command: str = REAL
    bare_command: str = BARE
    quick: bool = False
    rounds: int = 3
    misdeeds: list[str] = field(default_factory=list)  # of servers, when they were to end

    def real(self, **settings: str) -> Server:
        return Server("the server", self.real_command, settings=settings, misdeeds=self.misdeeds)

    def bare(self) -> Server:
        return Server("the bare round trip", self.bare_command, settings={}, misdeeds=self.misdeeds)


async def users(server: Server, count: int = USERS) -> tuple[str, ...]:
    return tuple([await add_user(server.port, server.key) for _ in range(count)])


def verdict(value: float, must: float, aim: float, *, sound: bool) -> str:
    """How far a figure got, the lower the better. A run that is not sound has kept nothing."""
    if not sound or value > must:
        return "MISSED"
    return "aim" if value <= aim else "must"


def alternate(bench: Bench, real: Server, bare: Server, load: Load) -> tuple[list[Tally], list[Tally]]:
    """This load on both in turn, the order turning about each round; it ends with the first run that is not clean."""
    tallies: dict[Server, list[Tally]] = {real: [], bare: []}
    for number in range(bench.rounds):
        for server in (real, bare) if number % 2 else (bare, real):
            its = replace(load, port=server.port, several=server is bare)
            tallies[server].append(on_loop(drive(its, server_cpu=server.cpu)))
        if not all(runs[-1].clean for runs in tallies.values()):
            break
    return tallies[real], tallies[bare]


def medians(ours: list[Tally], floor: list[Tally]) -> dict[str, float]:
    """The figures of all rounds; those of the bare round trip begin with `bare_`."""
    return {
        # Rounds are pairs: what disturbs the machine disturbs both of a pair alike.
        "ratio": statistics.median(mine.rate / max(1, its.rate) for mine, its in zip(ours, floor, strict=True)),
        **_costs("", ours),
        **_costs("bare_", floor),
    }


def _costs(prefix: str, tallies: list[Tally]) -> dict[str, float]:
    return {
        f"{prefix}rate": statistics.median(tally.rate for tally in tallies),
        f"{prefix}p99_ms": MS * statistics.median(tally.wait(0.99) for tally in tallies),
        f"{prefix}server_us": statistics.median(tally.server_us for tally in tallies),
        f"{prefix}driver_us": statistics.median(tally.driver_us for tally in tallies),
    }


def troubles(tallies: list[Tally]) -> str:
    return "; ".join(filter(None, (tally.trouble() for tally in tallies)))


def throughput(bench: Bench) -> list[Row]:
    """Asks a second against the bare round trip on the same server program."""
    with bench.real() as real, bench.bare() as bare:
        load = Load(port=0, tokens=on_loop(users(real)), seconds=1.0 if bench.quick else 3.0)
        continued = alternate(bench, real, bare, replace(load, sticky=1.0))
        new = alternate(bench, real, bare, load)
    return [
        _against_bare("asks/s, continued conversations", *continued, must=0.45, aim=0.8),
        _against_bare("asks/s, new conversations", *new, must=0.35, aim=0.6),
    ]


def _against_bare(what: str, ours: list[Tally], floor: list[Tally], *, must: float, aim: float) -> Row:
    figures = medians(ours, floor)
    ratio = figures["ratio"]
    sound = all(tally.clean for tally in ours + floor)
    return Row(
        what,
        f"{figures['rate']:,.0f} of {figures['bare_rate']:,.0f} = {ratio:.2f}",
        f"{must:g}",
        f"{aim:g}",
        verdict(-ratio, -must, -aim, sound=sound),
        figures,
        troubles(ours + floor),
    )


def thinking(bench: Bench) -> list[Row]:
    """64 agents that take 50 ms for an answer and 64 clients: nobody should wait for anything else."""
    with bench.real() as real, bench.bare() as bare:
        tokens, seconds = on_loop(users(real)), 1.5 if bench.quick else 4.0
        load = Load(port=0, think=0.05, tokens=tokens, seconds=seconds, warmup=0.5)
        continued = alternate(bench, real, bare, replace(load, sticky=1.0))
        new = alternate(bench, real, bare, load)
    return [
        _unhindered("64 agents of 50 ms, continued", *continued),
        _unhindered("64 agents of 50 ms, new", *new),
    ]


def _unhindered(what: str, ours: list[Tally], floor: list[Tally]) -> Row:
    figures = medians(ours, floor)
    share, bare_share = figures["rate"] / 1280, figures["bare_rate"] / 1280
    p99, bare_p99 = figures["p99_ms"], figures["bare_p99_ms"]
    sound = all(tally.clean for tally in ours + floor) and share >= 0.95
    return Row(
        what,
        f"{share:.1%}, p99 {p99:.0f} ms (bare {bare_share:.1%}, {bare_p99:.0f} ms)",
        "95 % of 1,280/s, 75 ms",
        "99 %, 60 ms",
        verdict(p99, 75, 60 if share >= 0.99 else NONE, sound=sound),
        {"share": share, "bare_share": bare_share, **figures},
        troubles(ours + floor),
    )


def queueing(bench: Bench) -> list[Row]:
    """64 clients before one agent that declared nothing: one at a time, in fair order, and nobody is refused."""
    with bench.real() as real:
        return [_queueing(bench, real, count) for count in (1, USERS)]


def _queueing(bench: Bench, server: Server, user_count: int) -> Row:
    clients = 16 if bench.quick else 64
    turn = clients * 0.05  # seconds until every client has had its answer once
    # The first answers of all come one after the other; from the second on each wait is a whole turn.
    load = Load(
        port=server.port,
        clients=clients,
        agents=1,
        think=0.05,
        tokens=on_loop(users(server, user_count)),
        warmup=1.2 * turn,
        seconds=4 * turn,
    )
    tally = on_loop(drive(load, server_cpu=server.cpu))
    unfair = tally.unfairness()
    sound = tally.clean and tally.rate >= 19
    return Row(
        f"{clients} clients, users: {user_count}, 1 agent of 50 ms",
        f"{tally.rate:.1f}/s, waits within {unfair:.1%}",
        "19/s, 10 %",
        "",
        verdict(unfair, 0.1, NONE, sound=sound),
        {"rate": tally.rate, "unfairness": unfair, "wait_ms": MS * tally.wait(0.5)},
        tally.trouble(),
    )


def faults(bench: Bench) -> list[Row]:
    """Of each fault one agent in twenty: every ask is answered rightly, or with a reason by its deadline."""
    deadline = 8
    with bench.real(AGENT_TIMEOUT="1", ASK_TIMEOUT=str(deadline)) as real:
        load = Load(
            port=real.port,
            agents=80,
            think=0.02,
            asks=2_000 if bench.quick else 10_000,
            sticky=0.25,
            tokens=on_loop(users(real)),
            timeout=deadline + 2,
        )
        kinds: list[Callable[[Crew], Agent]] = [FAULTS[n % 20] if n % 20 < len(FAULTS) else Agent for n in range(80)]
        tally = on_loop(drive(load, kinds=kinds, server_cpu=real.cpu))
    # A second over the deadline is the driver's own lateness on a busy machine.
    in_time = tally.longest <= deadline + 1 and tally.asks >= load.asks
    sound = in_time and not (tally.wrong or tally.lost or tally.overloads)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in tally.failed.most_common(4))
    counted = ", ".join(f"{count} {name}" for name, count in sorted(tally.faults.items()))
    figures = {"ok": tally.ok, "wrong": tally.wrong, "failed": tally.failed.total(), "lost": tally.lost.total()}
    return [
        Row(
            f"{tally.asks:,} asks, faulty agents ({counted})",
            f"{tally.wrong} wrong, {figures['failed']} with a reason, {figures['lost']} without, "
            f"longest {tally.longest:.1f} s",
            f"0 wrong, 0 without, {deadline} s",
            "",
            verdict(tally.wrong + tally.lost.total(), 0, NONE, sound=sound),
            {**figures, "longest": tally.longest, **tally.faults},
            tally.trouble() if not sound else f"reasons: {reasons}" if reasons else "",
        )
    ]


def memory(bench: Bench) -> list[Row]:
    """What 2,000 agents that wait cost the server, and how long they take to connect."""
    count = 500 if bench.quick else 2_000
    with bench.real() as real, bench.bare() as bare:
        each, seconds = on_loop(_idle(real, count))
        floor, _ = on_loop(_idle(bare, count))
    figures = {"kib": each, "seconds": seconds, "bare_kib": floor}
    return [
        Row(
            f"memory of an idle agent of {count:,}, time to connect all",
            f"{each:.1f} KiB (bare {floor:.1f}), {seconds:.1f} s",
            "32 KiB, 10 s",
            "20 KiB, 3 s",
            verdict(each, 32, 20 if seconds <= 3 else NONE, sound=seconds <= 10),
            figures,
        )
    ]


async def _idle(server: Server, count: int) -> tuple[float, float]:
    """KiB an agent, and seconds until all were listed."""
    # One ask beforehand, so that what is loaded at first use is not put on the agents' bill.
    await drive(Load(port=server.port, clients=1, agents=1, asks=1, tokens=await users(server, 1)))
    crew = Crew(Load(port=server.port), Tally())
    try:
        before, start = server.rss(), time.perf_counter()
        await crew.dial([Agent] * count)
        await listed(server.port, count)
        seconds = time.perf_counter() - start
        await asyncio.sleep(5)  # a ping of every agent's falls into this time
        await listed(server.port, count)
        return (server.rss() - before) / count / KIB, seconds
    finally:
        await crew.leave()


def failover(bench: Bench) -> list[Row]:
    """From an agent's clean death in the middle of an ask to the answer by another, who takes 5 ms for it."""
    with bench.real() as real:
        load = Load(
            port=real.port,
            clients=8,
            agents=16,
            think=0.005,
            asks=1_500 if bench.quick else 6_000,
            tokens=on_loop(users(real)),
        )
        tally = on_loop(drive(load, kinds=[Mortal] * load.agents, server_cpu=real.cpu))
    deaths = len(tally.failovers)
    p50, p99 = quantile(tally.failovers, 0.5), quantile(tally.failovers, 0.99)
    return [
        Row(
            f"failover after {deaths} clean deaths, p99",
            f"p50 {MS * p50:.0f} ms, p99 {MS * p99:.0f} ms",
            "2 s",
            "0.5 s",
            verdict(p99, 2, 0.5, sound=tally.clean and deaths >= 100),
            {"deaths": deaths, "p50_ms": MS * p50, "p99_ms": MS * p99},
            tally.trouble(),
        )
    ]


CELLS: dict[str, Callable[[Bench], list[Row]]] = {
    "throughput": throughput,
    "thinking": thinking,
    "queueing": queueing,
    "faults": faults,
    "memory": memory,
    "failover": failover,
}
