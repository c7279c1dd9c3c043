"""Sources: the list with its states, uploading, writing, moving, deleting with undo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models.functions import Length
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.numerals import whole
from privategpt import ingest, storable
from privategpt.models import Source, SourceQuerySet
from privategpt.pages.keeping import Keeper
from privategpt.pages.sentences import in_readers_language
from privategpt.pages.shell import UserRequest
from privategpt.pages.source_forms import (
    NewSourceForm,
    ReadersForm,
    TextForm,
    Unreadable,
    UploadForm,
    group_gone,
    stored_words,
    text_of,
)
from privategpt.reading import preview

A_PAGE = 50
State = Source.State
# What a state is called, and its jack.
STATES = {
    State.CREATION: (_("Waiting"), ""),
    State.PROCESSING: (_("Making vectors"), "busy"),
    State.VECTORIZED: (_("Ready"), "on"),
    State.ERROR: (_("Failed"), "bad"),
}
MOVING = (State.CREATION, State.PROCESSING)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def sources(request: UserRequest) -> HttpResponse:
    """The list; files that are posted to it are stored."""
    if request.method == "POST":
        return _upload(request)
    keeper, asked = Keeper(request.user), request.GET
    readable = Source.objects.visible_to(request.user)
    found = _filtered(readable, keeper, asked.get("q", ""), asked.get("group", ""), asked.get("state", ""))
    total, page = found.count(), _page_number(asked.get("page", ""))
    rows = _rows(found.order_by("-updated_at", "pk")[page * A_PAGE : (page + 1) * A_PAGE], keeper)
    shown = {
        "here": "sources",
        "tab": "list",
        "keeper": keeper,
        "rows": rows,
        "moving": _moving(rows),
        "total": total,
        "readable": total if len(asked) == 0 else readable.count(),
        "states": STATES.items(),
        "asked": asked,
        "page": page,
        "next_page": page + 2 if total > (page + 1) * A_PAGE else None,
        "upload": UploadForm(keeper),
        "deleted": _just_deleted(keeper, asked.get("deleted", "")),
        "a_page": A_PAGE,
    }
    return render(request, "sources/list.html", shown)


def _filtered(readable: SourceQuerySet, keeper: Keeper, words: str, group: str, state: str) -> SourceQuerySet:
    if words:
        readable = readable.filter(title__icontains=words[:200].replace("\0", ""))
    if group == "public":
        readable = readable.among([], public=True)
    elif group in {str(own.pk) for own in keeper.groups}:
        readable = readable.among([own.pk for own in keeper.groups if str(own.pk) == group], public=False)
    return readable.filter(state=state) if state in STATES else readable


def _page_number(text: str) -> int:
    """From 0 on; pages are numbered from 1 on for readers."""
    return max(1, min(whole(text) or 1, 100_000)) - 1


def _rows(found: SourceQuerySet, keeper: Keeper) -> list[dict[str, Any]]:
    sized = found.annotate(characters=Length("content")).defer("content")
    listed: Iterable[Any] = sized.select_related("creator").prefetch_related("groups")
    return [
        {
            "source": source,
            "size": source.characters,
            "words": STATES[source.state][0],
            "jack": STATES[source.state][1],
            "may_change": keeper.may_change(source),
            "is_mine": source.creator_id == keeper.user.pk,
        }
        for source in listed
    ]


def _moving(rows: Iterable[dict[str, Any]]) -> list[str]:
    return [str(row["source"].pk) for row in rows if row["source"].state in MOVING]


def _just_deleted(keeper: Keeper, pk: str) -> Source | None:
    try:
        return keeper.deleted_source(UUID(pk))
    except (ValueError, Http404):
        return None


@require_safe
@login_required
def moving(request: UserRequest) -> HttpResponse:
    """The rows that were still moving, as they stand now, and a new asker for those that still do."""
    wanted = []
    for text in request.GET.getlist("id")[:A_PAGE]:
        try:
            wanted.append(UUID(text))
        except ValueError:
            raise Http404 from None
    keeper = Keeper(request.user)
    rows = _rows(Source.objects.visible_to(request.user).filter(pk__in=wanted), keeper)
    return render(request, "sources/_moving.html", {"rows": rows, "moving": _moving(rows), "is_update": True})


# -- storing --------------------------------------------------------------------------------------


def _storing(request: UserRequest) -> Keeper:
    keeper = Keeper(request.user)
    if not keeper.may_store:
        raise Http404
    return keeper


def _upload(request: UserRequest) -> HttpResponse:
    keeper = _storing(request)
    form = UploadForm(keeper, request.POST)
    files = request.FILES.getlist("files")
    if not form.is_valid() or not files:
        messages.error(request, gettext("Nothing was saved: no file came along."))
        return redirect("sources")
    stored = 0
    for file in files:
        try:
            title, content = text_of(file)
            groups = form.readers
            ingest.store(request.user, title=title, content=content, groups=groups, public=not groups)
        except (Unreadable, storable.Unstorable) as reason:
            messages.error(request, f"{file.name}: {reason}")
        except ingest.GroupGone:
            messages.error(request, f"{file.name}: {group_gone()}")
        else:
            stored += 1
    if stored:
        messages.success(request, stored_words(stored))
    return redirect("sources")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def write(request: UserRequest) -> HttpResponse:
    """A new source, written or pasted; first looked at, if wanted."""
    keeper = _storing(request)
    first = {"groups": [keeper.groups[0].pk]} if keeper.groups else {"public": True}
    form = NewSourceForm(keeper, request.POST or None, initial=first)
    if _is_to_be_saved(request, form):
        groups, wanted = form.readers, form.cleaned_data
        try:
            source = ingest.store(
                request.user, title=wanted["title"], content=wanted["content"], groups=groups, public=not groups
            )
        except ingest.GroupGone:
            form.add_error("groups", group_gone())
        except storable.TooMuch as fault:
            form.add_error("content", in_readers_language(str(fault)))
        else:
            messages.success(request, stored_words(1))
            return redirect("source", pk=source.pk)
    return _editor(request, form, gettext("Write or paste"))


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: UserRequest, pk: UUID) -> HttpResponse:
    source = Keeper(request.user).source(pk)
    form = TextForm(request.POST or None, initial={"title": source.title, "content": source.content})
    if _is_to_be_saved(request, form):
        try:
            _edited(source, title=form.cleaned_data["title"], content=form.cleaned_data["content"])
        except storable.TooMuch as fault:
            form.add_error("content", in_readers_language(str(fault)))
        else:
            messages.success(request, gettext("Saved. What changed is searched anew."))
            return redirect("source", pk=pk)
    return _editor(request, form, gettext("Edit"), source=source)


def _edited(source: Source, **changed: Any) -> None:
    """Raises Http404 for one that was deleted just now, GroupGone."""
    try:
        ingest.edit(source, **changed)
    except ingest.SourceGone:
        raise Http404 from None


def _is_to_be_saved(request: UserRequest, form: TextForm) -> bool:
    return request.method == "POST" and "preview" not in request.POST and form.is_valid()


def _editor(request: UserRequest, form: TextForm, heading: str, **shown: Any) -> HttpResponse:
    wants_preview = "preview" in request.POST
    if wants_preview:
        shown["preview"] = preview(request.POST.get("content", "").replace("\r\n", "\n"))
    failed = request.method == "POST" and not wants_preview
    page = {"here": "sources", "form": form, "heading": heading, **shown}
    return render(request, "sources/edit.html", page, status=422 if failed else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def move(request: UserRequest, pk: UUID) -> HttpResponse:
    """To other readers."""
    keeper = Keeper(request.user)
    source = keeper.source(pk)
    form = ReadersForm(keeper, request.POST or None, initial=ReadersForm.of(keeper, source))
    if request.method == "POST" and form.is_valid():
        try:
            _edited(source, groups=form.readers)
        except ingest.GroupGone:
            form.add_error("groups", group_gone())
        else:
            messages.success(request, gettext("Moved. From now on these are its readers."))
            return redirect("source", pk=pk)
    status = 422 if request.method == "POST" else 200
    return render(request, "sources/move.html", {"here": "sources", "form": form, "source": source}, status=status)


# -- deleting, and trying again -------------------------------------------------------------------


@require_POST
@login_required
def delete(request: UserRequest, pk: UUID) -> HttpResponse:
    """Nobody finds or reads it from now on; the next page offers to undo that."""
    ingest.put_aside(Keeper(request.user).source(pk))
    response = redirect("sources")
    response["Location"] += f"?deleted={pk}"
    return response


@require_POST
@login_required
def undo(request: UserRequest, pk: UUID) -> HttpResponse:
    if ingest.bring_back(Keeper(request.user).deleted_source(pk)):
        messages.success(request, gettext("It is back, as it was."))
    else:
        messages.error(request, gettext("It is too late to undo this deletion."))
    return redirect("sources")


@require_POST
@login_required
def try_again(request: UserRequest, pk: UUID) -> HttpResponse:
    ingest.try_again(Keeper(request.user).source(pk))
    return redirect("sources")
