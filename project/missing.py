"""What is not there, or not yours: a page for browsers, contract 1's text for programs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from relay.api.views import not_found as contract_not_found

# Contract 1 answers every path near its own in its own way, whoever asks.
CONTRACT_PATHS = ("/api", "/client", "/health", "/ready", "/admin/users", "/v1")


def not_found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Not found and not allowed are one page, so that nobody learns what there is."""
    wants_page = "text/html" in request.headers.get("Accept", "")
    if not wants_page or request.path.startswith(CONTRACT_PATHS):
        return contract_not_found(request)
    return render(request, "404.html", status=404)
