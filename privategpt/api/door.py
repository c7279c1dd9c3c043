"""The middleware that lets contract 2 past all others: no session, cookie or form token has a part in it.

A bearer token needs none of what Django's other middleware does, most of which would take a thread for each request."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import resolve, set_urlconf

from privategpt.api import envelope
from privategpt.api.envelope import Refusal

PREFIX = "/api/v1/"
Next = Callable[[HttpRequest], Any]


class ApiDoor:
    """First of all middleware."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Next) -> None:
        self._next = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Contract 2's requests go straight to their view; in a synchronous server they take the long way."""
        if request.path_info.startswith(PREFIX) and iscoroutinefunction(self):
            return _straight(request)
        return self._next(request)  # type: ignore[no-any-return]


async def _straight(request: HttpRequest) -> HttpResponseBase:
    try:
        request.get_host()
    except DisallowedHost:
        return envelope.refuse(Refusal(400, "This server is not addressed by that host name."))
    set_urlconf(settings.ROOT_URLCONF)
    match = resolve(request.path_info)
    request.resolver_match = match
    found: Any = match.func(request, *match.args, **match.kwargs)
    return await found if inspect.isawaitable(found) else found  # type: ignore[no-any-return]
