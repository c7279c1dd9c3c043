"""Contract 1 through Django and DRF: every route, `POST /api/ask` included."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts import audit, keys, people
from accounts.actors import Actor
from accounts.addresses import peer
from accounts.models import Token, User
from accounts.units import unit
from relay import exchange
from relay.api import credentials, guesses, replies, shapes
from relay.api.asking import answer_ask
from relay.api.replies import Reply
from relay.loopback import is_from_here

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Request-Id, Retry-After, X-Queue-Wait",
}
PREFLIGHT = CORS | {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "86400",
}


def http(found: Reply, extra: dict[str, str] | None = None) -> HttpResponse:
    """The reply as Django sends it."""
    response = HttpResponse(found.body, status=found.status, content_type=found.content_type)
    response["Content-Length"] = str(len(found.body))  # by Django's own hand only where all middleware is passed
    for name, value in (*found.headers, *(extra or {}).items()):
        response[name] = value
    return response


def not_found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """The contract's answer to an unknown path and to another method on a known one."""
    return HttpResponse(replies.NOT_FOUND, status=404, content_type=replies.TEXT)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django refuses before any view: a foreign Host, too many parameters. A page for browsers."""
    if _is_browser(request):
        _forgo_form(request)
        return defaults.bad_request(request, exception)
    return http(replies.error(400, "Bad request"))


def server_error(request: HttpRequest) -> HttpResponse:
    """A failure that nobody foresaw. A page for browsers."""
    if _is_browser(request):
        _forgo_form(request)
        return defaults.server_error(request)
    return http(replies.error(500, "Internal error"))


def _forgo_form(request: HttpRequest) -> None:
    """Django's error pages look for the form's token once more; reading the form may be what failed."""
    request.csrf_processing_done = True  # type: ignore[attr-defined]


def _is_browser(request: HttpRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")


@csrf_exempt  # it does nothing, and what it leads to asks for a key
def without_slash(request: HttpRequest) -> HttpResponse:
    """A known path with a slash behind it: 301 for GET, 307 for what carries a body."""
    query = request.META.get("QUERY_STRING", "")
    response = HttpResponse(status=301 if request.method in {"GET", "HEAD"} else 307)
    response["Location"] = request.path.rstrip("/") + (f"?{query}" if query else "")
    return response


def header_values(request: HttpRequest, name: str) -> list[bytes]:
    """Every value of a header as it came; Django joins doubled ones, and two credentials are none."""
    scope = getattr(request, "scope", None)
    if scope is not None:
        return [value for key, value in scope["headers"] if key == name.encode()]
    value = request.headers.get(name)
    return [] if value is None else [value.encode("utf-8", "surrogateescape")]


def read_body(request: HttpRequest) -> bytes:
    """The body. Raises TooLarge.

    Read from the stream: `request.body` has a limit of its own, with another answer.
    """
    limit: int = settings.RELAY["max_ask_bytes"]
    body: bytes = request.read(limit + 1)
    if len(body) > limit:
        raise replies.TooLarge(limit)
    return body


class ContractView(APIView):
    """No DRF authentication: each route of contract 1 has a way of its own. Other methods are a 404."""

    authentication_classes: Sequence[Any] = ()
    permission_classes: Sequence[Any] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """No negotiation: the contract's replies are what they are, whatever `Accept` or `?format=` says."""

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {}

    def http_method_not_allowed(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        return not_found(request._request)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        return not_found(request._request)


class AsyncContractView(ContractView):
    """The same for `async def` handlers, which DRF does not await by itself."""

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        self.args, self.kwargs = args, kwargs
        self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        method = (request.method or "").lower()
        handler = getattr(self, method, None) if method in self.http_method_names else None
        found = (handler or self.http_method_not_allowed)(self.request, *args, **kwargs)
        response: Any = found if isinstance(found, HttpResponse) else await found
        return self.finalize_response(self.request, response, *args, **kwargs)


class Ask(AsyncContractView):
    """`POST /api/ask` for any way in that is not the fast lane."""

    async def post(self, request: Request) -> HttpResponse:
        plain = request._request

        async def body() -> bytes:
            return read_body(plain)

        keys, repeats = header_values(plain, "authorization"), header_values(plain, "idempotency-key")
        scope = getattr(plain, "scope", None)
        return http(await answer_ask(exchange.current(), keys, repeats, body, scope), CORS)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        return HttpResponse(status=204, headers=PREFLIGHT | {"Access-Control-Allow-Methods": "POST, OPTIONS"})


class Connections(AsyncContractView):
    """`GET /api/connections`: for loopback, the admin key and any valid token."""

    async def get(self, request: Request) -> HttpResponse:
        relay = exchange.current()
        try:
            await self._admit(relay, request._request)
        except replies.Unauthorized as fault:
            return http(replies.refusal(fault), CORS)
        agents = sorted(relay.dispatcher.pool.agents.values(), key=lambda agent: (agent.heartbeat, agent.id))
        listed = replies.reply(200, {"connections": [shapes.connection(agent) for agent in agents]})
        return http(listed, CORS | {"Cache-Control": "no-store"})

    async def _admit(self, relay: exchange.Exchange, request: HttpRequest) -> None:
        if settings.CONNECTIONS_FROM_LOOPBACK and is_from_here(request):
            return
        values = header_values(request, "authorization")
        key = credentials.shown_key(values)
        if await relay.agents.find(key) is None:
            await credentials.asker(relay, values, getattr(request, "scope", None))

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        return HttpResponse(status=204, headers=PREFLIGHT | {"Access-Control-Allow-Methods": "GET, HEAD, OPTIONS"})


class AdminView(ContractView):
    """The admin key's routes: never cached, never for other origins."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response["Cache-Control"] = "no-store"
        return super().finalize_response(request, response, *args, **kwargs)

    def allowed(self, request: Request) -> dict[str, str] | HttpResponse:
        """The body's fields, or the refusal."""
        try:
            fields = shapes.admin_fields(read_body(request._request))
        except replies.TooLarge as fault:
            return http(replies.refusal(fault))
        except shapes.BadRequest:
            return http(replies.error(400, "Invalid request body"))
        return self.refusal(request, fields["admin_key"]) or fields

    def refusal(self, request: Request, key: str) -> HttpResponse | None:
        """What is answered to a wrong key, and to any key where too many were wrong; None to the right one."""
        address = peer(request._request)
        if seconds := guesses.admin_routes.locked(address):
            later = (("retry-after", str(seconds)),)
            return http(replies.error(429, "Too many wrong admin keys; try again later", later))
        if credentials.is_admin_key(key):
            return None
        if guesses.admin_routes.wrong(address):
            guesses.admin_routes.write_down(address)
        return http(replies.error(401, "Invalid admin key"))


class Users(AdminView):
    """`GET /admin/users?admin_key=KEY`."""

    def get(self, request: Request) -> HttpResponse:
        shown = request.query_params.getlist("admin_key")
        if refusal := self.refusal(request, shown[0] if len(shown) == 1 else ""):  # two keys are none
            return refusal
        try:
            users = list(self._users())
        except DatabaseError:
            return http(replies.reply(500, {"error": "database", "message": "Failed to get users from database"}))
        return http(replies.reply(200, {"users": users}))

    def _users(self) -> list[shapes.ListedUser]:
        tokens = Token.objects.usable().filter(kind=Token.Kind.RELAY).exclude(user=None).order_by("created_at", "pk")
        listed = ((str(token.user_id), keys.unseal(token.sealed)) for token in tokens)
        return [shapes.ListedUser(user, key) for user, key in listed if key]


class AddUser(AdminView):
    """`POST /admin/users/add`: a user with one relay token."""

    def post(self, request: Request) -> HttpResponse:
        fields = self.allowed(request)
        if isinstance(fields, HttpResponse):
            return fields
        try:
            user, key = self._add(request)
        except DatabaseError:
            return http(replies.error(500, "Failed to insert user_id and token into database"))
        return http(replies.reply(200, shapes.NewUser(key, str(user.id))))

    @unit
    @transaction.atomic
    def _add(self, request: Request) -> tuple[User, str]:
        user = User.objects.create_user(None)
        _, key = Token.objects.issue(Token.Kind.RELAY, user, name="added with the admin key")
        audit.record("add user", user, way="admin key", address=peer(request._request))
        return user, key


class DeleteUser(AdminView):
    """`POST /admin/users/delete`: ends the user and every token; an unknown one is no error."""

    def post(self, request: Request) -> HttpResponse:
        fields = self.allowed(request)
        if isinstance(fields, HttpResponse):
            return fields
        try:
            unit(transaction.atomic(self._retire))(fields["user_id"], request)
        except PermissionDenied as refused:
            return http(replies.error(409, str(refused)))
        except DatabaseError:
            return http(replies.error(500, "Failed to delete user from database"))
        return http(replies.reply(200, {"message": "User deleted"}))

    def _retire(self, user_id: str, request: Request) -> None:
        try:
            user = User.objects.filter(pk=UUID(user_id)).first()
        except ValueError:  # no UUID
            return
        if user:
            with suppress(User.DoesNotExist):  # somebody else has just deleted them
                people.retire(Actor(None, peer(request._request), "admin key"), user)


class Register(ContractView):
    """`GET /client/register` without an upgrade."""

    def get(self, request: Request) -> HttpResponse:
        headers = {"Sec-Websocket-Version": "13", "Content-Type": replies.TEXT}
        return HttpResponse(b"Bad Request\n", status=400, headers=headers)


class Health(ContractView):
    """`GET /health`: the process answers."""

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(b"OK", content_type=replies.TEXT)


class Ready(ContractView):
    """`GET /ready`: database reachable, migrations applied, all of a first start done, not going down."""

    migrated = False  # once applied they stay applied, and looking costs a walk through every migration

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response["Cache-Control"] = "no-store"
        return super().finalize_response(request, response, *args, **kwargs)

    def get(self, request: Request) -> HttpResponse:
        relay = exchange.peek()
        if relay and (relay.dispatcher.draining or relay.is_leaving):
            return self._not_ready("The server is going down.")
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            Ready.migrated = Ready.migrated or self._is_migrated()
        except DatabaseError:
            return self._not_ready("The database cannot be reached.")
        if not Ready.migrated:
            return self._not_ready("Migrations are pending: run `manage.py migrate`.")
        not_ready, details = (import_string(name)() for name in settings.READINESS)
        if not_ready:
            return self._not_ready(not_ready)
        return http(replies.reply(200, {"status": "ready"} | ({"details": details} if details else {})))

    def _is_migrated(self) -> bool:
        executor = MigrationExecutor(connection)
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())

    def _not_ready(self, reason: str) -> HttpResponse:
        return http(replies.error(503, reason, replies.LATER))
