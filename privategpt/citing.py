"""Citations in a growing text: numbers that were supplied stay, all others go, wherever a delta was cut.

Pure. A marker is `[2]`, `[1, 3]` or `[1-3]`; in code spans and fences brackets mean something else."""

import re
from collections.abc import Collection

LONGEST = 128  # characters of a marker; anything longer is text

MARKER = re.compile(r"[ \t]?[\[【][ \t]?\^?\d{1,9}(?:[ \t]*[,;–-][ \t]*\^?\d{1,9}){0,9}[ \t]?[\]】]")  # noqa: RUF001
# The start of what may become a marker, a fence or the end of a paragraph.
OPEN = re.compile(r"(?:[ \t]?[\[【][\^\d,;\-– \t]*|[ \t]|`+|\n[ \t\n]*)\Z")  # noqa: RUF001
TOKEN = re.compile(rf"{MARKER.pattern}|`+|\n[ \t]*\n")
NUMBER = re.compile(r"\d+")


def numbers_in(marker: str) -> list[int]:
    """The numbers that it names, each once."""
    return list(dict.fromkeys(int(number) for number in NUMBER.findall(marker)))


class Citing:
    """Fed with an answer piece by piece. `cited` are the supplied numbers that it has named so far."""

    def __init__(self, supplied: Collection[int]) -> None:
        self._supplied = frozenset(supplied)
        self._rest = ""
        self._code = ""  # the run of backticks that closes the code we are in
        self.cited: set[int] = set()

    def feed(self, piece: str) -> str:
        """What may be shown by now."""
        text = self._rest + piece
        held = OPEN.search(text)
        cut = held.start() if held and len(text) - held.start() <= LONGEST else len(text)
        self._rest = text[cut:]
        return self._checked(text[:cut])

    def finish(self) -> str:
        """What was held back, at the end of the answer."""
        rest, self._rest = self._rest, ""
        return self._checked(rest)

    def _checked(self, text: str) -> str:
        return TOKEN.sub(self._token, text) if "[" in text or "`" in text or "【" in text or self._code else text

    def _token(self, match: re.Match[str]) -> str:
        found = match[0]
        if found[0] == "`":
            self._toggle(found)
            return found
        if found[0] == "\n":
            if len(self._code) < 3:  # a code span ends with its paragraph
                self._code = ""
            return found
        return found if self._code else self._marker(found)

    def _toggle(self, run: str) -> None:
        if not self._code:
            self._code = run
        elif run == self._code or (len(self._code) >= 3 and len(run) >= len(self._code)):
            self._code = ""

    def _marker(self, found: str) -> str:
        numbers = numbers_in(found)
        known = [number for number in numbers if number in self._supplied]
        self.cited.update(known)
        if not known:
            return ""
        if len(known) == len(numbers) and "【" not in found:
            return found
        blank = found[0] if found[0] in " \t" else ""
        return f"{blank}[{', '.join(map(str, known))}]"
