"""`make bench`: start the server and the bare round trip, measure both in turn, print one table.

Exit status 1 when an answer was wrong or a promise was not kept, 2 when a server did not start.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.cells import BARE, CELLS, REAL, Bench, Row
from bench.processes import busy_elsewhere, raise_file_limit

HEADINGS = ("what", "found", "must", "aim", "kept")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CELLS, metavar="CELL", help=f"some of: {', '.join(CELLS)}")
    parser.add_argument("--quick", action="store_true", help="short rounds, smaller numbers: a look, not a figure")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median is taken")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    parser.add_argument("--server", default=REAL, metavar="COMMAND", help=f"how to start the server: {REAL}")
    parser.add_argument("--bare", default=BARE, metavar="COMMAND", help=f"how to start the bare round trip: {BARE}")
    return parser.parse_args(arguments)


def measure(bench: Bench, cells: Sequence[str]) -> list[Row]:
    rows = []
    for name in cells:
        start = time.monotonic()
        rows += CELLS[name](bench)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Markdown, so that it can stand in the README as it is."""
    cells = [HEADINGS, *((row.what, row.found, row.must, row.aim, row.verdict) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def costs(rows: Sequence[Row]) -> list[str]:
    """What an ask costs in CPU time, on either side, where that was measured."""
    return [
        f"{row.what}: CPU us/ask: server {row.figures['server_us']:.0f}, bare {row.figures['bare_server_us']:.0f} "
        f"(ratio {row.figures['bare_server_us'] / max(1, row.figures['server_us']):.2f}), "
        f"driver {row.figures['driver_us']:.0f}"
        for row in rows
        if "bare_server_us" in row.figures
    ]


def noise(since: float, seconds: float) -> str:
    """How much of the machine other programs took meanwhile: rates suffer from it, CPU times hardly."""
    share = (busy_elsewhere() - since) / (seconds * (os.cpu_count() or 1))
    return f"other programs took {max(0.0, share):.0%} of this machine's CPU time meanwhile"


def main() -> int:
    options = parse()
    # SIGTERM ends the bench as Ctrl-C does: through the `with` blocks that end the servers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    raise_file_limit()
    start, elsewhere = time.monotonic(), busy_elsewhere()
    bench = Bench(options.server, options.bare, options.quick, options.rounds)
    try:
        rows = measure(bench, options.only or list(CELLS))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(rows))
    troubles = [f"{row.what}: {row.trouble}" for row in rows if row.trouble]
    print("\n".join(["", *costs(rows), *troubles, *bench.misdeeds, noise(elsewhere, time.monotonic() - start)]))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0 if all(row.kept for row in rows) and not bench.misdeeds else 1


if __name__ == "__main__":
    sys.exit(main())
