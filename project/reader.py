"""The reader's language and time zone: the user's own when signed in, else the browser's.

Not Django's LocaleMiddleware: that one knows a cookie and the browser, and we keep the choice with the user."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

from project.middleware import Middleware, Response

PROGRAMS = ("/api/", "/v1/", "/client/")  # programs read one language: that of the contracts


class Reader(Middleware):
    """Middleware behind authentication, for both kinds of views."""

    def __call__(self, request: HttpRequest) -> Response:
        if self._is_async:
            return self._later(request)
        if request.path.startswith(PROGRAMS):
            return self._get_response(request)  # type: ignore[no-any-return]
        settle(request, request.user)
        return labelled(request, self._get_response(request))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        if request.path.startswith(PROGRAMS):
            return await self._get_response(request)  # type: ignore[no-any-return]
        settle(request, await request.auser())
        return labelled(request, await self._get_response(request))


def settle(request: HttpRequest, user: Any) -> None:
    """For this request only: each one has its own context."""
    known = dict(settings.LANGUAGES)
    chosen = user.language if user.is_authenticated and user.language in known else None
    translation.activate(chosen or translation.get_language_from_request(request))
    request.LANGUAGE_CODE = translation.get_language()
    if user.is_authenticated:
        timezone.activate(ZoneInfo(user.timezone))
    else:
        timezone.deactivate()


def labelled(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Says to caches what the text depends on, and that what somebody reads who is signed in is for nobody's cache."""
    patch_vary_headers(response, ("Accept-Language",))
    if request.session.get(SESSION_KEY):
        response.headers.setdefault("Cache-Control", "private, no-store")
    response.headers.setdefault("Content-Language", translation.get_language() or settings.LANGUAGE_CODE)
    return response
