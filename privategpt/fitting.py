"""How long a text is for a model, and what of a text is kept where it is too long for one.

Pure. Each model counts its own tokens, which are known to nobody here; so they are guessed, on the safe side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CUT = "…"
SNAP = 40  # characters within which a cut moves to a blank


def _weights() -> npt.NDArray[np.float64]:
    """Tokens of each of the first 128 characters: words have three letters a token and more, code and figures fewer."""
    found = np.full(128, 1.0)
    found[ord("a") : ord("z") + 1] = 0.34
    found[ord("A") : ord("Z") + 1] = 0.6
    found[ord("0") : ord("9") + 1] = 1.0
    found[ord(" ")], found[ord("\n")], found[ord("\t")] = 0.2, 0.5, 0.5
    return found


ASCII = _weights()
# From this character on, so many tokens each: accents, Greek and Cyrillic; Indic and Thai; CJK; emoji.
FROM = np.array([0x80, 0x370, 0x900, 0x1100, 0x10000])
EACH = np.array([0.0, 0.9, 0.9, 1.3, 1.6, 3.0])


def _each(text: str) -> npt.NDArray[np.float64]:
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
    return np.where(codes < 128, ASCII[np.minimum(codes, 127)], EACH[np.searchsorted(FROM, codes, side="right")])


def tokens(text: str) -> int:
    """How many tokens a text has at most, or nearly so."""
    return int(_each(text).sum()) + 1


def window(text: str, budget: int, core: range) -> range:
    """The place of so many tokens that holds the core, or its beginning, with as much before it as behind it."""
    sums = np.concatenate(([0.0], np.cumsum(_each(text))))
    start, stop = min(core.start, len(text)), min(core.stop, len(text))
    room = budget - float(sums[stop] - sums[start])
    if room <= 0:
        end = int(np.searchsorted(sums, sums[start] + budget, side="right")) - 1
        return range(start, max(start, end))
    above, below = float(sums[start]), float(sums[-1] - sums[stop])
    behind = min(below, room - min(above, room / 2))
    before = min(above, room - behind)
    begin = int(np.searchsorted(sums, sums[start] - before, side="left"))
    end = int(np.searchsorted(sums, sums[stop] + behind, side="right")) - 1
    return range(_next_blank(text, begin, start), _last_blank(text, stop, end))


def _next_blank(text: str, begin: int, most: int) -> int:
    if begin == 0:
        return 0
    blanks = [at for mark in "\n " if (at := text.find(mark, begin, min(begin + SNAP, most))) >= 0]
    return blanks[0] + 1 if blanks else begin


def _last_blank(text: str, least: int, end: int) -> int:
    if end >= len(text):
        return len(text)
    blanks = [at for mark in "\n " if (at := text.rfind(mark, max(least, end - SNAP), end)) >= 0]
    return blanks[0] if blanks else end


def shortened(text: str, budget: int, cores: Sequence[range] = ()) -> str:
    """The text, or what of it has so many tokens: around the longest of the cores that fits, else around the first
    one; without any its beginning."""
    if tokens(text) <= budget:
        return text
    room = max(0, budget - 4)  # for the marks
    fitting = [core for core in cores if tokens(text[core.start : core.stop]) <= room]
    kept = window(text, room, (fitting or [*cores, range(0)])[-1 if fitting else 0])
    head, tail = f"{CUT} " if kept.start else "", f" {CUT}" if kept.stop < len(text) else ""
    return f"{head}{text[kept.start : kept.stop].strip()}{tail}"
