"""How the memory of a server's processes grows: samples from /proc, and what is made of them."""

import contextlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import tree

MUST = 0.05  # share by which a process may grow after its warm-up
FEWEST = 10  # samples; with fewer there is no telling
KIB = 1024
PARTS = {b"\0--only\0web": "web", b"\0worker": "worker", b"embedding_process": "embedder", b"\0runagent": "agent"}


@dataclass(frozen=True)
class Sample:
    at: float  # seconds on the monotonic clock
    rss: float  # bytes
    private: float  # bytes that no other process shares; 0 where the kernel does not tell


@dataclass(frozen=True)
class Growth:
    """Of one process after its warm-up, in shares of where it began."""

    name: str
    first: float  # bytes: the median of the first tenth
    last: float  # bytes: the median of the last tenth
    line: float  # end of the least-squares line against its begin
    peak: float  # bytes
    private: float  # bytes, the median of the last tenth

    @property
    def medians(self) -> float:
        return self.last / self.first - 1

    @property
    def is_kept(self) -> bool:
        return max(self.medians, self.line) < MUST


@dataclass
class Watch:
    """Looks at a server and its children again and again. `ended`: processes that were there and are no more."""

    pid: int
    seen: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    def look(self) -> None:
        there = {(name, pid) for pid in tree(self.pid) if (name := part(pid, self.pid))}
        for name, pid in self.seen.keys() - there:
            if f"{name} {pid}" not in self.ended:
                self.ended.append(f"{name} {pid}")
        for name, pid in there:
            with contextlib.suppress(OSError):  # it ended just now
                self.seen.setdefault((name, pid), []).append(sample(pid))

    def growths(self, since: float) -> list[Growth]:
        """Of each process that was looked at often enough."""
        rest = {key: [each for each in found if each.at >= since] for key, found in self.seen.items()}
        long = sorted((key, found) for key, found in rest.items() if len(found) >= FEWEST)
        return [growth(f"{name} ({pid})", found) for (name, pid), found in long]


def part(pid: int, supervisor: int) -> str:
    """What a process is; empty for one that we do not know, such as a fork that has not become its program yet."""
    if pid == supervisor:
        return "supervisor"
    with contextlib.suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return next((name for mark, name in PARTS.items() if mark in line), "")
    return ""


def sample(pid: int) -> Sample:
    """Raises OSError when there is no such process."""
    rows = {}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split()[:2]
            rows[name] = int(value) * KIB
    except PermissionError:  # some containers: the status is open to everybody
        rows["Rss:"] = _resident(pid)
    if "Rss:" not in rows:
        raise ProcessLookupError(pid)  # a zombie has no memory
    private = rows.get("Private_Clean:", 0) + rows.get("Private_Dirty:", 0)
    return Sample(time.monotonic(), rows["Rss:"], private)


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in status if line.startswith("VmRSS:"))


def growth(name: str, samples: Sequence[Sample]) -> Growth:
    """Of a process's samples in their order, at least two."""
    tenth = max(1, len(samples) // 10)
    sizes = [each.rss for each in samples]
    slope, begin = statistics.linear_regression([each.at - samples[0].at for each in samples], sizes)
    return Growth(
        name,
        first=statistics.median(sizes[:tenth]),
        last=statistics.median(sizes[-tenth:]),
        line=slope * (samples[-1].at - samples[0].at) / begin,
        peak=max(sizes),
        private=statistics.median(each.private for each in samples[-tenth:]),
    )


def table(growths: Sequence[Growth]) -> str:
    """Markdown."""
    lines = [
        "| process | MB after warm-up | MB at the end | most | private | growth, medians | growth, line | kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in growths:
        sizes = " | ".join(f"{size / 1e6:.1f}" for size in (each.first, each.last, each.peak, each.private))
        kept = "yes" if each.is_kept else "MISSED"
        lines.append(f"| {each.name} | {sizes} | {each.medians:+.1%} | {each.line:+.1%} | {kept} |")
    return "\n".join(lines)
