"""A message as contract 2 shows it: the answer, and the sources that it rests on, best first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest

from privategpt import withheld
from privategpt.api.credentials import Caller
from privategpt.api.envelope import LATER, Refusal, moment, not_found
from privategpt.models import Citation, Message

Passage = dict[str, Any]  # as `follow` tells of it: number, source, title, heading, start, end, context, score


def final(message: Message) -> Message:
    """The message itself if it has an answer. Raises Refusal for one that failed or is not finished."""
    if message.state == Message.State.FAILED:
        raise Refusal(503, message.error or "No model could answer.", headers=LATER)
    if message.state not in {Message.State.COMPLETE, Message.State.STOPPED}:
        raise Refusal(504, "The answer takes too long; it goes on in the chat.", headers=LATER)
    return message


def answered(message: Message, caller: Caller, request: HttpRequest) -> dict[str, Any]:
    """The data of an answer to POST or PATCH. Raises Refusal (404) when it rests on groups beyond the token's."""
    if not message.is_within(caller.narrowed_to):
        raise not_found()
    return {
        "chatId": str(message.chat_id),
        "messageId": str(message.pk),
        "answer": withheld.readable(message.answer, withheld.basis(message, caller.sources())),
        "language": message.language,
        **_cut_off(message),
        **shape_sources(map(passage, _rests_on(message, caller)), as_objects=wants_objects(request)),
    }


def _rests_on(message: Message, caller: Caller) -> Iterable[Citation]:
    """The trace says when it rests on nothing: then nothing is to be looked up."""
    if message.trace and not message.trace.get("used"):
        return ()
    return citations(caller).filter(message=message)


def shape_messages(messages: Sequence[Message], caller: Caller, *, as_objects: bool) -> list[dict[str, Any]]:
    """A chat's messages, each with `shown_citations`: what the caller may read of them."""
    own = [message for message in messages if message.is_within(caller.narrowed_to)]
    bases = withheld.bases(own, caller.sources())
    return [_shape_message(message, bases[message.pk], as_objects=as_objects) for message in own]


def _shape_message(message: Message, basis: withheld.Basis, *, as_objects: bool) -> dict[str, Any]:
    return {
        "messageId": str(message.pk),
        "question": message.question,
        "answer": withheld.readable(message.answer, basis),
        "language": message.language,
        "state": message.state,
        "createdAt": moment(message.created_at),
        **_cut_off(message),
        **shape_sources(map(passage, message.shown_citations), as_objects=as_objects),  # type: ignore[attr-defined]
    }


def _cut_off(message: Message) -> dict[str, str]:
    """Why the answer is not whole, as a code; no key for one that is."""
    return {"cutOff": message.cut_off} if message.cut_off else {}


def citations(caller: Caller) -> QuerySet[Citation]:
    """Those of sources that the caller may read now: a right that ended takes the passages along."""
    readable = caller.sources().values("pk")
    return (
        Citation.objects.filter(source__in=readable)
        .select_related("source")
        .defer("source__content")
        .order_by("number")
    )


def wants_objects(request: HttpRequest) -> bool:
    """Whether `sources` are objects, as release 1.4 has them, or ids, as the first release has."""
    version = request.headers.get("X-PGPT-Api-Version", "").strip()
    return version.startswith("1.4") if version else bool(settings.API["source_objects"])


def shape_sources(found: Iterable[Passage], *, as_objects: bool) -> dict[str, list[Any]]:
    """`sources` and, in the same order, `sourceDetails`: one entry for each source, by its best passage."""
    best: dict[str, Passage] = {}
    for passage in found:
        best.setdefault(passage["source"], passage)
    details = [_detail(passage) for passage in best.values()]
    names = ("documentId", "sourceId", "title", "page", "context")
    sources: list[Any] = [
        {name: detail[name] for name in names} if as_objects else detail["sourceId"] for detail in details
    ]
    return {"sources": sources, "sourceDetails": details}


def passage(citation: Citation) -> Passage:
    """A citation's row in the form in which a growing answer tells of it."""
    names = ("number", "heading", "start", "end", "context", "score")
    kept = {name: getattr(citation, name) for name in names}
    return {"source": str(citation.source_id), "title": citation.source.title, **kept}


def _detail(found: Passage) -> dict[str, Any]:
    ids = {"sourceId": found["source"], "documentId": found["source"]}
    kept = {name: found[name] for name in ("title", "context", "score", "heading", "start", "end")}
    return {**ids, "page": 0, **kept}  # Markdown has no pages
