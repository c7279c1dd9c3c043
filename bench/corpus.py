"""Generated sources: made-up words as often as words are, in English sentences, the same at every run.

`python -m bench.corpus SOURCES SECTIONS` fills the empty data folder that DATA_DIR names through the product's own
ingest, with one passage for each section. Vectors are made up too, under the name of the embedder that is there:
embedding 100,000 passages takes an hour, and what is measured is the search. One source in twenty is the group
FEW's, whose one member is the first administrator; all others are public."""

import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privategpt.retrieval.embedders import EmbedderUnavailable, Floats, from_environment, unit

if TYPE_CHECKING:
    from accounts.models import Group

FEW = "few"
ONE_IN = 20
VOCABULARY = 30_000
HEAD = 30  # ranks that the words between have
SENTENCE = 14  # words
SENTENCES = 11  # of a section: some 1,000 characters, so that it is one passage
AT_ONCE = 100  # sources in one transaction
LIKENESS = 2.0  # what all made-up vectors share, against noise of length one: embedders' vectors are much alike
SYLLABLES = [a + b for a in (*"bdfgklmnprstvz", "st", "tr") for b in "aeiou"]
BETWEEN = ["the", "of", "and", "a", "in", "to", "is", "with", "for", "that"]


@dataclass(frozen=True)
class Text:
    title: str
    content: str


class Texts:
    """Words by Zipf's law without its head, which are the words between: the commonest is in two passages of five."""

    def __init__(self, seed: int = 7) -> None:
        self._random = np.random.default_rng(seed)
        spelled = itertools.product(SYLLABLES, repeat=3)
        every = ["".join(word) for word in itertools.islice(spelled, 0, None, len(SYLLABLES) ** 3 // VOCABULARY)]
        self._words = self._random.permutation(every[:VOCABULARY])
        self._odds = np.cumsum(1 / np.arange(HEAD, VOCABULARY + HEAD))

    def words(self, count: int) -> list[str]:
        places = np.searchsorted(self._odds, self._random.random(count) * self._odds[-1])
        return [str(word) for word in self._words[places]]

    def text(self, sections: int) -> Text:
        title = " ".join(self.words(4)).capitalize()
        return Text(title, "\n\n".join(self._section() for _ in range(sections)))

    def texts(self, count: int, sections: int) -> Iterator[Text]:
        return (self.text(sections) for _ in range(count))

    def question(self) -> str:
        first, second, third, fourth, fifth = self.words(5)
        return f"Where does the {first} {second} meet the {third} of {fourth} and {fifth}?"

    def _section(self) -> str:
        return f"## {' '.join(self.words(3)).capitalize()}\n\n{' '.join(self._sentence() for _ in range(SENTENCES))}"

    def _sentence(self) -> str:
        words = self.words(SENTENCE)
        for place, between in zip(range(1, SENTENCE, 3), self._random.choice(BETWEEN, SENTENCE), strict=False):
            words[place] = str(between)
        return " ".join(words).capitalize() + "."


def fill(texts: Iterator[Text]) -> int:
    """Stores them in the database that Django is set up with. Returns how many passages there are."""
    from accounts.models import Group, User
    from privategpt.models import Passage
    from privategpt.serving import firststart

    firststart.first_administrator()
    few = Group.objects.create(name=FEW)
    User.objects.get(is_superuser=True).groups.add(few)
    try:
        embedder = None if os.environ.get("EMBEDDER") == "off" else from_environment()
    except EmbedderUnavailable:
        embedder = None
    numbered = enumerate(texts)
    while part := list(itertools.islice(numbered, AT_ONCE)):
        _store(part, few, embedder.identity if embedder else "", embedder.size if embedder else 0)
    return Passage.objects.count()


def _store(part: list[tuple[int, Text]], few: "Group", embedder: str, size: int) -> None:
    from privategpt import ingest
    from privategpt.models import Passage, Source, Vector
    from privategpt.retrieval.matrix import packed
    from privategpt.writing import transaction_in_turn

    with transaction_in_turn():
        stored = [
            ingest.store(
                None,
                title=text.title,
                content=text.content,
                groups=[few] if number % ONE_IN == 0 else [],
                public=number % ONE_IN != 0,
            )
            for number, text in part
        ]
        if not embedder:
            return
        passages = list(Passage.objects.filter(source__in=stored).order_by("pk").values_list("pk", flat=True))
        rows = packed(_made_up(len(passages), size, seed=part[0][0]))
        vectors = [Vector(passage_id=pk, embedder=embedder, data=row) for pk, row in zip(passages, rows, strict=True)]
        Vector.objects.bulk_create(vectors, batch_size=200)
        for source in stored:
            source.state, source.passages_done = Source.State.VECTORIZED, source.passages_total
        Source.objects.bulk_update(stored, ["state", "passages_done"])


def _made_up(count: int, size: int, seed: int) -> Floats:
    rows = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32) / np.sqrt(size)
    rows[:, 0] += LIKENESS
    return unit(rows)


def main() -> int:
    sources, sections = map(int, sys.argv[1:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    print(fill(Texts().texts(sources, sections)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
