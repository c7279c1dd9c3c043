"""Answers without a model: the sentences of the found passages that say most about the question, word for word.

Pure: what was searched and found goes in, quotes or a refusal come out. It cannot invent."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from privategpt.retrieval.analyse import HAS_UNSPACED, UNSPACED, Term, index_words
from privategpt.retrieval.matrix import Floats
from privategpt.retrieval.passages import LONGEST_HEADER
from privategpt.retrieval.search import Found, Hit, Weighed

LONGEST_ANSWER = 40  # words, or ideographs and syllables where no blanks stand between words
MOST_QUOTES = 3
READ = 5  # passages whose sentences compete
COMPARED = 8  # sentences whose meaning is compared with the question's: some tens of milliseconds
LONGEST_SENTENCE = 400  # characters; what is longer is no prose, and is quoted in parts

# What a sentence's score is made of: the share of the question's weight that its words carry, a part of that for
# what its neighbours or headings say, its passage's place, and its nearness in meaning.
BEFORE, AFTER, ABOVE = 0.3, 0.2, 0.3
PLACE = 0.6
NEARNESS = 4.0
WORTH_ADDING = 0.5  # of the best score's words: a further sentence that has less only pads

# When to refuse. Measured on questions whose paragraph was withheld, see docs/retrieval.md.
COVERED = 0.42  # share of the question's weight that a sentence and its surroundings must carry
STRADDLING = 0.9  # where no blanks stand, half of a question's character pairs straddle two words and are found nowhere
CLEAR = 2.8  # how far the nearest sentence stands out from the index, in spreads
PER_SPREAD = 0.1  # what one spread more is worth in share
PER_COSINE = 4.0  # what the cosine above the embedder's own mark is worth, where it has one
TELLING = 30  # passages from which on the index tells what is far

# A sentence ends behind its mark, before a blank and what may begin one; an ideographic mark needs no blank.
# Items of lists, rows of tables and headings begin anew, and blank lines end everything.
BOUNDARY = re.compile(
    r"""
    (?<=[.!?…])["'”’»)\]]{0,3}\s+(?=[^\w\s]{0,3}[^\W_a-zß-öø-ÿа-я])
    | (?<=[。！？｡।؟۔])[」』”’）]{0,2}\s*
    | \n\s*\n
    | \n(?=[ \t]{0,8}(?:[-*+|\#>]|\d{1,3}[.)][ \t]))
    """,
    re.VERBOSE,
)
# A full stop that ends no sentence: behind an initial, inside an abbreviation, behind a title.
ABBREVIATION = re.compile(
    r"(?:\b[^\W\d_]|\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|Prof|No|Nr|Sra?|Dra?|cf|ca|approx|bzw|usw|etc|р|г|см|др|стр))\.$"
)
HEADING = re.compile(r"#{1,6}(?:\s|$)")
UNSPACED_RUN = re.compile(rf"[{UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Sentence:
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a source: `source.content[start:end]`, where it stands, and what it is worth beside the others."""

    hit: Hit
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Quotes to be read in this order; none when `refused`: what was found does not answer the question.

    `support` says how far it was from refusing: below zero it does.
    """

    quotes: list[Quote]
    refused: bool
    support: float

    @property
    def text(self) -> str:
        return " ".join(quote.text for quote in self.quotes)


Embed = Callable[[Sequence[str]], Floats]  # unit rows by the embedder that made `Found.vector`


def answer(found: Found, embed: Embed | None = None) -> Answer:
    """The best one to three sentences, at most LONGEST_ANSWER words (a longer one stands alone), or a refusal.

    Without `embed`, or when the search went by words alone, words decide alone.
    """
    ranked = _ranked(found)
    if not ranked:
        return Answer([], True, -1.0)
    nearness = 0.0
    if embed is not None and found.vector is not None:
        ranked, nearness = _by_meaning(ranked, embed, found.vector)
    support = _support(ranked[0], found, nearness)
    if support < 0:
        return Answer([], True, support)
    return Answer(_in_reading_order([candidate.quote for candidate in _chosen(ranked)]), False, support)


@dataclass(frozen=True, slots=True)
class _Candidate:
    quote: Quote
    carried: float  # the share of the question's weight in the sentence, its neighbours and headings
    words: int


def _ranked(found: Found) -> list[_Candidate]:
    """Every sentence of the first passages, best first; equal ones in the order of the passages."""
    total = sum(weighed.idf for weighed in found.terms)
    if not found.hits or not total:
        return []
    top = found.hits[0].score or 1.0
    candidates = [
        candidate
        for hit in found.hits[:READ]
        for candidate in _of_passage(hit, found.terms, total, PLACE * hit.score / top)
    ]
    return sorted(candidates, key=lambda candidate: -candidate.quote.score)


def _of_passage(hit: Hit, terms: Sequence[Weighed], total: float, place: float) -> Iterator[_Candidate]:
    repeated = _repeated(hit)
    pieces = [piece for piece in sentences(hit.text) if piece.start >= repeated]
    words = [frozenset(index_words(piece.text, hit.language)) for piece in pieces]
    above = frozenset(index_words(f"{hit.title}\n{hit.heading}", hit.language))
    for at, piece in enumerate(pieces):
        before = words[at - 1] if at else frozenset()
        after = words[at + 1] if at + 1 < len(words) else frozenset()
        shares = ((words[at], 1.0), (before, BEFORE), (after, AFTER), (above, ABOVE))
        score = carried = 0.0
        for weighed in terms:
            said = next((share for where, share in shares if says(where, weighed.term)), 0.0)
            score += weighed.idf * said
            carried += weighed.idf * bool(said)
        start = hit.start + piece.start - repeated
        quote = Quote(hit, start, start + len(piece.text), piece.text, score / total + place)
        yield _Candidate(quote, carried / total, _length(piece.text))


def _repeated(hit: Hit) -> int:
    """How many characters of the passage are a table's header row that stands elsewhere in its source."""
    more = len(hit.text) - (hit.end - hit.start)
    return more if 0 < more <= LONGEST_HEADER and hit.end > hit.start else 0


def says(words: Collection[str], term: Term) -> bool:
    """Whether the words hold the term in one of its forms."""
    if term.is_prefix:
        return any(word.startswith(term.variants) for word in words)
    return any(variant in words for variant in term.variants)


def _length(text: str) -> int:
    return len(HAS_UNSPACED.findall(text)) + len(UNSPACED_RUN.sub(" ", text).split())


def _by_meaning(ranked: list[_Candidate], embed: Embed, question: Floats) -> tuple[list[_Candidate], float]:
    """The best candidates ordered anew, and the highest cosine among them."""
    compared = ranked[:COMPARED]
    cosines = embed([candidate.quote.text for candidate in compared]) @ question
    scored = [
        replace(
            candidate, quote=replace(candidate.quote, score=candidate.quote.score + NEARNESS * (cosine - cosines.max()))
        )
        for candidate, cosine in zip(compared, cosines.tolist(), strict=True)
    ]
    return sorted(scored, key=lambda candidate: -candidate.quote.score), float(cosines.max())


def _support(best: _Candidate, found: Found, nearness: float) -> float:
    """How much more than enough speaks for the best sentence.

    Words count by their rarity in this index; nearness by how far the sentence stands out from what the index
    holds anyway, and by the embedder's own mark. The first errs where all sources have one subject, the
    second where a language or subject lies elsewhere in the model: so neither decides alone.
    """
    support = best.carried * (1 + STRADDLING * _unspaced(found.terms)) - COVERED
    if not nearness or not found.background:
        return support
    background = found.background
    told = background.passages / (background.passages + TELLING)
    standing_out = told * PER_SPREAD * (background.spreads(nearness) - CLEAR)
    if background.related is None:
        return support + standing_out
    return support + standing_out / 2 + PER_COSINE * (nearness - background.related)


def _unspaced(terms: Sequence[Weighed]) -> float:
    """The share of the question that is written without blanks."""
    return sum(bool(HAS_UNSPACED.search(weighed.term.variants[0])) for weighed in terms) / max(len(terms), 1)


def _chosen(ranked: list[_Candidate]) -> list[_Candidate]:
    chosen = ranked[:1]
    for candidate in ranked[1:COMPARED]:
        words = sum(each.words for each in [*chosen, candidate])
        if words <= LONGEST_ANSWER and candidate.carried >= WORTH_ADDING * chosen[0].carried:
            chosen.append(candidate)
        if len(chosen) == MOST_QUOTES:
            break
    return chosen


def _in_reading_order(quotes: list[Quote]) -> list[Quote]:
    """The best one's passage first; within a passage as it reads."""
    passages = list(dict.fromkeys(quote.hit.passage for quote in quotes))
    return sorted(quotes, key=lambda quote: (passages.index(quote.hit.passage), quote.start))


def sentences(text: str) -> Iterator[Sentence]:
    """A passage's sentences without its headings; `text[start:end]` is a sentence's text."""
    start = 0
    for match in [*BOUNDARY.finditer(text), None]:
        end = match.start() + len(match[0].rstrip()) if match else len(text)
        if match and "\n" not in match[0] and ABBREVIATION.search(text, max(start, end - 12), end):
            continue
        yield from _parts(text, start, end)
        start = match.end() if match else end


def _parts(text: str, start: int, end: int) -> Iterator[Sentence]:
    """The piece without blanks around it, or in parts where it is too long; nothing for a heading."""
    while end - start > LONGEST_SENTENCE:
        stop = text.rfind("\n", start + LONGEST_SENTENCE // 2, start + LONGEST_SENTENCE) + 1
        stop = stop or text.rfind(" ", start + LONGEST_SENTENCE // 2, start + LONGEST_SENTENCE) + 1
        yield from _parts(text, start, stop or start + LONGEST_SENTENCE)
        start = stop or start + LONGEST_SENTENCE
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    piece = piece.strip()
    if piece and not HEADING.match(piece):
        yield Sentence(start, start + len(piece), piece)
