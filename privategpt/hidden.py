"""Characters that nobody sees: those that a script or an emoji needs stay, all others are spelt out. Pure."""

from __future__ import annotations

import re

# What hides, or turns the order of others: controls, marks of direction, blanks and fillers without width, selectors of
# a variant, and the tags by which text is smuggled past readers.
HIDDEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2028\u2029"
    "\u2060-\u206f\u3164\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e01ef]"
)
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u2066-\u2069]")
RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u05ff\u0600-\u061b\u061d-\u08ff\ufb1d-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\U00010800-\U00010fff]"
)
# The flags of England, Scotland, Wales and their like: a black flag, a few letters, an end.
FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
# Scripts that mark by a blank without width where a line may break.
BREAKING = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua980-\ua9df\uaa60-\uaaff]"
)
JOINING = re.compile(
    "[\u0600-\u0dff\u0e00-\u109f\u1780-\u18af\u1b00-\u1c4f\ua840-\uabff\ufb50-\ufefc\u2190-\u2bff\ufe0f\U00010800-\U0001faff]"
)
MONGOLIAN = re.compile("[\u1800-\u18af]")
HANGUL = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
VARIED = re.compile(
    "[0-9#*\u00a9\u00ae\u203c-\u3299\u3400-\u9fff\uf900-\ufaff\U0001f000-\U0003ffff\u1000-\u109f\ua840-\ua87f]"
)
IDEOGRAPH = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def visible(text: str) -> str:
    """The text with its hidden characters spelt out, as ⟨U+202E⟩, and each line's end as a line feed; what is stored
    stays as it is."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not HIDDEN.search(text):
        return text
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    if not HIDDEN.search(line):
        return line
    flags = {place for found in FLAG.finditer(line) for place in range(*found.span())}
    is_directed = bool(RIGHT_TO_LEFT.search(line)) and _is_balanced(line)

    def shown(match: re.Match[str]) -> str:
        character, at = match[0], match.start()
        if at in flags or (is_directed and DIRECTIONS.match(character)):
            return character
        before, after = line[at - 1 : at] if at else "", line[at + 1 : at + 2]
        return character if _is_needed(character, before, after) else f"⟨U+{ord(character):04X}⟩"

    return HIDDEN.sub(shown, line)


def _is_balanced(line: str) -> bool:
    """Whether each isolate is closed on its line, as no override is."""
    depth = 0
    for character in DIRECTIONS.findall(line):
        if character == "\u2069":
            depth -= 1
        elif character >= "\u2066":
            depth += 1
        if depth < 0:
            return False
    return depth == 0


def _is_needed(character: str, before: str, after: str) -> bool:
    """Whether the writing around it is one that uses this character."""
    if character == "\u200b":
        return bool(BREAKING.match(before) and (not after or BREAKING.match(after) or not after.isalnum()))
    if character in "\u200c\u200d":
        return bool(JOINING.match(before) and (not after or JOINING.match(after) or after.isspace()))
    if "\u180b" <= character <= "\u180f":
        return bool(MONGOLIAN.match(before))
    if character in "\u115f\u1160":
        return bool(HANGUL.match(before) or HANGUL.match(after))
    if "\ufe00" <= character <= "\ufe0f":
        return bool(VARIED.match(before))
    return character >= "\U000e0100" and bool(IDEOGRAPH.match(before))
