"""What an answer may rest on: the search for one question, with the asker's rights in it, and what it found,
numbered as it may be cited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from privategpt.fitting import tokens, window
from privategpt.followups import ENOUGH, Reach, reach, telling
from privategpt.llm.matter import Grounds
from privategpt.models import Source, SourceQuerySet
from privategpt.prompts import LONGEST_CONTEXT, Context, Turn
from privategpt.retrieval.analyse import WORD, Term, index_words
from privategpt.retrieval.embedders import EmbedderUnavailable
from privategpt.retrieval.embedding_process import Client
from privategpt.retrieval.search import BOTH, Found, Hit, Ways, Weighed, searcher
from privategpt.retrieval.sentences import says, sentences

if TYPE_CHECKING:
    from privategpt.retrieval.matrix import Floats

SOURCES = 10  # of one answer, when no scenario says otherwise
WHOLE_PASSAGES = 3  # a source with no more of them is given as a whole
BACK = 2  # questions that a follow-up may refer back over
LOOKED_AT = 3  # hits that say whether two questions are about the same


@dataclass(frozen=True, slots=True)
class Numbered:
    """A context and where it stands: `source.content[start:end]`, or the whole of a short source."""

    context: Context
    source: UUID
    start: int
    end: int
    score: float
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Grounded:
    """What was searched and found; the contexts in order of worth."""

    searched: str
    found: Found
    numbered: list[Numbered]
    numbers: dict[int, int]  # passage id to number

    def grounds(self, language: str) -> Grounds:
        """The same for a backend that reads passages instead of messages."""
        return Grounds(self.found, self.numbers, language, _embed if self.found.vector is not None else None)


def ground(
    question: str,
    visible: SourceQuerySet,
    *,
    history: Sequence[Turn] = (),
    limit: int = SOURCES,
    least: float = 0.0,
    ways: Ways = BOTH,
    longest: int = LONGEST_CONTEXT,
) -> Grounded:
    """Searches the visible sources. `least` is the cosine under which a passage counts as not found; `longest` are the
    tokens that one source may take of the prompt."""
    searched, found = _searched(question, history, lambda text: searcher().search(text, visible, limit, ways))
    hits = [hit for hit in found.hits if hit.cosine is None or hit.cosine >= least]
    numbered, numbers = _number(hits, _short(hits, visible), found.terms, longest)
    return Grounded(searched, found, numbered, numbers)


def _searched(question: str, history: Sequence[Turn], search: Callable[[str], Found]) -> tuple[str, Found]:
    """A follow-up is searched together with what it refers to, any other question as it is. Where its words do not
    say which it is, it is a follow-up when some passage speaks of both questions."""
    needs = reach(question)
    before = _before(history)
    if needs is Reach.ALONE or not before:
        return question, search(question)
    joined = "\n".join([question, *before])
    together = search(joined)
    own, other = _apart(together.terms, question)
    if (needs is Reach.BACK and len(own) < ENOUGH) or _speaks_of(together, own, other):
        return joined, together
    alone = search(question)
    return (question, alone) if _speaks_of(alone, own, []) else (joined, together)


def _before(history: Sequence[Turn]) -> list[str]:
    """The questions that it may refer to: the last one, and what that refers to."""
    found: list[str] = []
    for turn in reversed(history[-BACK:]):
        found.append(turn.question)
        if reach(turn.question) is not Reach.BACK:
            break
    return found


def _apart(terms: Sequence[Weighed], question: str) -> tuple[list[Term], list[Term]]:
    """The terms that say something: of the question, and of what was asked before."""
    words = {word.casefold() for word in WORD.findall(question)}
    said = telling(question)
    own = [weighed.term for weighed in terms if weighed.term.word.casefold() in said]
    return own, [weighed.term for weighed in terms if weighed.term.word.casefold() not in words]


def _speaks_of(found: Found, own: Sequence[Term], other: Sequence[Term]) -> bool:
    """Whether one of the first passages has all words of the question and, if there are any, one of the others."""
    for hit in found.hits[:LOOKED_AT]:
        words = frozenset(index_words(f"{hit.title}\n{hit.heading}\n{hit.text}", hit.language))
        if all(says(words, term) for term in own) and (not other or any(says(words, term) for term in other)):
            return True
    return False


def _short(hits: Sequence[Hit], visible: SourceQuerySet) -> dict[UUID, str]:
    """The texts of those sources that are short."""
    wanted = {hit.source for hit in hits}
    short = Source.objects.filter(
        pk__in=wanted, passages_total__range=(2, WHOLE_PASSAGES), id__in=visible.values("pk")
    ).order_by()
    return dict(short.values_list("pk", "content"))


def _number(
    hits: Sequence[Hit], short: dict[UUID, str], terms: Sequence[Weighed], longest: int
) -> tuple[list[Numbered], dict[int, int]]:
    """Of a short source the whole, or as much around the passage that was found as fits; else the passage."""
    numbered: list[Numbered] = []
    numbers: dict[int, int] = {}
    for hit in hits:
        held = next((each for each in numbered if _holds(each, hit)), None)
        if held:
            numbers[hit.passage] = held.context.number
            continue
        number = numbers[hit.passage] = len(numbered) + 1
        text, start, end, heading = hit.text, hit.start, hit.end, hit.heading
        content = short.get(hit.source, "")
        if content[start:end] == hit.text and hit.text:  # else it has just been edited
            place = range(len(content))
            if tokens(content) > longest:
                place = window(content, longest, range(start, end))
                place = range(min(place.start, start), max(place.stop, end))
            text, start, end = content[place.start : place.stop], place.start, place.stop
            heading = "" if len(text) == len(content) else heading
        at = hit.start - start
        passage = range(at, at + len(hit.text))
        context = Context(number, hit.title, heading, text, passage, partial(_telling, hit, at, terms))
        numbered.append(Numbered(context, hit.source, start, end, hit.score, hit.cosine))
    return numbered, numbers


def _holds(each: Numbered, hit: Hit) -> bool:
    return each.source == hit.source and each.start <= hit.start and hit.end <= each.end


def _telling(hit: Hit, at: int, terms: Sequence[Weighed]) -> range:
    """Where in a passage that begins at `at` the sentence, or the row, stands that says most about the question."""
    best, place = -1.0, range(at, at)
    for piece in sentences(hit.text):
        words = frozenset(index_words(piece.text, hit.language))
        worth = sum(weighed.idf for weighed in terms if says(words, weighed.term))
        if worth > best:
            best, place = worth, range(at + piece.start, at + piece.end)
    return place


def _embed(texts: Sequence[str]) -> Floats:
    client = searcher().questions
    if not isinstance(client, Client):
        raise EmbedderUnavailable("The sentences cannot be compared.")
    return client.sentences(texts).rows
