"""Text to index words: the one analyser, so that every database indexes and finds the same words.

A text is stemmed by its own language. A question is too short to tell its language
from, so it is stemmed by every language that the index holds, see `question_terms`."""

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

import Stemmer

from privategpt.retrieval.languages import FUNCTION_WORDS, STEMMERS, function_words, light_endings

VERSION = 2  # to be raised with every change of what comes out: the worker then indexes all passages anew
LONGEST_WORD = 64  # characters; more is a hash or a blob, and its beginning finds it
LONGEST_QUESTION = 4_000  # characters that are analysed; what follows adds no meaning to a search
MOST_TERMS = 64  # words of a question that are searched, the rarest kinds of hostile input included
SAMPLE = 20_000  # characters that decide a text's language
MOST_LANGUAGES = 8  # by which a question is stemmed

# Scripts that put no blanks between words (and Korean, whose words carry their particles).
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)


def _marks() -> str:
    """Combining marks as a character class: in Devanagari and its kin they are vowels, which \\w leaves out."""
    marks = [
        code for code in (*range(0x300, 0xFE30), *range(0x101FD, 0x1E94B)) if unicodedata.category(chr(code))[0] == "M"
    ]
    known = set(marks)
    starts = [code for code in marks if code - 1 not in known]
    ends = [code for code in marks if code + 1 not in known]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


MARKS = _marks()
WORD = re.compile(rf"[\w{MARKS}]+")
UNSPACED_PART = re.compile(rf"([{UNSPACED}]+)|[^{UNSPACED}]+")
HAS_UNSPACED = re.compile(rf"[{UNSPACED}]")
# More marks on one letter than any writing has: to put them in order takes the square of their number.
MANY_MARKS = re.compile(rf"([{MARKS}]{{30}})[{MARKS}]+")
INVISIBLE = re.compile("[\u00ad\u200b\u200d\u2060\ufeff]")  # soft hyphen and joiners stand inside words
GROUPED_NUMBER = re.compile(r"(?<![\d.,])\d{1,3}(?:[.,'’\u00a0\u202f]\d{3})+(?![\d])")
HUMP = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")  # the parts of camelCase and HTTPServer
# A code, RX-500-A or 10.1.2, and a name that a symbol belongs to: C#, C++, .NET.
CODE = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]+(?:[-./][A-Za-z0-9]+){1,8}(?![A-Za-z0-9])")
CODE_PART = re.compile(r"[A-Za-z0-9]+")
SYMBOLED = re.compile(r"(?<![\w+#.])(?:[A-Za-z]{1,12}\+\+|[A-Za-z]#|\.[A-Z][A-Za-z]{1,5})(?![\w+#])")
SYMBOLS = str.maketrans({"+": "_plus", "#": "_sharp", ".": "dot_"})
OTHER_DIGIT = re.compile(r"(?![0-9])\d")
UMLAUT = re.compile("[äöü]")
SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
LONGEST_ACRONYM = 5
NOT_DIGIT = re.compile(r"\D")
# Letters that no decomposition takes apart, as one types them without the right keyboard.
PLAIN = str.maketrans("øłđıħŧæœαάёйґ", "oldihtæœααеиг")

_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a question: the index words it may stand as (one for each language), as typed, and whether
    it is a lone character of an unspaced script, which the index holds only as the beginning of a pair."""

    word: str
    variants: tuple[str, ...]
    is_prefix: bool = False


@cache
def _stemmer(language: str) -> "Stemmer.Stemmer":
    return Stemmer.Stemmer(STEMMERS[language], 0)


def _stem(word: str, language: str) -> str:
    """The folded stem of a casefolded word."""
    if language in STEMMERS:
        with _lock:  # a stemmer keeps its state between calls
            word = _stemmer(language).stemWord(word)
    else:
        word = _without_ending(word, language)
    return fold(word)


def _without_ending(word: str, language: str) -> str:
    for ending in light_endings(language):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


def fold(word: str) -> str:
    """Without diacritics where they only modify a letter (Latin, Greek, Cyrillic, Arabic and Hebrew points)."""
    if word.isascii():
        return word
    kept = (char for char in unicodedata.normalize("NFD", word) if unicodedata.combining(char) < 10)
    return unicodedata.normalize("NFC", "".join(kept)).translate(PLAIN)


def _normal(text: str) -> str:
    if text.isascii():
        return text
    text = INVISIBLE.sub("", unicodedata.normalize("NFKC", MANY_MARKS.sub(r"\1", text)))
    return OTHER_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


def _humps(word: str) -> list[str]:
    """The parts of an identifier, snake_case or camelCase; empty for a plain word."""
    parts = [hump for part in word.split("_") for hump in (HUMP.findall(part) if part.isascii() else [part]) if hump]
    return parts if len(parts) > 1 else []


def _uncached_words(run: str, language: str) -> tuple[str, ...]:
    if HAS_UNSPACED.search(run):
        found: list[str] = []
        for match in UNSPACED_PART.finditer(run):
            found += _pairs(match[0]) if match[1] else _words(match[0], language)
        return tuple(found)
    whole = run.strip("_").casefold()
    if not whole:
        return ()
    parts = [_stem(part.casefold()[:LONGEST_WORD], language) for part in _humps(run)]
    # An identifier is kept whole and unstemmed beside its parts: its exact name is its best address.
    if parts:
        return (fold(whole[:LONGEST_WORD]), *parts)
    return (_stem(whole[:LONGEST_WORD], language),)


def _spelt_out(run: str, language: str) -> str:
    """The word with its umlauts written as two letters: Mueller and Müller find each other, as Muller does."""
    word = run.casefold()[:LONGEST_WORD]
    if word.isascii() or not UMLAUT.search(word) or _humps(run):
        return ""
    return _stem(word.translate(SPELT_OUT), language)


_cached_words = lru_cache(maxsize=8_000)(_uncached_words)


def _words(run: str, language: str) -> tuple[str, ...]:
    """The index words of one run of letters and digits; a long run would only crowd the cache."""
    return (_cached_words if len(run) <= LONGEST_WORD else _uncached_words)(run, language)


def _numbers(text: str) -> list[str]:
    """1,388 also as 1388."""
    return [NOT_DIGIT.sub("", number)[:LONGEST_WORD] for number in GROUPED_NUMBER.findall(text)]


def _names(text: str) -> list[str]:
    """Codes as wholes, RX-500-A as rx500a, and names with their symbols, C# as c_sharp."""
    names = []
    for code in CODE.findall(text):
        if not code.isalpha() and any(character.isdigit() for character in code):
            parts = CODE_PART.findall(code.casefold())
            names.append(("_" if all(map(str.isdigit, parts)) else "").join(parts)[:LONGEST_WORD])
    return names + [name.casefold().translate(SYMBOLS)[:LONGEST_WORD] for name in SYMBOLED.findall(text)]


def _meaningful(text: str, dull: Collection[str]) -> list[str]:
    """The runs of letters and digits without function words, but for those that are part of a code or an acronym."""
    codes = [found.span() for found in CODE.finditer(text) if any(map(str.isdigit, found[0]))]
    in_code = {start + part.start() for start, end in codes for part in CODE_PART.finditer(text[start:end])}
    is_loud = text == text.upper()
    return [
        run[0]
        for run in WORD.finditer(text)
        if run[0].casefold() not in dull or run.start() in in_code or (not is_loud and _is_acronym(run[0]))
    ]


def _is_acronym(run: str) -> bool:
    return 1 < len(run) <= LONGEST_ACRONYM and run.isascii() and run.isalpha() and run.isupper()


def index_words(text: str, language: str) -> list[str]:
    """The words to index a text by, stemmed by its language, its function words left out; their order means nothing.

    Each is letters, digits and marks of any script or "_", without blanks, at most 64 characters.
    """
    text = _normal(text)
    meaningful = _meaningful(text, function_words(language)) or WORD.findall(text)
    words = [word for run in meaningful for word in _words(run, language) if word]
    spelt = [(run, _spelt_out(run, language)) for run in meaningful if UMLAUT.search(run.casefold())]
    more = [word for run, word in spelt if word and word not in _words(run, language)]
    return words + more + _numbers(text) + _names(text)


def detect(text: str, fallback: str = "en") -> str:
    """The language a text is written in, by its script and its function words; `fallback` when they say little.

    A word that several languages share counts for each of them in part.
    """
    sample = _normal(text[:SAMPLE])
    script = _script(sample)
    if script not in SHARED_SCRIPTS:
        return script
    usual, languages = SHARED_SCRIPTS[script]
    if not script:
        usual = fallback
    elif special := [code for code, letters in OWN_LETTERS.items() if code in languages and letters.search(sample)]:
        usual = special[0]
    return _by_function_words(sample, usual, languages)


def _by_function_words(sample: str, usual: str, languages: Collection[str]) -> str:
    words = Counter(run.casefold() for run in WORD.findall(sample))
    scores: dict[str, float] = dict.fromkeys(languages, 0.0)
    for word, count in words.items():
        speakers = [code for code in _speakers().get(word, ()) if code in scores]
        for code in speakers:
            scores[code] += count / len(speakers)
    best = max(scores, key=lambda code: (scores[code], code))
    # Code and lists of names hold few function words of any language: those are no evidence.
    convincing = scores[best] > max(1.2 * scores.get(usual, 0.0), 0.05 * words.total())
    return best if convincing else usual


def _script(sample: str) -> str:
    """The commonest script's name in `SCRIPTS`, or "" for Latin."""
    counts = {name: len(pattern.findall(sample)) for name, pattern in SCRIPTS.items()}
    if counts["ja"] * 8 >= counts["zh"]:
        counts["ja"] += counts["zh"]  # Japanese is full of Chinese characters, Chinese has no syllables
    name = max(counts, key=lambda script: counts[script])
    # An ideograph stands for a word or half of one.
    weight = 3 if name in {"zh", "ja", "ko"} else 1
    return name if counts[name] * weight > len(LATIN.findall(sample)) else ""


LATIN = re.compile("[a-zA-Z\u00c0-\u024f]")
SCRIPTS = {
    "Cyrillic": re.compile("[\u0400-\u052f]"),
    "Arabic": re.compile("[\u0600-\u06ff]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "he": re.compile("[\u0590-\u05ff]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "ja": re.compile("[\u3040-\u30ff]"),
    "zh": re.compile("[\u3400-\u9fff]"),
    "ko": re.compile("[\uac00-\ud7ff]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
}
# Scripts of several languages: the usual one and all of them. "" is Latin.
SHARED_SCRIPTS = {
    "Cyrillic": ("ru", ("ru", "uk", "bg")),
    "Arabic": ("ar", ("ar", "fa")),
    "": ("en", tuple(code for code in FUNCTION_WORDS if code not in {"ru", "uk", "bg", "ar", "fa", *SCRIPTS})),
}
OWN_LETTERS = {"uk": re.compile("[іїєґІЇЄҐ]"), "fa": re.compile("[پچژگ]")}


@cache
def _speakers() -> dict[str, tuple[str, ...]]:
    """Which languages each function word belongs to."""
    words = {word for language in FUNCTION_WORDS for word in function_words(language)}
    return {word: tuple(code for code in FUNCTION_WORDS if word in function_words(code)) for word in words}


def question_terms(question: str, languages: Collection[str]) -> list[Term]:
    """The terms to search for, each once, without the function words of the question's own language.

    `languages`: those of the index, commonest first. A text that is indexed by its own language's
    stems meets exactly that variant of a term, so the others cost nothing and confuse nothing.
    A question of function words alone keeps them all.
    """
    text = _normal(question[:LONGEST_QUESTION])
    codes = list(languages)[:MOST_LANGUAGES] or ["en"]
    own = detect(text, fallback=codes[0])
    runs = _meaningful(text, function_words(own)) or WORD.findall(text)
    terms = [Term(name, (name,)) for name in [*_names(text), *_numbers(text)]]
    terms = [*_terms(dict.fromkeys(runs), codes), *terms]
    return list({term.variants: term for term in terms}.values())[:MOST_TERMS]


def _terms(runs: Iterable[str], languages: list[str]) -> Iterable[Term]:
    for run in runs:
        # Analysed by each language, a run falls into equally many words: only their stems differ.
        for variants in zip(*(_words(run, language) for language in languages), strict=True):
            spelt = (_spelt_out(run, language) for language in languages) if UMLAUT.search(run.casefold()) else ()
            unique = tuple(dict.fromkeys(word for word in (*variants, *spelt) if word))
            if unique:
                yield Term(run, unique, len(unique[0]) == 1 and bool(HAS_UNSPACED.match(unique[0])))
