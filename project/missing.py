"""What is not there, or not yours, or cannot be had just now: a page for browsers, contract 1's text for programs."""

from __future__ import annotations

import sys
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext

from relay.api.views import not_found as contract_not_found
from relay.api.views import server_error

# Contract 1 answers every path near its own in its own way, whoever asks.
CONTRACT_PATHS = ("/api", "/client", "/health", "/ready", "/admin/users", "/v1")


def not_found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Not found and not allowed are one page, so that nobody learns what there is."""
    wants_page = "text/html" in request.headers.get("Accept", "")
    if not wants_page or request.path.startswith(CONTRACT_PATHS):
        return contract_not_found(request)
    return render(request, "404.html", status=404)


def failed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """503 while the database is away, in words that need nothing out of it; else 500."""
    if not isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return server_error(request)
    text = gettext("The database is busy or cannot be reached. Try again in a moment.")
    return HttpResponse(text, status=503, content_type="text/plain; charset=utf-8", headers={"Retry-After": "5"})
