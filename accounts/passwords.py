"""Which passwords are too easily guessed, and in which form all of them are hashed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.password_validation import CommonPasswordValidator, MinimumLengthValidator
from django.core.exceptions import ValidationError
from django.utils.translation import gettext

OWN: Final = 4  # characters that a password must have beside known words, years, and digits and signs at its ends
DIGITS_ONLY: Final = 16  # the least length of a password without any letter
PRODUCT: Final = ("switchboard", "draobhctiws", "privategpt", "gpt", "localhost")
# What passwords are made of when somebody has to think of one. A sentence may hold them; it holds more.
_WORN = """
password passwort passwd pass kennwort pwd parola motdepasse contrasena senha wachtwoord login logon anmelden
admin administrator root superuser user benutzer guest gast test tester testing demo default standard master
welcome willkommen hello hallo letmein changeme change secret geheim private privat access zugang server
system company firma office buero team home internet computer chat iloveyou my mein new neu temp start initial
spring summer autumn fall winter fruehling sommer herbst january february march april may june july august
september october november december januar februar maerz mai juni juli oktober dezember monday tuesday
wednesday thursday friday saturday sunday montag dienstag mittwoch donnerstag freitag samstag sonntag
"""
WORN: Final = tuple(_WORN.split())
ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
)
RUN: Final = 3  # neighbours in a row, either way, that count as one word
EDGE = re.compile(r"[\W\d_]")
LEADING = re.compile(r"\A[\W\d_]+")
YEAR = re.compile(r"(?:19|20)\d\d")
# "1" and "!" are written for two letters.
LEET: Final = [str.maketrans("0134578@$!€+|", f"o{one}eastbas{one}etl") for one in "il"]
LONGEST_PASSWORD: Final = 1024  # characters; hashing must not cost what a stranger wishes
READ: Final = 64  # characters; what comes behind them is not looked at


def normal(password: str) -> str:
    """The form that is hashed (NIST SP 800-63B): keyboards and systems write one character in several ways."""
    return unicodedata.normalize("NFKC", password)


def forms(password: str) -> list[str]:
    """In which form a password may have been hashed; passwords from before were hashed as they were typed."""
    others = (unicodedata.normalize(form, password) for form in ("NFC", "NFD"))
    return list(dict.fromkeys([normal(password), password, *others]))


class LengthValidator(MinimumLengthValidator):
    """Django's, which would count one letter that is written in two characters twice; and no more than can be used."""

    def validate(self, password: str, user: Any = None) -> None:
        """Raises ValidationError."""
        if is_too_long(password):
            said = gettext("A password has at most %(n)d characters.") % {"n": LONGEST_PASSWORD}
            raise ValidationError(said, code="password_too_long")
        super().validate(normal(password), user)


def is_too_long(password: str) -> bool:
    """As it was typed, or in the form that is hashed: some characters become several by that."""
    return len(password) > LONGEST_PASSWORD or len(normal(password)) > LONGEST_PASSWORD


class GuessableValidator:
    """No known password, nor one made of this server's and the user's names with digits, years and signs around."""

    def validate(self, password: str, user: Any = None) -> None:
        """Raises ValidationError. What is too long to be a password has been refused by the one above."""
        if not is_too_long(password) and is_guessable(password, [*site_words(), *user_words(user)]):
            raise ValidationError(gettext("This password is too easily guessed. A sentence is fine."), code="guessable")

    def get_help_text(self) -> str:
        """For the admin site's forms."""
        return gettext("Not a well-known word or a name of yours or of this server, with digits or signs around it.")


def is_guessable(password: str, context: Iterable[str] = ()) -> bool:
    """Whether any reading of it is a known password, or has too little beside known words."""
    folded = _folded(password)
    if not any(char.isalpha() for char in folded):
        return len(folded) < DIGITS_ONLY or _own(folded, ()) < OWN or len(set(folded)) < OWN
    words = {word for word in map(_folded, context) if len(word) > 1} | set(WORN) | set(PRODUCT)
    if len(set(folded)) < OWN:
        return True
    # Few letters that no word covers are what dropping the signs left of a password that a program made.
    return any(_is_known(form) or _own(form, words) < min(OWN, len(form)) for form in _readings(folded))


def site_words() -> set[str]:
    """The names under which this server is addressed, in parts."""
    hosts = [settings.HOST, *settings.ALLOWED_HOSTS, *settings.CSRF_TRUSTED_ORIGINS]
    return {part for host in hosts for part in _parts(host)} - {"http", "https", "www"}


def user_words(user: Any) -> set[str]:
    """The user's name and e-mail, in parts."""
    texts = [str(getattr(user, name, "") or "") for name in ("name", "email")]
    return {part for text in texts for part in _parts(text)}


def _parts(text: str) -> Iterator[str]:
    """The words, and those of each side of the @ in one, also backwards."""
    for side in text.split("@"):
        found = re.findall(r"[^\W\d_]+", side)
        yield from found
        yield "".join(found)
        yield "".join(found)[::-1]


def _folded(text: str) -> str:
    """Lower case without accents."""
    bare = unicodedata.normalize("NFKD", normal(text)).casefold()
    return "".join(char for char in bare if not unicodedata.combining(char)).replace("ß", "ss")


def _readings(folded: str) -> set[str]:
    """Without years, what stands at the ends, signs and digits; digits and signs read as the letters they look like."""
    found = set()
    for text in (folded, YEAR.sub("", folded)):
        left, right = LEADING.sub("", text), _without_end(text)
        bare = re.sub(r"[\W\d_]", "", text)
        for part in (text, left, right, _without_end(left)):
            found |= {re.sub(r"[\W_]", "", part.translate(leet)) for leet in (*LEET, {})}
        if len(bare) > OWN + 1:  # of few letters between digits too much would be dropped
            found.add(bare)
    return found


def _without_end(text: str) -> str:
    """From the end: a pattern would begin anew at each digit that no end follows."""
    end = len(text)
    while end and EDGE.match(text[end - 1]):
        end -= 1
    return text[:end]


def _is_known(text: str) -> bool:
    """A known password, also backwards or several times over."""
    unit = text[: (text + text).find(text, 1)] if text else ""
    return not _common().isdisjoint({text, text[::-1], unit, unit[::-1]} - {""})


@cache
def _common() -> frozenset[str]:
    """Django's 20,000, folded as what is compared with them."""
    return frozenset(map(_folded, CommonPasswordValidator().passwords))


def _own(text: str, words: Iterable[str]) -> int:
    """The least number of characters that no known word and no run along the keyboard or alphabet covers."""
    text = text[:READ]
    best = [0] + [len(text)] * len(text)
    known = [word for word in words if word in text]
    for at in range(len(text)):
        best[at + 1] = min(best[at + 1], best[at] + 1)
        ends = [at + len(word) for word in known if text.startswith(word, at)]
        if run := _run(text, at):
            ends.append(at + run)
        for end in ends:
            best[end] = min(best[end], best[at])
    return best[-1]


def _run(text: str, at: int) -> int:
    """How many characters from here on are neighbours in a row or all the same; 0 for too few."""
    longest = len(text) - at - len(text[at:].lstrip(text[at]))
    for row in (*ROWS, *(row[::-1] for row in ROWS)):
        size = 0
        while at + size < len(text) and text[at : at + size + 1] in row:
            size += 1
        longest = max(longest, size)
    return longest if longest >= RUN else 0
