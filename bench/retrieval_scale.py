"""How long a search takes among many passages, and how much pgvector's graph finds of what comparing all would find.

    DATABASE_URL=postgres://... python bench/retrieval_scale.py [--sources 10000]
    python bench/retrieval_scale.py --postgres       # a server of its own, out of a package

Fills an empty database with generated texts of ten passages each and vectors in clusters. Without either it measures
SQLite. The question's own vector is given, not made: a passage's, disturbed."""

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SIZE, CLUSTERS, EMBEDDER = 384, 400, "generated/1"
SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu".split()  # noqa: SIM905
VOCABULARY, SENTENCE, SENTENCES, SECTIONS = 30_000, 12, 9, 10


class Writer:
    """Texts whose words are as unlike in frequency as those of a language."""

    def __init__(self) -> None:
        self.dice = random.Random(5)
        self.words = sorted({"".join(self.dice.choices(SYLLABLES, k=self.dice.randint(2, 4))) for _ in range(40_000)})
        self.dice.shuffle(self.words)
        self.words = self.words[:VOCABULARY]
        self.weights = np.cumsum([1 / (rank + 10) for rank in range(len(self.words))]).tolist()

    def some(self, count: int) -> str:
        return " ".join(self.dice.choices(self.words, cum_weights=self.weights, k=count))

    def section(self) -> str:
        return " ".join(self.some(SENTENCE).capitalize() + "." for _ in range(SENTENCES))

    def source(self) -> str:
        return "\n\n".join(f"## {self.some(3).title()}\n\n{self.section()}" for _ in range(SECTIONS))


def fill(writer: Writer, sources: int) -> None:
    """Every twentieth source is public."""
    from django.db import transaction

    from privategpt.models import Source
    from privategpt.retrieval.indexes import index

    began = time.monotonic()
    for start in range(0, sources, 50):
        with transaction.atomic():
            for number in range(start, min(start + 50, sources)):
                content = writer.source()
                row = Source.objects.create(title=writer.some(3), content=content, is_public=number % 20 == 0)
                index().store(row)
        if start % 1000 == 0:
            print(f"{start} sources, {time.monotonic() - began:.0f} s", flush=True)


class Clusters:
    """Vectors around points that know nothing of each other."""

    def __init__(self, dice: np.random.Generator) -> None:
        self._dice = dice
        self._centres = dice.normal(size=(CLUSTERS, SIZE)).astype(np.float32)

    def some(self, count: int) -> np.ndarray:
        made = self._centres[self._dice.integers(0, CLUSTERS, count)] + 0.9 * self._dice.normal(size=(count, SIZE))
        return unit(made)


class Between:
    """Vectors between an embedder's own and one of the twenty nearest to each: as crowded as those are."""

    def __init__(self, dice: np.random.Generator, folder: Path) -> None:
        self._dice = dice
        kept = [np.load(path) for path in sorted(folder.glob("*.npy"))]
        self._real = np.unique(np.concatenate(kept).astype(np.float32), axis=0)
        print(f"{len(self._real)} of an embedder's vectors")

    def some(self, count: int) -> np.ndarray:
        ones = self._real[self._dice.integers(0, len(self._real), count)]
        near = np.argpartition(-(ones @ self._real.T), 20, axis=1)[:, :20]
        others = self._real[near[np.arange(count), self._dice.integers(0, 20, count)]]
        share = self._dice.uniform(0, 0.5, size=(count, 1))
        return unit((1 - share) * ones + share * others)


def unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def embed(vectors: Clusters | Between) -> np.ndarray:
    """A vector for each passage."""
    from privategpt.models import Passage, Vector
    from privategpt.retrieval.matrix import packed

    ids = list(Passage.objects.order_by("pk").values_list("pk", flat=True))
    rows = np.empty((len(ids), SIZE), np.float32)
    for start in range(0, len(ids), 5_000):
        part = ids[start : start + 5_000]
        made = rows[start : start + len(part)] = vectors.some(len(part))
        pairs = zip(part, packed(made), strict=True)
        Vector.objects.bulk_create([Vector(passage_id=pk, embedder=EMBEDDER, data=data) for pk, data in pairs])
    return rows


class Given:
    """The question's vector, without an embedder."""

    identity, related = EMBEDDER, None

    def __init__(self) -> None:
        self.rows = np.empty((1, SIZE), np.float32)

    def ask(self, question: str) -> "Given":
        return self

    def embedded(self, timeout: float) -> "Given":
        return self


def measure(writer: Writer, rows: np.ndarray, visible: Any, name: str, questions: int) -> None:
    """p50 and p99 of whole searches."""
    from privategpt.retrieval.indexes import index
    from privategpt.retrieval.search import Searcher

    given = Given()
    searcher = Searcher(index(), given)
    dice, times = np.random.default_rng(11), []
    for number in range(questions + 20):
        given.rows = unit(rows[dice.integers(0, len(rows))][None] + 0.03 * dice.normal(size=(1, SIZE)))
        question = writer.some(8)
        began = time.perf_counter()
        searcher.search(question, visible)
        if number >= 20:  # the first ones fill caches
            times.append(1000 * (time.perf_counter() - began))
    p50, p99 = np.percentile(times, [50, 99])
    print(f"| {name} | {p50:.0f} | {p99:.0f} |", flush=True)


def recall(rows: np.ndarray, visible: Any, mask: np.ndarray, name: str) -> None:
    """How many of the ten nearest the database finds."""
    from privategpt.models import Passage
    from privategpt.retrieval.indexes import index

    ids = np.array(Passage.objects.order_by("pk").values_list("pk", flat=True))[mask]
    mine, hits, asked = rows[mask].astype(np.float16).astype(np.float32), 0, 0
    dice = np.random.default_rng(13)
    for _ in range(100):
        (question,) = unit(rows[dice.integers(0, len(rows))][None] + 0.03 * dice.normal(size=(1, SIZE)))
        near = index().nearest(EMBEDDER, question, visible, 200)
        if near is None:
            print("the database does not compare vectors")
            return
        best = set(ids[np.argsort(-(mine @ question))[:10]].tolist())
        hits, asked = hits + len(best & {pk for pk, _ in near.nearest[:10]}), asked + 10
    print(f"| {name} | recall of the top ten | {hits / asked:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--vectors", type=Path, metavar="FOLDER", help="an embedder's own: retrieval_quality's --cache")
    parser.add_argument("--postgres", action="store_true", help="start a server for it")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ |= {"DATA_DIR": data, "DJANGO_SETTINGS_MODULE": "project.settings"}
        if options.postgres:
            from tests.postgres import Postgres

            server = Postgres(Path(data, "postgres"))
            stack.callback(server.end)
            os.environ["DATABASE_URL"] = server.url()
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        dice = np.random.default_rng(17)
        vectors = Between(dice, options.vectors) if options.vectors else Clusters(dice)
        run(options.sources, options.questions, vectors)


def run(sources: int, questions: int, vectors: Clusters | Between) -> None:
    from django.db import connection

    from privategpt.models import Passage, Source
    from privategpt.retrieval.indexes import index
    from privategpt.retrieval.neighbours import Neighbours

    writer = Writer()
    fill(writer, sources)
    rows = embed(vectors)
    if connection.vendor == "postgresql":
        began = time.monotonic()
        Neighbours().tend(now=True)
        print(f"the graph was built in {time.monotonic() - began:.0f} s")
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    index().statistics()
    public = Source.objects.filter(is_public=True)
    owners = dict(Passage.objects.values_list("pk", "source__is_public"))
    mask = np.array([owners[pk] for pk in sorted(owners)])
    print(f"{len(rows)} passages\n| who | p50 ms | p99 ms |")
    measure(writer, rows, Source.objects.all(), "reads all", questions)
    measure(writer, rows, public, "reads a twentieth", questions)
    recall(rows, Source.objects.all(), np.ones(len(rows), bool), "reads all")
    recall(rows, public, mask, "reads a twentieth")


if __name__ == "__main__":
    main()
