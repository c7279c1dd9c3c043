"""The base of contract 2's views: token, rights, body, handler, envelope, in this order.

A handler that is a plain function runs whole in a thread, beside the database; one that is `async def` waits for
answers on the event loop and goes to a thread for what touches the database."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import SyncToAsync
from channels.db import DatabaseSyncToAsync
from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import resolve
from rest_framework.views import APIView

from privategpt.api import body, credentials, envelope
from privategpt.api.credentials import Caller
from privategpt.api.envelope import Refusal
from privategpt.api.fields import Body, Empty

P = ParamSpec("P")
R = TypeVar("R")
METHODS = ("get", "post", "patch", "delete")
PARSED_ON_LOOP = 64 << 10  # bytes; a longer body would hold up everybody else


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs what touches the database in a thread that keeps its connection."""
    call: SyncToAsync[P, R] = DatabaseSyncToAsync(function, thread_sensitive=False)
    return await call(*args, **kwargs)


class ApiView(APIView):
    """A route. Each mapping is by method in upper case: the body's fields, the scope and the role that it takes."""

    authentication_classes: Sequence[Any] = ()
    permission_classes: Sequence[Any] = ()
    view_is_async = True  # `dispatch` is, whatever the handlers are

    accepts: Mapping[str, type[Body]] = {}
    query: Mapping[str, type[Body]] = {}
    scopes: Mapping[str, str] = {}
    roles: Mapping[str, str] = {}
    anonymous = False

    shown: credentials.Shown
    caller: Caller
    fields: dict[str, Any]
    asked: dict[str, Any]  # of the query
    raw = b""

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        self.plain = request
        self.kwargs = kwargs
        try:
            found = await self._answer(request, kwargs)
        except Exception as fault:
            return envelope.refuse(fault)
        return found if isinstance(found, HttpResponseBase) else envelope.reply(found)

    async def _answer(self, request: HttpRequest, kwargs: dict[str, Any]) -> Any:
        handler = self._handler(request)
        if not self.anonymous:
            self.shown = await credentials.authenticate(request)
        await self._read(request)
        if inspect.iscoroutinefunction(handler):
            return await handler(**kwargs)
        return await in_thread(self._admitted, handler, kwargs)

    def _handler(self, request: HttpRequest) -> Callable[..., Any]:
        method = (request.method or "").lower()
        handler = getattr(self, method, None) if method in METHODS or method == "head" else None
        if handler is None:
            raise Refusal(405, f"This path knows no {request.method}.", headers={"Allow": ", ".join(self.methods())})
        return handler  # type: ignore[no-any-return]

    @classmethod
    def methods(cls) -> list[str]:
        """Those that this route knows, in upper case."""
        return [method.upper() for method in METHODS if getattr(cls, method, None)]

    async def _read(self, request: HttpRequest) -> None:
        self.raw, found = b"", {}
        if request.method in self.accepts:
            self.raw = body.read(request, self.limit())
            long = len(self.raw) > PARSED_ON_LOOP
            found = await asyncio.to_thread(body.parse, self.raw) if long else body.parse(self.raw)
        self._sent = found

    def limit(self) -> int:
        """Bytes that the body may have."""
        return int(settings.API["max_body_bytes"])

    def _admitted(self, handler: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
        self.admit()
        return handler(**kwargs)

    def admit(self) -> None:
        """Rights first, then fields; to be called in a thread. Raises Refusal, PermissionDenied, ValidationError."""
        self.call()
        method = self._method()
        self.fields = validated(self.accepts.get(method, Empty), self._sent)
        self.asked = validated(self.query.get(method, Empty), self.plain.GET.dict())

    def call(self) -> None:
        """Who calls, by their rights as they are now; to be called in a thread. Raises Refusal, PermissionDenied."""
        if self.anonymous:
            return
        method = self._method()
        self.caller = credentials.caller(self.shown, self.plain)
        self.caller.require_scope(self.scopes.get(method))
        self.caller.require_role(self.roles.get(method))

    def _method(self) -> str:
        return "GET" if self.plain.method == "HEAD" else str(self.plain.method)


def validated(kind: type[Body], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by our own names. Raises ValidationError."""
    if kind is Empty:
        return {}
    form = kind(data=sent)
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


def found_id(text: str) -> UUID:
    """The id in a path. Raises Refusal (404), as for an unknown one."""
    try:
        return UUID(text)
    except ValueError:
        raise envelope.not_found() from None


def page_of(rows: QuerySet[Any], name: str, shape: Callable[[Any], Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a list under its name, and where in the list it stands."""
    page, size = asked["page"], asked["per_page"]
    total = rows.count()
    shown = rows[(page - 1) * size : page * size]
    last = max(1, -(-total // size))
    return {name: [shape(row) for row in shown], "page": page, "perPage": size, "lastPage": last, "total": total}


class DoublePrefix(ApiView):
    """A client in the field sends `/api/v1/api/v1/users/reactivate`."""

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        again = request.path_info.removeprefix("/api/v1")
        if again.startswith("/api/v1/api/"):
            return envelope.refuse(envelope.not_found())
        match = resolve(again)
        return await match.func(request, *match.args, **match.kwargs)  # type: ignore[no-any-return]


class NotFound(ApiView):
    """Every other path."""

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        return envelope.refuse(envelope.not_found())
