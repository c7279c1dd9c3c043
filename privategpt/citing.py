"""Citations in an answer: one grammar for the text that grows, for pages, exports and interfaces.

Pure. A marker is `[2]`, `[1, 3]`, `[2-5]` (all between) or `[^2]`. It stands behind a statement: what is code, math, a
link's text, a footnote, an index, a list of a program, a year or a set that holds zero is text and stays as it is. A
number that was supplied stays, an invented one goes, wherever a delta was cut."""

from __future__ import annotations

import re
from collections.abc import Collection

from privategpt import spans
from privategpt.citing_lines import Lines

LONGEST = 128  # characters of a marker; anything longer is text
REACH = spans.LONGEST + 8  # characters within which code, a formula or a link's text must end
AHEAD = 3  # characters behind it that are looked at
CONTEXT = 64  # characters before a marker that are looked at
MOST = 99  # no source has a higher number, unless it was supplied: [2024] is a year

DASH = r"–—\-"  # noqa: RUF001
NUMBERS = rf"[ \t]?\^?\d{{1,9}}(?:[ \t]*[,;，、{DASH}][ \t]*\^?\d{{1,9}}){{0,9}}[ \t]?"  # noqa: RUF001
MARKER = re.compile(rf"[ \t]?[\[【]{NUMBERS}[\]】]")
OPEN_MARKER = re.compile(rf"[ \t]?[\[【][\^\d,;，、{DASH} \t]*")  # noqa: RUF001
CHAIN = re.compile(rf"(?:[ \t]?[\[【]{NUMBERS}[\]】]){{0,8}}")
RANGE = re.compile(rf"(\d+)(?:[ \t]*[{DASH}][ \t]*\^?(\d+))?")
SPECIAL = re.compile(r"[ \t]?[\[【]|[`$\\\n]")
BRACKET = re.compile(r"[ \t]?[\[【]")
TICKS = re.compile(r"`+")
# The end of a paragraph: a blank line, or a line that begins something else.
BREAK = re.compile(r"\n(?=[ \t>]{0,40}(?:\n|#{1,6}[ \t\n]|[-*+][ \t]|\d{1,9}[.)][ \t]|`{3}|~{3}|\|))")
LINK_TEXT = r"\[(?:[^\[\]\\`$\n]|\\.|\n(?!\s*\n)|\[[^\[\]\n]{0,200}\]){0,500}"
LINK = re.compile(LINK_TEXT + r"\](?=[(\[])")
OPEN_LINK = re.compile(LINK_TEXT + r"(?:\[[^\[\]\n]{0,200}|\\|\])?\Z")
TARGET = re.compile(r"\((?:[^\s()]|\([^\s()]{0,100}(?:\)|\Z)){0,500}(?:\)|[ \t][\"']|[ \t]?\Z)")
# What makes brackets behind it an index or a list: a name of programs, a member, a call, JSON.
INDEXED = re.compile(
    r"(?<!\w)(?=\w+\Z)\w*(?:[a-z]\w*\d|_\w|[a-z][A-Z])"  # from the last word's beginning, once
    r"|(?:(?<![^\W_])[^\W\d_]|(?<=\w)\.[A-Za-z_]\w*|[$@]\w+|\w\([^()\n]{0,40}\)"
    r"|[\]}]|(?<!\w)(?:arr|array|list|items?|elements?|args?|argv|data|matrix|rows?|cols?|columns?|vec|vector|tuple|dict"
    r"|map|str|string|buf|buffer|self|values?|keys?|index|idx|nums|tmp|foo))\Z"
)
LISTED = re.compile(r"(?:[=∈{\[]|\w\(|\[[ \t]*\[[\d\s,.\[\]-]{0,60})[ \t]*\Z")
# A name in quotes and a colon: of a list where the line begins so or has opened something, or where one goes on behind.
NAMED = re.compile(r"[\"'][ \t]*:[ \t]*\Z")
IN_LIST = re.compile(r"[ \t]*[\"'][^\"'\n]*[\"'][ \t]*:[ \t]*\Z|[^\n]*(?:\{[^{}\n]*|\[[^\[\]\n]*)\Z")
WORD_BEFORE = re.compile(r"[A-Za-z0-9À-ɏ)\]}]\Z")
CODE_BEHIND = re.compile(r"[ \t]?=|[+*/^<>(]|\.\w|\[")
CLAUSE_END = re.compile(r"[.,;:!?)…\"'”’»*|]*(?:\s|\Z)")  # noqa: RUF001


def numbers_in(marker: str) -> list[int]:
    """The numbers that it names, each once; none when a range runs backwards or names too many."""
    found: dict[int, None] = {}
    for first, last in RANGE.findall(marker):
        begin, end = int(first), int(last or first)
        if not begin <= end <= begin + MOST:
            return []
        found |= dict.fromkeys(range(begin, end + 1))
    return list(found)


class Scanner:
    """Reads a text piece by piece and finds its markers. What becomes of them and of the text is told by
    `_marker` and `_text`, which a kind of reader replaces."""

    def __init__(self, supplied: Collection[int]) -> None:
        self._supplied = frozenset(supplied)
        self._rest = ""  # what is not decided yet
        self._told = 0  # so many characters of it were told already
        self._before = ""  # what stands before it on its line
        self._lines = Lines()
        self._begins = True  # a line
        self._chain: bool | None = None  # whether the brackets just before it are a marker

    def _marker(self, found: str, numbers: list[int]) -> str:
        """What is shown for a marker; `numbers` are all that it names."""
        return self._text(found)

    def _text(self, text: str) -> str:
        return text

    def feed(self, piece: str) -> str:
        """What may be shown by now."""
        self._rest += piece
        return self._scan(final=False)

    def finish(self) -> str:
        """What was held back, at the end of the text."""
        return self._scan(final=True)

    def _scan(self, *, final: bool) -> str:
        text, at, out = self._rest, 0, []
        while at < len(text) and (step := self._step(text, at, final=final)):
            end, shown = step
            out.append(self._text(text[max(at, self._told) : end]) if shown is None else shown)
            at = end
        held = len(text) if at == len(text) else self._first_held(text, at)
        if held > max(at, self._told):
            out.append(self._text(text[max(at, self._told) : held]))
        self._before = self._line_before(text, at)
        self._rest, self._told = text[at:], max(held, self._told) - at
        return "".join(out)

    def _first_held(self, text: str, at: int) -> int:
        """Up to where an undecided stretch may be shown: it is text in any case, but for its markers."""
        if self._begins or OPEN_MARKER.fullmatch(text, at) or MARKER.match(text, at):
            return at
        if bracket := BRACKET.match(text, at):
            at = bracket.end()
        bracket = BRACKET.search(text, at)
        end = bracket.start() if bracket else len(text)
        return end - 1 if end == len(text) and text[-1] in " \t" else end

    def _line_before(self, text: str, at: int) -> str:
        before = (self._before + text[max(0, at - CONTEXT) : at])[-CONTEXT:]
        return before[before.rfind("\n") + 1 :]

    # -- steps: each says up to where it decided, and what is shown instead of the text ---------------

    def _step(self, text: str, at: int, *, final: bool) -> tuple[int, str | None] | None:
        if self._begins:
            return self._begin_line(text, at, final=final)
        if self._lines.is_code:
            end = text.find("\n", at)
            self._begins = end >= 0
            return (end + 1 if end >= 0 else len(text)), None
        special = SPECIAL.search(text, at)
        if special is None or special.start() > at:
            return self._plain(text, at, special.start() if special else -1, final=final)
        if special[0][-1] in "[【":
            return self._bracket(text, at, final=final)
        self._chain = None
        if special[0] == "\n":
            self._begins = True
            return at + 1, None
        return self._code(text, at, final=final) if special[0] == "`" else self._sign(text, at, final=final)

    def _begin_line(self, text: str, at: int, *, final: bool) -> tuple[int, None] | None:
        end = text.find("\n", at)
        line = text[at:] if end < 0 else text[at:end]
        if end < 0 and not final and self._lines.is_undecided(line):
            return None
        begun = self._lines.begin(line)
        self._begins, self._chain = False, None
        return at + begun, None

    def _plain(self, text: str, at: int, end: int, *, final: bool) -> tuple[int, None] | None:
        self._chain = None
        if end < 0:
            end = len(text)
            if not final and text[-1] in " \t":  # it goes with a marker that goes
                end -= 1
        return (end, None) if end > at else None

    def _code(self, text: str, at: int, *, final: bool) -> tuple[int, None] | None:
        run = TICKS.match(text, at)
        behind = run.end() if run else at + 1
        if behind == len(text) and not final:
            return None
        width = behind - at
        stop = self._stop(text, at)
        for closing in TICKS.finditer(text, behind, stop):
            if closing.end() - closing.start() == width:
                # At the end of what there is, the run may go on.
                return None if closing.end() == len(text) and not final else (closing.end(), None)
        return None if self._is_open(text, at, stop, final=final) else (behind, None)

    def _sign(self, text: str, at: int, *, final: bool) -> tuple[int, None] | None:
        """A dollar or a backslash: a formula, or nothing."""
        if len(text) - at < 2 and not final:
            return None
        stop = self._stop(text, at)
        found = spans.formula(text, at, stop)
        if found:
            # What follows the closing sign decides as well.
            return None if found[2] > len(text) - 3 and not final else (found[2], None)
        if self._is_open(text, at, stop, final=final) and (
            text[at] == "$" or text[at + 1 : at + 2] in "([" or text.startswith("\\b", at)
        ):
            return None
        return min(len(text), at + (2 if text[at] == "\\" and text[at + 1 : at + 2] != "\n" else 1)), None

    def _stop(self, text: str, at: int) -> int:
        """Where the paragraph ends, as far as something that opens here may reach."""
        reach = min(len(text), at + REACH)
        if self._lines.is_single:
            end = text.find("\n", at, reach)
            return end if end >= 0 else reach
        found = BREAK.search(text, at, reach)
        return found.start() if found else reach

    def _is_open(self, text: str, at: int, stop: int, *, final: bool) -> bool:
        return not final and stop == len(text) and stop < at + REACH

    # -- brackets -----------------------------------------------------------------------------------

    def _bracket(self, text: str, at: int, *, final: bool) -> tuple[int, str | None] | None:
        found = MARKER.match(text, at)
        if found is None or len(found[0]) > LONGEST:
            return self._other_bracket(text, at, final=final)
        chain = CHAIN.match(text, found.end())
        behind = chain.end() if chain else found.end()
        before = self._line_before(text, at)
        is_attached = found[0][0] not in " \t" and self._chain is None and bool(WORD_BEFORE.search(before))
        if not final and self._must_wait(text, found.end(), behind if is_attached else -1):
            return None
        is_marker = self._stands(found[0], before, text, found.end(), text[behind : behind + AHEAD])
        self._chain = is_marker
        numbers = numbers_in(found[0])
        return found.end(), self._marker(found[0], numbers) if is_marker and numbers else None

    def _must_wait(self, text: str, end: int, behind: int) -> bool:
        """Whether what follows, which decides as well, is still to come. `behind` the brackets in a row, for those
        that stand at a word."""
        if end == len(text) or (text[end] == "(" and (target := TARGET.match(text, end)) and target.end() == len(text)):
            return True
        if behind < 0 or behind - end > LONGEST:
            return False
        return len(text) - behind < AHEAD or bool(OPEN_MARKER.fullmatch(text, behind))

    def _stands(self, marker: str, before: str, text: str, end: int, ahead: str) -> bool:
        """Whether the brackets stand where a statement's source does."""
        if text.startswith("(", end) and TARGET.match(text, end):
            return False
        if self._chain is not None and marker[0] not in " \t":
            return self._chain
        if LISTED.search(before) or before.endswith(("^", "![")):
            return False
        if NAMED.search(before) and (text[end : end + 1] in {",", "}", "]"} or IN_LIST.match(before)):
            return False
        if marker[0] in " \t" or not WORD_BEFORE.search(before):
            return True
        if INDEXED.search(before) or CODE_BEHIND.match(ahead):
            return False
        has_known = not self._supplied.isdisjoint(numbers_in(marker))
        return has_known or bool(CLAUSE_END.match(ahead))

    def _other_bracket(self, text: str, at: int, *, final: bool) -> tuple[int, None] | None:
        """A link's text, whose own brackets are no markers, or a bracket that means nothing."""
        if not final and OPEN_MARKER.fullmatch(text, at) and len(text) - at <= LONGEST:
            return None
        self._chain = None
        at += text[at] in " \t"
        if link := LINK.match(text, at):
            return link.end(), None
        if not final and len(text) - at <= REACH and OPEN_LINK.match(text, at):
            return None
        return at + 1, None


class Citing(Scanner):
    """Checks an answer. `cited` are the supplied numbers that it has named so far."""

    def __init__(self, supplied: Collection[int]) -> None:
        super().__init__(supplied)
        self._named: set[int] = set()
        self._noted: set[int] = set()  # as footnotes; they are some when the answer defines them

    @property
    def cited(self) -> set[int]:
        return self._named | (self._noted - self._lines.defined)

    def _marker(self, found: str, numbers: list[int]) -> str:
        known = [number for number in numbers if number in self._supplied]
        unknown = [number for number in numbers if number not in self._supplied]
        if any(number > MOST or (number == 0 and len(numbers) > 1) for number in unknown):
            return found
        if "^" in found and (not known or not self._lines.defined.isdisjoint(known)):
            return found
        (self._noted if "^" in found else self._named).update(known)
        if not known:
            return ""
        if not unknown and "【" not in found:
            return found
        blank = found[0] if found[0] in " \t" else ""
        return f"{blank}[{', '.join(map(str, known))}]"


class _Placing(Scanner):
    """Puts private characters into the markers, by which a parser hands them on."""

    def __init__(self, supplied: Collection[int], defined: Collection[int]) -> None:
        super().__init__(supplied)
        self._defined = frozenset(defined)

    def _marker(self, found: str, numbers: list[int]) -> str:
        known = [number for number in numbers if number in self._supplied]
        strange = any(number == 0 or number > MOST for number in numbers if number not in self._supplied)
        if not known or strange or ("^" in found and not self._defined.isdisjoint(known)):
            return found
        blank = found[0] if found[0] in " \t" else ""
        return f"{blank}[{PLACE_START}{' '.join(map(str, known))}{PLACE_MIDDLE}{found.strip()[1:-1]}{PLACE_END}]"


PLACE_START, PLACE_MIDDLE, PLACE_END = "\ufdd0", "\ufdd1", "\ufdd2"  # no characters: nobody may send them to another
PLACED = re.compile(rf"[ \t]?\[{PLACE_START}([\d ]+){PLACE_MIDDLE}([^{PLACE_END}]*){PLACE_END}\]")
DEFINED = re.compile(r"^[ \t>]{0,20}\[\^(\d{1,9})\]:", re.MULTILINE)


def placed(text: str, supplied: Collection[int]) -> str:
    """The text with its markers marked, for `PLACED` to find: the numbers, and what stood between the brackets."""
    if not supplied or not ("[" in text or "【" in text):
        return text
    scanner = _Placing(supplied, {int(number) for number in DEFINED.findall(text)})
    return scanner.feed(text) + scanner.finish()


def unplaced(text: str) -> str:
    """The text as it was before `placed`."""
    return (
        PLACED.sub(lambda found: found[0][: found[0].index("[")] + f"[{found[2]}]", text)
        if PLACE_START in text
        else text
    )


def named(text: str, supplied: Collection[int]) -> set[int]:
    """The supplied numbers that a text cites."""
    citing = Citing(supplied)
    citing.feed(text)
    citing.finish()
    return citing.cited


class _Without(Scanner):
    def _marker(self, found: str, numbers: list[int]) -> str:
        return "" if all(0 < number <= MOST for number in numbers) else found


def without_markers(text: str) -> str:
    """For an excerpt."""
    scanner = _Without(range(1, MOST + 1))
    return scanner.feed(text) + scanner.finish()
