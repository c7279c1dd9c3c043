"""A source as a page to read, with the passage that an answer rests on marked."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from accounts.numerals import whole
from privategpt.models import Source
from privategpt.pages.keeping import Keeper
from privategpt.pages.shell import UserRequest
from privategpt.pages.sources import STATES
from privategpt.reading import read


@require_safe
@login_required
def source(request: UserRequest, pk: UUID) -> HttpResponse:
    """`?start=&end=` mark a passage, `#passage` scrolls to it; `?part=` turns the pages of a long one."""
    readable = Source.objects.visible_to(request.user).select_related("creator").prefetch_related("groups")
    found = get_object_or_404(readable, pk=pk)
    start, end, part = (_number(request.GET.get(name, "")) for name in ("start", "end", "part"))
    passage = range(start, min(end, len(found.content)))
    words, jack = STATES[Source.State(found.state)]
    shown = {
        "here": "sources",
        "source": found,
        "size": len(found.content),
        "reading": read(found.content, passage, part, found.title),
        "words": words,
        "jack": jack,
        "may_change": Keeper(request.user).may_change(found),
        "is_mine": found.creator_id == request.user.pk,
    }
    return render(request, "sources/source.html", shown)


def _number(text: str) -> int:
    return whole(text, most=10**9) or 0
