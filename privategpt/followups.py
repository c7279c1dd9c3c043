"""Whether a question can be searched alone, or only together with what was asked before it.

Pure. Words decide what is plain; where they do not, what was found does (see `grounding`)."""

from __future__ import annotations

import re
from enum import Enum, auto

from privategpt.retrieval.analyse import HAS_UNSPACED, WORD, detect
from privategpt.retrieval.languages import function_words

SHORT = 5  # words; a longer question that points at nothing says what it is about
SHORT_UNSPACED = 6  # characters, where no blanks stand between words
ENOUGH = 2  # words that say something, in a question that stands for itself
RICH = 4  # the same in one that points at something, which may stand in the question itself


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Reach(Enum):
    """What a question needs to be understood."""

    ALONE = auto()
    UNSURE = auto()
    BACK = auto()  # what was asked before


# Words that point at something said before; words that are articles or verbs as well are left out.
POINTING = {
    "de": "er sie es ihn ihm ihr ihnen ihre ihren dies dieser dieses diese diesen dort davon dazu dabei damit darüber "
    "daran darauf darin dafür dagegen deren dessen denen",
    "en": "it its they them their this that these those he him his she her there one ones same else",
    "es": "ello ella ellos ellas él eso esto aquello ese esa esos esas allí mismo misma",
    "fr": "il elle ils elles cela ça celui celle ceux ci celles eux lui y en",
    "it": "lui lei essi esse ciò questo questa quello quella loro",
    "nl": "hij zij haar hem hen hun dit dat deze die daar ervan",
    "pt": "ele ela eles elas isso isto aquilo esse essa dele dela lá",
    "ru": "он она оно они его её ей ему их им это этот эта эти там",  # noqa: RUF001
}
# The same at a question's end only; elsewhere they are articles or joints.
POINTING_LAST = {"de": "das dem die der denen", "fr": "le la les", "es": "lo la los las", "it": "lo la li le"}
# What only looks as if it pointed: there is, this year, it is allowed to.
IDLE = {
    "de": r"\bgibt(?:'s| es)\b|\bes gibt\b|\bist es (?:erlaubt|möglich|verboten)\b|\bwie spät ist es\b"
    r"|\bdies\w* (?:jahr|woche|monat|quartal)\w*",
    "en": r"\b(?:is|are|was|were|will) there\b|\bthere (?:is|are|was|were)\b|\bthis (?:year|week|month|quarter)\b"
    r"|\bis it (?:allowed|possible|forbidden|permitted)\b|\bwhat time is it\b|\bhow long does it take\b",
    "es": r"\best[ea] (?:año|semana|mes|trimestre)\b",
    "fr": r"\bil y a\b|\by a-t-il\b|\bil faut\b|\bfaut-il\b|\best-il (?:permis|possible|interdit)\b"
    r"|\bquelle heure est-il\b|\ben quoi\b|\A\W*en (?:quel|combien)\w*|\bcette (?:année|semaine)\b"
    r"|\bce (?:mois|trimestre)\b",
}
# A French question may take its subject up again: are journals lent, "sont-elles".
INVERTED = re.compile(r"-(?:t-)?(?:ils?|elles?)\b", re.IGNORECASE)
# Words with which one goes on; what follows them is seldom whole.
JOINING = {
    "bg": "и а но или",  # noqa: RUF001
    "cs": "a ale nebo",
    "de": "und aber oder auch sondern",
    "en": "and but or also",
    "es": "y e pero o también",
    "fr": "et mais ou aussi",
    "it": "e ed ma o anche",
    "nl": "en maar of ook",
    "no": "og men eller",
    "pl": "i a ale lub",
    "pt": "e mas ou também",
    "ro": "și dar sau",
    "ru": "и а но или",  # noqa: RUF001
    "sv": "och men eller",
    "tr": "ve ama peki",
    "uk": "і й а але",  # noqa: RUF001
}
TURNS = re.compile(
    r"\A\W*(?:what about|how about|was ist mit|wie sieht es|wie steht es|qu'en est-il|et pour|qué hay de|qué pasa con"
    r"|e riguardo|e quanto|hoe zit het|а что|а как)",  # noqa: RUF001
    re.IGNORECASE,
)
# With these begins what hangs on another sentence: on Sundays, for trainees. A question may begin with them, too.
HANGING = {
    "de": "am an im in bei mit ohne nach vor für seit bis ab von zu zum zur auf aus über unter pro wegen",
    "en": "on in at for with without after before during since until by from of to about per within under",
    "es": "en para con sin tras durante desde hasta al del sobre por los las el la",
    "fr": "pour avec sans après avant pendant depuis jusqu dans chez au aux du sur le la les l en par",
}
ASKING = _words(
    "which what when where who whom whose how why welcher welche welches welchem welchen wann wo wer wem wen wie warum "
    "wieviel viel quel quelle quels quelles quand où qui comment combien pourquoi qué cuál cuáles cuándo dónde quién "
    "quiénes cómo cuánto cuánta cuántos cuántas"
)
# Beside the function words: words that say how, how much or how often, and those that help other verbs.
PALE = _words(
    "often long far big old fast late early soon again exactly about more less much many per since until must need may "
    "might shall please now oft lange lang weit groß alt schnell spät früh bald nochmal genau etwa mehr weniger pro "
    "seit bis ab muss müssen darf dürfen soll sollen braucht bitte jetzt denn eigentlich wieso weshalb souvent "
    "longtemps loin grand vite tard tôt encore exactement environ moins depuis jusqu faut doit peut plaît alors heure "
    "frecuencia menudo lejos grande rápido tarde temprano pronto otra exactamente aproximadamente menos debe entonces "
    "hora only just nur bloß solo sólo solamente seulement juste tell explain detail details dazu erkläre erklären "
    "erzähl détails explique expliquer explica detalles"
)
POINTING_UNSPACED = re.compile("它|他们|她|这|那|该|其|それ|これ|あれ|その|この|あの|そこ|ここ|그것|이것|그건|มัน|นี้|นั้น")
GOING_ON_UNSPACED = re.compile("^(?:那|那么|では|じゃあ|それで|また|그럼|그리고|แล้ว)|呢[??]*$")


def reach(question: str) -> Reach:
    """By its words alone."""
    if HAS_UNSPACED.search(question):
        return _reach_unspaced(question)
    language = detect(question)
    words = _bare(question, language)
    says = _telling(words, language)
    if not says:
        return Reach.BACK
    if TURNS.match(question) or words[0] in JOINING.get(language, "").split():
        return Reach.BACK
    if _points(words, language):
        enough = ENOUGH if language == "fr" and INVERTED.search(question) else RICH
        return Reach.UNSURE if len(says) >= enough else Reach.BACK
    if len(words) > SHORT:
        return Reach.ALONE
    if words[0] in HANGING.get(language, "").split() and not ASKING.intersection(words[1:2]):
        return Reach.BACK
    return Reach.ALONE if len(says) >= ENOUGH else Reach.UNSURE


def telling(question: str) -> frozenset[str]:
    """Those of its words, casefolded, that say what it is about."""
    language = detect(question)
    return frozenset(_telling(_bare(question, language), language))


def _bare(question: str, language: str) -> list[str]:
    return WORD.findall(re.sub(IDLE.get(language, r"(?!)"), " ", question.casefold().replace("\u2019", "'")))


def _telling(words: list[str], language: str) -> list[str]:
    dull = function_words(language) | PALE | ASKING | _words(POINTING.get(language, ""))
    return [word for word in words if word not in dull and (len(word) > 1 or word.isdigit())]


def _points(words: list[str], language: str) -> bool:
    if not set(words).isdisjoint(POINTING.get(language, "").split()):
        return True
    return words[-1] in POINTING_LAST.get(language, "").split()


def _reach_unspaced(question: str) -> Reach:
    text = question.strip()
    if GOING_ON_UNSPACED.search(text):
        return Reach.BACK
    letters = len(HAS_UNSPACED.findall(text))
    if POINTING_UNSPACED.search(text):
        return Reach.BACK if letters < 4 * SHORT_UNSPACED else Reach.UNSURE
    return Reach.ALONE if letters >= SHORT_UNSPACED else Reach.UNSURE
