"""What is not there, not yours, refused, or not to be had now: a page for browsers, contract 1's text for programs."""

from __future__ import annotations

import sys
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.csrf import csrf_failure

from accounts.faults import is_away, is_read_only
from relay.api.views import not_found as contract_not_found
from relay.api.views import server_error

# Contract 1 answers every path near its own in its own way, whoever asks.
CONTRACT_PATHS = ("/api", "/client", "/health", "/ready", "/admin/users", "/v1")


def not_found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Not found and not allowed are one page, so that nobody learns what there is."""
    if not _wants_page(request) or request.path.startswith(CONTRACT_PATHS):
        return contract_not_found(request)
    return render(request, "404.html", status=404)


def form_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without its token: the page was open for too long, or it is not a page of ours."""
    if not _wants_page(request):
        return csrf_failure(request, reason)
    return render(request, "403.html", status=403)


def not_allowed(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What the reader's roles do not bring; only whoever may know that it is there gets here."""
    if not _wants_page(request):
        return HttpResponse("403 not allowed", status=403, content_type="text/plain; charset=utf-8")
    return render(request, "not_allowed.html", status=403)


def _wants_page(request: HttpRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def failed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """503 while the database is away, in words that need nothing out of it; else 500."""
    fault = sys.exc_info()[1]
    if not is_away(fault):
        return server_error(request)
    text = gettext("The database is busy or cannot be reached. Try again in a moment.")
    if is_read_only(fault):
        text = gettext("The database takes no changes at the moment. Reading goes on; nothing was saved.")
    return HttpResponse(text, status=503, content_type="text/plain; charset=utf-8", headers={"Retry-After": "5"})
