"""Where one is signed in: the list, ending one, ending all others."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from accounts import keys
from accounts.sessions import Session
from privategpt.pages.shell import UserRequest


def name_of(session: Session) -> str:
    """What a page calls a session: its key would open it."""
    return keys.digest(f"session {session.pk}").hex()[:24]


@require_safe
@login_required
def sessions(request: UserRequest) -> HttpResponse:
    current = request.session.session_key
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
            messages.success(request, gettext("The session has ended."))
            return redirect("sessions")
    raise Http404


@require_POST
@login_required
def end_other_sessions(request: UserRequest) -> HttpResponse:
    Session.objects.of(request.user).exclude(pk=request.session.session_key).delete()
    messages.success(request, gettext("All other sessions have ended."))
    return redirect("sessions")
