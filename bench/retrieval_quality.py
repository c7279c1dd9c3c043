"""How well retrieval finds and quotes, on any folder of collections.

    python bench/retrieval_quality.py FOLDER [--only cranfield,xquad_en] [--embedder none] [--cache DIR] [--answers]

A collection is a folder with corpus.jsonl (id, title, text), queries.jsonl (id, text, perhaps answers) and
qrels.tsv (query, document, gain; one header line). `--answers` scores the quoted sentences as well, and a
`reject/` folder inside a collection (questions of kind far, near, answerable). Everything goes through the
product: sources are stored into a database of their own, cut, analysed, embedded and searched by
`retrieval.search`. `--cache` keeps vectors between runs."""

import argparse
import hashlib
import json
import math
import os
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    from privategpt.retrieval.embedders import Embedder, Floats
    from privategpt.retrieval.search import Found, Searcher

DEPTH = 100  # sources that are ranked
Rankings = dict[str, list[str]]


@dataclass(frozen=True)
class Collection:
    name: str
    corpus: list[dict[str, str]]
    queries: list[dict[str, Any]]
    gains: dict[str, dict[str, int]]


def read(folder: Path) -> Collection:
    gains: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, document, gain = line.split("\t")
        if int(gain) > 0:
            gains.setdefault(query, {})[document] = int(gain)
    queries = [query for query in _rows(folder / "queries.jsonl") if query["id"] in gains or "kind" in query]
    return Collection(folder.name, _rows(folder / "corpus.jsonl"), queries, gains)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]


def ndcg(ranking: Sequence[str], gains: dict[str, int]) -> float:
    """nDCG@10 with linear gain, as trec_eval's ndcg_cut_10."""
    reached = sum(gains.get(document, 0) / math.log2(place + 2) for place, document in enumerate(ranking[:10]))
    ideal = sum(gain / math.log2(place + 2) for place, gain in enumerate(sorted(gains.values(), reverse=True)[:10]))
    return reached / ideal if ideal else 0.0


def recall(ranking: Sequence[str], gains: dict[str, int]) -> float:
    return len(set(ranking[:DEPTH]) & set(gains)) / len(gains)


def success(ranking: Sequence[str], gains: dict[str, int], depth: int) -> float:
    return float(any(document in gains for document in ranking[:depth]))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """The mean difference and its 95 % interval (bootstrap over questions)."""
    difference = np.subtract(ours, theirs)
    chosen = np.random.default_rng(7).integers(0, len(difference), (2_000, len(difference)))
    low, high = np.percentile(difference[chosen].mean(axis=1), [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)


class Cached:
    """An embedder whose vectors are kept in a folder between runs."""

    def __init__(self, embedder: "Embedder", folder: Path | None) -> None:
        self.identity, self.size, self.related = embedder.identity, embedder.size, embedder.related
        self._embedder, self._folder = embedder, folder
        self._sentences: dict[str, Floats] = {}

    def passages(self, texts: Sequence[str]) -> "Floats":
        return self._kept("p", texts, self._embedder.passages)

    def questions(self, texts: Sequence[str]) -> "Floats":
        return self._kept("q", texts, lambda rows: np.array([self._embedder.question(row) for row in rows]))

    def sentences(self, texts: Sequence[str]) -> "Floats":
        new = [text for text in texts if text not in self._sentences]
        self._sentences |= dict(zip(new, self._embedder.passages(new), strict=True))
        return np.array([self._sentences[text] for text in texts])

    def _kept(self, kind: str, texts: Sequence[str], make: Callable[[Sequence[str]], "Floats"]) -> "Floats":
        if self._folder is None:
            return make(texts)
        digest = hashlib.sha256(json.dumps([self.identity, kind, *texts]).encode()).hexdigest()[:24]
        path = self._folder / f"{digest}.npy"
        if not path.exists():
            np.save(path, make(texts))
        found: Floats = np.load(path)
        return found


class Known:
    """The questions' vectors, made beforehand."""

    def __init__(self, embedder: Cached, texts: Sequence[str]) -> None:
        self._embedder = embedder
        self._vectors = dict(zip(texts, embedder.questions(texts), strict=True))

    def ask(self, question: str) -> "Here":
        return Here(self._vectors[question][None, :], self._embedder.identity, self._embedder.related)


@dataclass(frozen=True)
class Here:
    rows: "Floats"
    identity: str
    related: float | None

    def embedded(self, timeout: float) -> "Here":
        return self


def store(collection: Collection) -> dict[Any, str]:
    """Stores the corpus in an empty database. Returns the document of each source."""
    from privategpt.models import Source
    from privategpt.retrieval.indexes import index as chosen

    Source.objects.all().delete()
    index, documents, started = chosen(), {}, time.process_time()
    for document in collection.corpus:
        title, text = document["title"], document["text"]
        content = f"# {title}\n\n{text}" if title else text
        source = Source.objects.create(title=title or text[:60], content=content, is_public=True)
        index.store(source)
        documents[source.pk] = document["id"]
    spent = time.process_time() - started
    print(
        f"{collection.name}: {len(documents)} sources stored, {len(documents) / spent:.0f} per CPU second", flush=True
    )
    return documents


def embed(embedder: Cached) -> None:
    from privategpt.models import Passage, Vector
    from privategpt.retrieval.index import passage_text
    from privategpt.retrieval.matrix import packed

    rows = list(Passage.objects.select_related("source").order_by("id"))
    started = time.process_time()
    vectors = embedder.passages([passage_text(row) for row in rows])
    spent = max(time.process_time() - started, 1e-9)
    print(f"  {len(rows)} passages embedded, {len(rows) / spent:.1f} per CPU second", flush=True)
    data = zip(rows, packed(vectors), strict=True)
    Vector.objects.bulk_create(
        [Vector(passage=row, embedder=embedder.identity, data=bytes_) for row, bytes_ in data], batch_size=200
    )


class NoWords:
    """An index that finds nothing by words: what is left are the vectors."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def lexical(self, *_: Any) -> list[tuple[int, float]]:
        return []


def searchers(collection: Collection, embedder: Cached | None) -> dict[str, "Searcher"]:
    from privategpt.retrieval.indexes import index as chosen
    from privategpt.retrieval.search import Searcher

    index = chosen()
    systems = {"words": Searcher(index)}
    if embedder is not None:
        embed(embedder)
        known = Known(embedder, [query["text"] for query in collection.queries])
        systems |= {"vectors": Searcher(NoWords(index), known), "hybrid": Searcher(index, known)}
    return systems


def find(searcher: "Searcher", question: str, limit: int) -> "Found":
    from privategpt.models import Source

    return searcher.search(question, Source.objects.filter(is_public=True), limit)


def rank(collection: Collection, searcher: "Searcher", documents: dict[Any, str]) -> Rankings:
    return {
        query["id"]: [documents[source] for source in find(searcher, query["text"], DEPTH).sources]
        for query in collection.queries
    }


def report(collection: Collection, systems: dict[str, Rankings]) -> None:
    """One table row for each system; differences are to the words alone."""
    base: list[float] = []
    for name, rankings in systems.items():
        judged = [(rankings[query["id"]], collection.gains[query["id"]]) for query in collection.queries]
        each = [ndcg(*pair) for pair in judged]
        row = [np.mean(each), *(np.mean([success(*pair, depth) for pair in judged]) for depth in (1, 5))]
        row.append(np.mean([recall(*pair) for pair in judged]))
        change = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*paired(each, base)) if base else ""
        base = base or each
        print(f"| {collection.name} | {name} | " + " | ".join(f"{value:.4f}" for value in row) + f" | {change} |")
    sys.stdout.flush()


def _plain(text: str) -> str:
    """SQuAD's normal form: no case, no punctuation, no English articles."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = "".join(" " if unicodedata.category(char)[0] in "PSZC" else char for char in text)
    return " " + " ".join(word for word in text.split() if word not in {"a", "an", "the"}) + " "


def holds(answer: str, golds: Sequence[str]) -> bool:
    answer = _plain(answer)
    return any(_plain(gold).strip() and _plain(gold) in answer for gold in golds)


def quote(collection: Collection, searcher: "Searcher", name: str, embed: Any) -> None:
    """How often the quoted sentences hold the gold answer, and how long they are."""
    from privategpt.retrieval.sentences import answer

    asked = [query for query in collection.queries if query.get("answers")]
    given = [answer(find(searcher, query["text"], 10), embed) for query in asked]
    right = [holds(found.text, query["answers"]) for found, query in zip(given, asked, strict=True)]
    refused = np.mean([found.refused for found in given])
    words = np.mean([len(_plain(found.text).split()) for found in given])
    print(
        f"| {collection.name} | {name} | holds gold {np.mean(right):.4f} | {words:.1f} words | refused {refused:.4f} |"
    )


def reject(collection: Collection, searcher: "Searcher", name: str, embed: Any) -> None:
    """How often it says rightly, and wrongly, that the sources do not answer."""
    from privategpt.retrieval.sentences import answer

    kinds: dict[str, list[bool]] = {}
    for query in collection.queries:
        found = answer(find(searcher, query["text"], 10), embed)
        kinds.setdefault(query["kind"], []).append(found.refused)
    rates = {kind: float(np.mean(refused)) for kind, refused in kinds.items()}
    balanced = ((rates["far"] + rates["near"]) / 2 + 1 - rates["answerable"]) / 2
    detail = " | ".join(f"refuses {kind} {rates[kind]:.3f}" for kind in ("far", "near", "answerable"))
    print(f"| {collection.name} reject | {name} | balanced {balanced:.4f} | {detail} |", flush=True)


def evaluate(folder: Path, embedder: Cached | None, *, answers: bool) -> None:
    collection = read(folder)
    documents = store(collection)
    systems = searchers(collection, embedder)
    report(collection, {name: rank(collection, searcher, documents) for name, searcher in systems.items()})
    if not answers:
        return
    sentences = embedder and embedder.sentences
    for name in ("words", "hybrid"):
        if name in systems and any(query.get("answers") for query in collection.queries):
            quote(collection, systems[name], name, sentences)
    if (folder / "reject").is_dir():
        withheld = read(folder / "reject")
        withheld = Collection(collection.name, withheld.corpus, withheld.queries, withheld.gains)
        store(withheld)
        for name, searcher in searchers(withheld, embedder).items():
            if name != "vectors":
                reject(withheld, searcher, name, sentences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="names, comma-separated")
    parser.add_argument("--embedder", choices=("e5small", "none"), default="e5small")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--answers", action="store_true")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    folders = sorted(path.parent for path in options.folder.glob("*/corpus.jsonl"))
    with tempfile.TemporaryDirectory() as data:
        prepare(data)
        if options.cache:
            options.cache.mkdir(parents=True, exist_ok=True)
        embedder = None if options.embedder == "none" else Cached(_e5small(), options.cache)
        print("| collection | system | nDCG@10 | S@1 | S@5 | R@100 | nDCG@10 against words (95 %) |")
        for folder in folders:
            if not only or folder.name in only:
                evaluate(folder, embedder, answers=options.answers)


def prepare(data: str) -> None:
    """A Django with an empty database in this folder."""
    os.environ |= {"DATA_DIR": data, "DJANGO_SETTINGS_MODULE": "project.settings"}
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def _e5small() -> "Embedder":
    from privategpt.retrieval.embedders import E5Small

    return E5Small(threads=1)


if __name__ == "__main__":
    main()
