"""What of an answer may still be read: a right that ended takes along the words that were quoted by it.

The stored answer stays as it was; whoever shows it, searches it or builds a prompt of it asks here first. Rights
come in as a queryset. A source that was deleted counts like one that may not be read any more."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.translation import gettext

from privategpt.models import Citation, Message, SourceQuerySet
from privategpt.retrieval.analyse import UNSPACED

ALIKE = 5  # words in a row that make a quote
ALIKE_UNSPACED = 8  # characters, where no blanks stand between words
LEAST_CODE = 4  # characters of a word with a digit in it that is a quote by itself

BRACKETS = re.compile(r"[\[【]([^\[\]【】\n]{1,128})[\]】]")
RANGE = re.compile(r"(\d{1,4})(?:[ \t]*[–-][ \t]*\^?(\d{1,4}))?")  # noqa: RUF001
FENCE = re.compile(r"[ \t>]{0,20}(`{3,}|~{3,})")
ITEM = re.compile(r"[ \t]{0,12}(?:[-*+]|\d{1,4}[.)])[ \t]")
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
PLACE = "— "  # begins the line that says where a quote stands; it goes with the quote


@dataclass(frozen=True, slots=True)
class Basis:
    """What an answer rests on, as one reader may see it now."""

    given: frozenset[int] = frozenset()  # the numbers that it could cite
    gone: frozenset[int] = frozenset()  # those of them that may not be read any more
    is_tainted: bool = False  # an earlier answer that it went on from rests on what may not be read any more
    words: frozenset[tuple[str, ...]] = frozenset()  # that only stand in what may not be read any more
    sources: frozenset[UUID] = frozenset()  # what it rests on and may be read

    @property
    def is_whole(self) -> bool:
        return not (self.gone or self.is_tainted)


WHOLE = Basis()


def bases(messages: Sequence[Message], visible: SourceQuerySet) -> dict[UUID, Basis]:
    """Of each message. Three queries, and up to two more when anything is gone."""
    fields = ("message", "number", "source")
    rows: dict[UUID, dict[int, UUID]] = defaultdict(dict)
    for message, number, source in _citations(messages).values_list(*fields):
        rows[message][number] = source
    earlier = {message.pk: _earlier(message) for message in messages}
    wanted = {source for row in rows.values() for source in row.values()}.union(*earlier.values())
    readable = frozenset(visible.filter(pk__in=wanted).order_by().values_list("pk", flat=True)) if wanted else wanted
    found = {each.pk: _basis(each, rows.get(each.pk, {}), earlier[each.pk], readable) for each in messages}
    lost = [each for each in messages if not found[each.pk].is_whole]
    return found | _with_words(lost, found) if lost else found


def basis(message: Message, visible: SourceQuerySet) -> Basis:
    """Of one message."""
    return bases([message], visible)[message.pk]


def readable(answer: str, basis: Basis, *, is_noted: bool = True) -> str:
    """The text without what may not be read any more. A paragraph goes as a whole: it names a number that is gone, has
    words of it, or names none where the answer rests on nothing else."""
    if basis.is_whole:
        return answer
    named = _numbers(answer) & basis.given
    is_loose = bool(named & basis.gone) or not named or basis.is_tainted
    kept: list[str] = []
    noted: frozenset[int] | None = None  # what the note at the end of `kept` says
    for block in _blocks(answer):
        its = _numbers(block) & basis.given
        gone = bool(its & basis.gone) if its else is_loose
        if not block.strip():
            kept.append(block if noted is None else "")
        elif not (gone or not basis.words.isdisjoint(_grams(block))):
            kept.append(block)
            noted = None
        elif is_noted and noted != its & basis.gone:
            noted = its & basis.gone
            kept.append(f"{_note(noted)}\n\n")
    return "".join(kept) if noted is None else "".join(kept).rstrip()


def _note(numbers: frozenset[int]) -> str:
    named = f"{', '.join(map(str, sorted(numbers)))}: " if numbers else ""
    return f"[{named}{gettext('no longer yours to read')}]"


# -- what it rests on -----------------------------------------------------------------------------


def _citations(messages: Sequence[Message]) -> Any:
    return Citation.objects.filter(message__in=[message.pk for message in messages]).order_by()


def _earlier(message: Message) -> frozenset[UUID]:
    """Sources of earlier answers that were part of its prompt."""
    return frozenset(UUID(source) for source in message.trace.get("earlier") or ())


def _basis(message: Message, row: dict[int, UUID], earlier: frozenset[UUID], readable: Iterable[UUID]) -> Basis:
    # A source that was deleted took its citation along; the trace still has its number.
    given = frozenset(row) | frozenset(message.trace.get("used") or ())
    kept = {number: source for number, source in row.items() if source in frozenset(readable)}
    held = earlier & frozenset(readable)
    return Basis(given, given - kept.keys(), earlier != held, sources=frozenset(kept.values()) | held)


def _with_words(lost: Sequence[Message], found: dict[UUID, Basis]) -> dict[UUID, Basis]:
    passages: dict[UUID, list[tuple[int, str]]] = defaultdict(list)
    for message, number, context in _citations(lost).values_list("message", "number", "context"):
        passages[message].append((number, context))
    before = _before(lost, found)
    made = {}
    for message in lost:
        its = found[message.pk]
        gone = _all_grams(text for number, text in passages[message.pk] if number in its.gone)
        gone |= _all_grams(before[message.pk])
        other = _all_grams([message.question, *(text for at, text in passages[message.pk] if at not in its.gone)])
        made[message.pk] = Basis(its.given, its.gone, its.is_tainted, gone - other, its.sources)
    return made


def _before(lost: Sequence[Message], found: dict[UUID, Basis]) -> dict[UUID, list[str]]:
    """The passages of earlier answers that each of them went on from and that may not be read any more."""
    gone = {each.pk: _earlier(each) - found[each.pk].sources for each in lost if found[each.pk].is_tainted}
    told: dict[UUID, list[str]] = defaultdict(list)
    if not gone:
        return told
    chats = {each.chat_id for each in lost}
    rows = Citation.objects.filter(message__chat__in=chats, source__in=frozenset().union(*gone.values())).order_by()
    passages = list(rows.values_list("message__chat", "source", "context").distinct())
    for each in lost:
        told[each.pk] = [text for chat, its, text in passages if chat == each.chat_id and its in gone.get(each.pk, ())]
    return told


# -- words ----------------------------------------------------------------------------------------


def _all_grams(texts: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(gram for text in texts for gram in _grams(text))


def _grams(text: str) -> Iterator[tuple[str, ...]]:
    """What makes a quote: so many words in a row, or one that is a code."""
    words = WORD.findall(text.lower())
    for word in words:
        if len(word) >= LEAST_CODE and any(letter.isdigit() for letter in word):
            yield (word,)
    for size in (ALIKE, ALIKE_UNSPACED):
        for at in range(len(words) - size + 1):
            gram = tuple(words[at : at + size])
            if all(len(word) == 1 for word in gram) == (size == ALIKE_UNSPACED):
                yield gram


def _numbers(text: str) -> frozenset[int]:
    """Every number that stands in brackets, whatever else it may be: here one too many does no harm."""
    found: set[int] = set()
    for inside in BRACKETS.findall(text):
        for first, last in RANGE.findall(inside):
            begin, end = int(first), int(last or first)
            found |= {begin, end, *range(begin, min(end, begin + 100))}
    return frozenset(found)


def _blocks(text: str) -> list[str]:
    """Paragraphs, items of lists, whole code; joined they are the text. The place of a quote stands with it."""
    found: list[str] = []
    block, fence = "", ""
    for line in text.splitlines(keepends=True):
        mark = FENCE.match(line)
        if not fence and block and (ITEM.match(line) or not line.strip()):
            found.append(block)
            block = ""
        block += line
        if fence:
            fence = "" if mark and mark[1].startswith(fence) else fence
        elif mark:
            fence = mark[1]
        if not fence and not line.strip():
            found.append(block)
            block = ""
    return _with_places([*found, block])


def _with_places(blocks: Sequence[str]) -> list[str]:
    found: list[str] = []
    for block in blocks:
        if block.startswith(PLACE):
            blank = ""
            while found and not found[-1].strip():
                blank = found.pop() + blank
            block = (found.pop() if found else "") + blank + block
        found.append(block)
    return found
