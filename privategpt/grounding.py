"""What an answer may rest on: the search for one question, with the asker's rights in it, and what it found,
numbered as it may be cited."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from privategpt.fitting import tokens, window
from privategpt.llm.matter import Grounds
from privategpt.models import Source, SourceQuerySet
from privategpt.prompts import LONGEST_CONTEXT, Context, Turn
from privategpt.retrieval.analyse import detect, index_words
from privategpt.retrieval.embedders import EmbedderUnavailable
from privategpt.retrieval.embedding_process import Client
from privategpt.retrieval.search import BOTH, Found, Hit, Ways, Weighed, searcher
from privategpt.retrieval.sentences import says, sentences

if TYPE_CHECKING:
    from privategpt.retrieval.matrix import Floats

SOURCES = 10  # of one answer, when no scenario says otherwise
WHOLE_PASSAGES = 3  # a source with no more of them is given as a whole
SHORT_QUESTION = 5  # words; one so short mostly refers to what was said before
SHORT_TEXT = 40  # characters, for where no blanks stand between words
BACK = 2  # questions that a follow-up may refer back over

# Words that point at something said before; words that are articles or verbs as well are left out.
POINTING = {
    "de": "er sie es ihn ihm ihr ihnen ihre ihren dies dieser dieses diese diesen dort davon dazu dabei damit darüber",
    "en": "it its they them their this that these those he him his she her there one ones same else",
    "es": "ello ella ellos ellas él eso esto aquello ese esa esos esas allí mismo misma",
    "fr": "il elle ils elles cela ça celui celle ceux ci celles eux lui",
    "it": "lui lei essi esse ciò questo questa quello quella loro",
    "nl": "hij zij haar hem hen hun dit dat deze die daar ervan",
    "pt": "ele ela eles elas isso isto aquilo esse essa dele dela lá",
    "ru": "он она оно они его её ей ему их им это этот эта эти там",  # noqa: RUF001
}
WORD = re.compile(r"\w+")


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
    searched = search_text(question, history)
    found = searcher().search(searched, visible, limit, ways)
    hits = [hit for hit in found.hits if hit.cosine is None or hit.cosine >= least]
    numbered, numbers = _number(hits, _short(hits, visible), found.terms, longest)
    return Grounded(searched, found, numbered, numbers)


def search_text(question: str, history: Sequence[Turn]) -> str:
    """A follow-up together with what it refers to; any other question as it is."""
    parts = [question]
    for turn in reversed(history[-BACK:]):
        if not refers_back(parts[-1]):
            break
        parts.append(turn.question)
    return "\n".join(parts)


def refers_back(question: str) -> bool:
    """Whether it can hardly be understood, or searched, alone."""
    words = WORD.findall(question.lower())
    if len(words) <= SHORT_QUESTION and len(question) <= SHORT_TEXT:
        return True
    return not set(words).isdisjoint(POINTING.get(detect(question), "").split())


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
