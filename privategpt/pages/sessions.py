"""Where one is signed in: the list, ending one, ending all others."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from accounts import keys, signlog
from accounts.addresses import peer
from accounts.sessions import Session, row_key
from privategpt.pages.shell import UserRequest


def name_of(session: Session) -> str:
    """What a page calls a session: not even the digest of its key leaves the server."""
    return keys.digest(f"session {session.pk}").hex()[:24]


@require_safe
@login_required
def sessions(request: UserRequest) -> HttpResponse:
    current = row_key(request.session.session_key)
    rows = [
        {"session": row, "name": name_of(row), "is_current": row.pk == current}
        for row in Session.objects.of(request.user).defer("session_data")[:200]
    ]
    rows.sort(key=lambda row: not row["is_current"])
    return render(request, "account/sessions.html", {"rows": rows, "here": "sessions"})


@require_safe
@login_required
def here(request: UserRequest) -> HttpResponse:
    """Asked by a page before it sends a form: whether the server is there and its reader still signed in. The form's
    token comes along, for another tab may have signed in anew meanwhile."""
    return HttpResponse(status=204, headers={"X-Form-Token": get_token(request), "Cache-Control": "no-store"})


@require_POST
@login_required
def end_session(request: UserRequest) -> HttpResponse:
    """One of one's own, by the name that the list gave it."""
    wanted = request.POST.get("session", "")
    for row in Session.objects.of(request.user).defer("session_data"):
        if name_of(row) == wanted:
            row.delete()
            _note(request)
            messages.success(request, gettext("The session has ended."))
            return redirect("sessions")
    raise Http404


@require_POST
@login_required
def end_other_sessions(request: UserRequest) -> HttpResponse:
    end_others(request)
    messages.success(request, gettext("All other sessions have ended."))
    return redirect("sessions")


def _note(request: UserRequest) -> None:
    signlog.note(signlog.END_SESSION, request.user, way="browser", address=peer(request))


def end_others(request: UserRequest) -> None:
    """All of the user's but the one at hand."""
    if Session.objects.of(request.user).others_than(request.session).delete()[0]:
        _note(request)
