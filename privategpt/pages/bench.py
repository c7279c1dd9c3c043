"""The test bench: what retrieval finds and with which scores; for administrators also as somebody else would."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.formats import number_format
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.addresses import peer
from accounts.models import Group, User
from accounts.numerals import whole
from privategpt.grounding import SOURCES
from privategpt.models import Scenario, Source, SourceQuerySet
from privategpt.pages.sentences import in_readers_language
from privategpt.pages.shell import UserRequest
from privategpt.rendering import visible
from privategpt.retrieval.analyse import WORD, index_words
from privategpt.retrieval.search import BOTH, Found, Hit, Ways, Weighed, searcher

LIMITS = (6, 12, 24)  # sources
LONGEST_QUESTION = 2_000  # characters
MOST_USERS = 500  # in the list to choose from
SHOWN = 320  # characters of a passage
ASKED = ("k", "similarity_threshold", "use_sparse", "use_dense")  # what of a scenario decides what is found
BEST = 2.0  # the score of a passage that is first by its words and by its meaning


@dataclass(frozen=True, slots=True)
class Line:
    """One passage that was found. Shares are from 0 to 100, as the gauges draw them."""

    hit: Hit
    excerpt: SafeString
    score: float
    words_met: int
    cosine: float | None
    score_share: int
    words_share: int
    sense_share: int
    why_cut: str = ""  # why a model would not be shown it


@require_safe
@login_required
def bench(request: UserRequest) -> HttpResponse:
    question = request.GET.get("q", "").strip()[:LONGEST_QUESTION]
    limit = next((limit for limit in LIMITS if request.GET.get("limit") == str(limit)), LIMITS[1])
    reader = _reader(request)
    scenarios = list(Scenario.objects.visible_to(request.user).only("id", "name", *ASKED))
    scenario = next((each for each in scenarios if str(each.pk) == request.GET.get("scenario")), None)
    shown: dict[str, Any] = {
        "here": "sources",
        "tab": "bench",
        "question": question,
        "asked": request.GET,
        "limit": limit,
        "limits": LIMITS,
        "reader": reader,
        "groups": request.user.groups.all(),
        "users": _users(request.user),
        "scenarios": scenarios,
        "scenario": scenario,
    }
    if question:
        shown |= _looked(request, reader, question, limit, scenario)
    return render(request, "sources/bench.html", shown)


def _users(user: User) -> list[User]:
    """As whom this user may search: only who may see everything anyway."""
    if not user.is_superuser:
        return []
    people = User.objects.filter(is_active=True).exclude(email=None).exclude(pk=user.pk)
    return list(people.order_by("name", "email")[:MOST_USERS])


def _reader(request: UserRequest) -> User:
    """Raises Http404 for anybody who may not search as somebody else."""
    wanted = request.GET.get("as", "")
    if not wanted or wanted == request.user.email:
        return request.user
    found = User.objects.filter(email=wanted, is_active=True).first() if request.user.is_superuser else None
    if found is None:
        raise Http404
    return found


def _looked(request: UserRequest, reader: User, question: str, limit: int, scenario: Scenario | None) -> dict[str, Any]:
    readable = _within(Source.objects.visible_to(reader), request.GET.get("group", ""))
    is_other = reader != request.user
    if is_other:
        audit.record("search as", f"{reader}: {question[:100]}", by=request.user, way="browser", address=peer(request))
    begun = time.perf_counter()
    found = searcher().search(question, readable, limit, _ways(scenario))
    taken = round((time.perf_counter() - begun) * 1000)
    lines = [_line(hit, found, scenario) for hit in found.hits]
    shown = {
        "lines": lines,
        "milliseconds": taken,
        "note": in_readers_language(found.note),
        "terms": len(found.terms),
        "is_other": is_other,
    }
    return shown | (_withheld(reader, question, limit) if is_other else {})


def _within(readable: SourceQuerySet, group: str) -> SourceQuerySet:
    if group == "public":
        return readable.among([], public=True)
    number = whole(group, most=10**9)
    return readable if number is None else readable.among([number], public=False)


def _withheld(reader: User, question: str, limit: int) -> dict[str, Any]:
    """How many of the passages that would be found without any rights this reader does not get, and for want of which
    groups."""
    everything: Found = searcher().search(question, Source.objects.all().kept(), limit)
    own = set(Source.objects.visible_to(reader).filter(pk__in=everything.sources).values_list("pk", flat=True))
    kept_back = [hit for hit in everything.hits if hit.source not in own]
    groups = Group.objects.filter(sources__in={hit.source for hit in kept_back}).exclude(members=reader)
    return {"withheld": len(kept_back), "lacking": list(groups.distinct())}


def _ways(scenario: Scenario | None) -> Ways:
    return Ways(words=scenario.use_sparse, meaning=scenario.use_dense) if scenario else BOTH


def _why_cut(hit: Hit, found: Found, scenario: Scenario | None) -> str:
    """An answer is given the passages of so many sources, and in a scenario only those near enough."""
    least = scenario.similarity_threshold if scenario else 0.0
    if hit.cosine is not None and hit.cosine < least:
        return gettext("Below %(least)s: would not be shown to the model.") % {"least": number_format(least, 2)}
    most = scenario.k if scenario else SOURCES
    if found.sources.index(hit.source) >= most:
        said = ngettext(
            "Behind the first %(n)d source: would not be shown to the model.",
            "Behind the first %(n)d sources: would not be shown to the model.",
            most,
        )
        return said % {"n": most}
    return ""


def _line(hit: Hit, found: Found, scenario: Scenario | None) -> Line:
    terms = found.terms
    spans, met = _met(hit, terms)
    cosine = hit.cosine
    return Line(
        hit=hit,
        excerpt=_excerpt(hit.text, spans),
        score=hit.score,
        words_met=met,
        cosine=cosine,
        score_share=_share(hit.score / BEST),
        words_share=_share(met / len(terms)) if terms else 0,
        sense_share=_share(cosine or 0.0),
        why_cut=_why_cut(hit, found, scenario),
    )


def _share(part: float) -> int:
    return max(0, min(100, round(part * 100)))


def _met(hit: Hit, terms: list[Weighed]) -> tuple[list[tuple[int, int]], int]:
    """Where words of the question stand in the passage, and how many of them do."""
    wanted = {variant: number for number, weighed in enumerate(terms) for variant in weighed.term.variants}
    spans, met = [], set()
    for match in WORD.finditer(hit.text):
        numbers = {wanted[word] for word in index_words(match[0], hit.language) if word in wanted}
        if numbers:
            spans.append(match.span())
            met |= numbers
    return spans, len(met)


def _excerpt(text: str, spans: list[tuple[int, int]]) -> SafeString:
    """The piece around the first word that was met, with all of them marked."""
    begin = max(0, spans[0][0] - SHOWN // 4) if spans and spans[0][0] > SHOWN // 2 else 0
    end = min(len(text), begin + SHOWN)
    parts, at = ["…" if begin else ""], begin
    for start, stop in spans:
        if begin <= start and stop <= end:
            parts += [_safe(text[at:start]), "<mark>", _safe(text[start:stop]), "</mark>"]
            at = stop
    parts += [_safe(text[at:end]), "…" if end < len(text) else ""]
    return mark_safe("".join(parts))  # noqa: S308 - every part was escaped


def _safe(text: str) -> str:
    """Escaped, with hidden characters spelt out."""
    return escape(visible(text))
