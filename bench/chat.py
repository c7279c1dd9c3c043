"""`python -m bench.chat`: what the server adds to a model, in time to the first words and in streams a second.

A scripted OpenAI-compatible endpoint is asked directly and through `POST /api/v1/chats` with `"stream": true`,
in turn and in the same run, with retrieval off. Exit status 1 when a promise was not kept, 2 when a server did
not start.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import wire
from bench.processes import Server, raise_file_limit
from bench.scripted_upstream import PIECES

SERVE = "{python} manage.py serve {port} {key}"
UPSTREAM = "{python} -m bench.scripted_upstream {port}"
EMAIL, PASSWORD = "bench@example.org", "a password for a bench"
ADDED_MUST, ADDED_AIM = 12.0, 5.0  # milliseconds at p50
RATE_MUST, RATE_AIM = 100.0, 300.0  # streams a second, 16 at once
STREAMS = 16


@dataclass(frozen=True)
class Door:
    """Where streams are asked for: `first` marks the first words in what comes back."""

    port: int
    path: str
    body: bytes
    first: bytes
    headers: str = ""

    def request(self) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nHost: {wire.HOST}:{self.port}\r\nContent-Type: application/json\r\n"
        return f"{head}{self.headers}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


class Line:
    """One connection that is kept."""

    def __init__(self, door: Door) -> None:
        self._door, self._request = door, door.request()

    async def open(self) -> "Line":
        self._reader, self._writer = await asyncio.open_connection(wire.HOST, self._door.port)
        return self

    async def stream(self) -> float:
        """Seconds to the first words; returns when the whole answer is there. Raises RuntimeError."""
        begun, first, found = time.perf_counter(), 0.0, b""
        self._writer.write(self._request)
        while not found.endswith(b"0\r\n\r\n"):
            data = await self._reader.read(1 << 16)
            found += data
            if not first and self._door.first in found:
                first = time.perf_counter() - begun
            if not data:
                break
        if not found.startswith(b"HTTP/1.1 200") or found.count(b"word") < PIECES or not first:
            raise RuntimeError(f"No whole answer from port {self._door.port}: {found[:100]!r} ... {found[-600:]!r}")
        return first

    def close(self) -> None:
        self._writer.close()


async def one_stream(doors: Sequence[Door], count: int) -> list[float]:
    """The p50 in milliseconds of each door, asked in turn."""
    lines = [await Line(door).open() for door in doors]
    times: list[list[float]] = [[] for _ in doors]
    for turn in range(count + count // 10):
        for line, found in zip(lines, times, strict=True):
            seconds = await line.stream()
            if turn >= count // 10:  # the first ones warm up
                found.append(seconds * 1000)
    for line in lines:
        line.close()
    return [statistics.median(found) for found in times]


async def many_streams(door: Door, seconds: float) -> tuple[float, float]:
    """Whole streams a second with STREAMS at once, and the p50 to the first words in milliseconds."""
    until, times = time.perf_counter() + seconds, []

    async def work() -> None:
        line = await Line(door).open()
        while time.perf_counter() < until:
            times.append(await line.stream() * 1000)
        line.close()

    begun = time.perf_counter()
    await asyncio.gather(*[work() for _ in range(STREAMS)])
    return len(times) / (time.perf_counter() - begun), statistics.median(times)


async def token(port: int) -> str:
    """A login's token, as soon as the first administrator is there."""
    body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    head = (
        f"POST /api/v1/login HTTP/1.1\r\nHost: {wire.HOST}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(300):
        reader, writer = await asyncio.open_connection(wire.HOST, port)
        writer.write(head.encode() + body)
        reply = await reader.read()
        writer.close()
        if reply.startswith(b"HTTP/1.1 200"):
            return str(json.loads(reply.partition(b"\r\n\r\n")[2])["data"]["token"])
        await asyncio.sleep(0.2)
    raise RuntimeError(f"No login: {reply!r}")


async def measure(upstream: Server, server: Server, options: argparse.Namespace) -> bool:
    """Prints the figures; whether the promises were kept."""
    question = {"model": "scripted", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
    alone = Door(upstream.port, "/v1/chat/completions", json.dumps(question).encode(), b"word0")
    key = await token(server.port)
    asked = json.dumps({"question": "Why?", "stream": True, "language": "en"}).encode()
    through = Door(server.port, "/api/v1/chats", asked, b"word0", f"Authorization: Bearer {key}\r\n")
    bare, ours = await one_stream([alone, through], options.count)
    added = ours - bare
    print(
        f"one stream, to the first words: {bare:.2f} ms alone, {ours:.2f} ms through the server, {added:.2f} ms added "
        f"(must {ADDED_MUST:g}, aim {ADDED_AIM:g})"
    )
    rates, spent = [], 0.0
    for door in (alone, through, alone, through):
        before = server.cpu()
        rates.append(await many_streams(door, options.seconds))
        spent += server.cpu() - before
    (bare_rate, bare_first), (rate, first) = max(rates[0::2]), max(rates[1::2])
    streams = sum(found * options.seconds for found, _ in rates[1::2])
    print(f"CPU time of the server and its children: {1000 * spent / streams:.1f} ms a stream")
    print(
        f"{STREAMS} streams at once: {bare_rate:.0f}/s alone, {rate:.0f}/s through the server, ratio "
        f"{rate / bare_rate:.3f} (must {RATE_MUST:g}/s, aim {RATE_AIM:g}/s); to the first words {bare_first:.1f} and "
        f"{first:.1f} ms"
    )
    return added <= ADDED_MUST and rate >= RATE_MUST


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.chat", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="answers of which the median is taken (200)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a round with many streams (5)")
    parser.add_argument("--server", default=SERVE, metavar="COMMAND", help=f"how to start the server: {SERVE}")
    options = parser.parse_args()
    raise_file_limit()
    misdeeds: list[str] = []
    try:
        with Server("upstream", UPSTREAM, settings={}, misdeeds=misdeeds) as upstream:
            settings = {
                "OPENAI_BASE_URL": f"http://{wire.HOST}:{upstream.port}/v1",
                "OPENAI_MODEL": "scripted",
                "ADMIN_EMAIL": EMAIL,
                "ADMIN_PASSWORD": PASSWORD,
                "EMBEDDER": "off",
            }
            with Server("server", options.server, settings=settings, misdeeds=misdeeds) as server:
                try:
                    is_kept = asyncio.run(measure(upstream, server, options))
                except RuntimeError as error:
                    raise RuntimeError(f"{error}\n{server.log()}") from error
                print(f"memory of the server and its children afterwards: {server.rss() / (1 << 20):.0f} MiB")
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*misdeeds, sep="\n", end="")
    return 0 if is_kept and not misdeeds else 1


if __name__ == "__main__":
    sys.exit(main())
