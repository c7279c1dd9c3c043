"""How often a second question is answered: one that begins anew, and one that goes on from the first.

    python -m bench.followups [--wrong]

The pairs and the sources that answer them are bench/followups.json, in four languages and all in one database. Each
second question is searched and quoted by the product, by words alone; it counts when the quotes hold the gold words.
"alone" asks it without the first question. `--wrong` lists those that failed."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAIRS = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Pair:
    language: str
    first: str
    second: str
    kind: str  # "new" or "follow"
    gold: str


def read() -> tuple[list[dict[str, str]], list[Pair]]:
    """The sources and the pairs."""
    found = json.loads(PAIRS.read_text("utf-8"))
    return found["sources"], [Pair(**row) for row in found["pairs"]]


def store(sources: Sequence[dict[str, str]]) -> None:
    from privategpt import ingest

    for each in sources:
        ingest.store(None, title=each["title"], content=each["content"], groups=[], public=True)


def answered(pair: Pair, *, alone: bool = False) -> bool:
    """Whether the quotes for the second question hold the gold words."""
    from privategpt.grounding import ground
    from privategpt.llm.quoting import quoted
    from privategpt.models import Source
    from privategpt.prompts import Turn
    from privategpt.retrieval.search import Ways

    history = [] if alone else [Turn(pair.first, "An answer.")]
    grounded = ground(pair.second, Source.objects.kept(), history=history, ways=Ways(meaning=False))
    return pair.gold in quoted(grounded.grounds(pair.language))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        prepare(data)
        sources, pairs = read()
        store(sources)
        rates: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
        for pair in pairs:
            found = answered(pair), answered(pair, alone=True)
            for language in (pair.language, "all"):
                rates[pair.kind, language].append(found)
            if options.wrong and not found[0]:
                print(f"{pair.kind} {pair.language}: {pair.first} -> {pair.second}")
        tell(rates)


def tell(rates: Any) -> None:
    print("| second question | language | pairs | answered | answered alone |")
    print("|---|---|---|---|---|")
    for (kind, language), found in sorted(rates.items()):
        after, alone = (sum(each[at] for each in found) / len(found) for at in (0, 1))
        print(f"| {kind} | {language} | {len(found)} | {after:.2f} | {alone:.2f} |")


def prepare(data: str) -> None:
    """A database of its own."""
    os.environ |= {"DATA_DIR": data, "DJANGO_SETTINGS_MODULE": "project.settings"}
    os.environ.pop("DATABASE_URL", None)
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    main()
