"""Lets the contracts and the figures past all that is for pages: no session, cookie, form token, language or message
has a part in them. What every answer needs is put on here.

Not in MIDDLEWARE: there Django makes whatever stands before a synchronous middleware synchronous as well."""

from __future__ import annotations

import re
from typing import Any

from asgiref.sync import iscoroutinefunction
from channels.db import DatabaseSyncToAsync
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import resolve, set_urlconf

from privategpt.api.door import PREFIX, ApiDoor
from project.middleware import Middleware, Response
from relay.api.urls import ROUTES
from relay.api.views import bad_request

PATHS = {*(f"/{route}" for route in ROUTES), "/metrics"}


class Handler(ASGIHandler):
    """Django's, with the doors before its middleware."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Called once, by the handler itself."""
        super().load_middleware(is_async)
        self._middleware_chain: Any = convert_exception_to_response(Doors(self._middleware_chain))


class Doors(Middleware):
    """Stands before the pages' middleware. What is to be led to TLS takes the long way, which leads there."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self._api = ApiDoor(get_response)
        self._exempt = [re.compile(pattern) for pattern in settings.SECURE_REDIRECT_EXEMPT]

    def __call__(self, request: HttpRequest) -> Response:
        if self._is_async and not self._must_go_to_tls(request):
            if request.path_info in PATHS:
                return self._straight(request)
            if request.path_info.startswith(PREFIX):
                return self._by_api(request)
        response: Response = self._get_response(request)
        return response

    def _must_go_to_tls(self, request: HttpRequest) -> bool:
        """As Django's own middleware leads there, which then does it."""
        path = request.path.lstrip("/")
        exempt = any(pattern.search(path) for pattern in self._exempt)
        return bool(settings.SECURE_SSL_REDIRECT) and not request.is_secure() and not exempt

    async def _by_api(self, request: HttpRequest) -> HttpResponseBase:
        found: Any = self._api(request)
        return _marked(request, await found)

    async def _straight(self, request: HttpRequest) -> HttpResponseBase:
        try:
            request.get_host()
        except DisallowedHost as fault:
            return _marked(request, bad_request(request, fault))
        set_urlconf(settings.ROOT_URLCONF)
        match = resolve(request.path_info)
        request.resolver_match = match
        kind: Any = getattr(match.func, "cls", None) or getattr(match.func, "view_class", None)
        view: Any = match.func
        if iscoroutinefunction(kind.dispatch):
            found: HttpResponseBase = await view(request)
        else:  # in a thread that keeps its connection to the database
            found = await DatabaseSyncToAsync(view, thread_sensitive=False)(request)
        return _marked(request, found)


def _marked(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if not response.streaming:
        response.headers.setdefault("Content-Length", str(len(response.content)))  # type: ignore[attr-defined]
    if settings.SECURE_HSTS_SECONDS and request.is_secure():
        response.headers.setdefault("Strict-Transport-Security", f"max-age={settings.SECURE_HSTS_SECONDS}")
    return response
