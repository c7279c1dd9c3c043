"""Values that no column holds: a bad request, whichever page they came to."""

from __future__ import annotations

from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from project.middleware import Middleware, Response
from relay.api.views import bad_request


class Bounds(Middleware):
    """Looks at what a view failed with. Numbers and dates may be out of range in a hundred forms, filters and look-ups
    of Django's own, which check that they are some, and leave it to Python or the database to refuse them."""

    def __call__(self, request: HttpRequest) -> Response:
        response: HttpResponseBase = self._get_response(request)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Django's hook; None leaves the failure to others."""
        return bad_request(request, exception) if isinstance(exception, OverflowError | DataError) else None
