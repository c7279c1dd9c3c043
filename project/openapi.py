"""The OpenAPI 3.1 document of both contracts, made from the views."""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from privategpt.api import base, chats, described
from privategpt.api.fields import Body, Text

JSON = "application/json"
FAILURE = described.thing(data={"type": "null"}, message=described.TEXT, status=described.WHOLE)
INVALID = {**FAILURE, "properties": {**FAILURE["properties"], "errors": {"type": "object"}}}
ERRORS = {
    400: "The body is no JSON object.",
    401: "No valid token.",
    403: "The right for it is missing.",
    404: "It is not there, or not one's own.",
    405: "Another method.",
    409: "Something else is under way, or was changed just now.",
    413: "The body is too large.",
    422: "Fields that are missing or wrong.",
    429: "Too many at once.",
    503: "The database or the model cannot be reached.",
    504: "The answer takes too long.",
    507: "The server's disk is full.",
}
RELAY_ERROR = described.thing(error=described.TEXT)


class RelayQuestion(Body):
    """An ask of contract 1."""

    content = Text()
    conversation_id = Text(required=False, allow_blank=True)
    parent_id = Text(required=False, allow_blank=True)
    message_id = Text(required=False, allow_blank=True)


class AdminKey(Body):
    """The admin key."""

    admin_key = Text()


class AdminKeyAndUser(AdminKey):
    """The admin key, and which user."""

    user_id = Text()


# Contract 1's routes: the body's fields, and what a success holds.
RELAY: dict[tuple[str, str], tuple[type[Body] | None, described.Schema | None]] = {
    ("Ask", "POST"): (RelayQuestion, {"type": "object"}),
    ("Connections", "GET"): (None, described.thing(connections=described.many({"type": "object"}))),
    ("Users", "GET"): (None, described.thing(users=described.many({"type": "object"}))),
    ("AddUser", "POST"): (AdminKey, described.thing(token=described.TEXT, user_id=described.TEXT)),
    ("DeleteUser", "POST"): (AdminKeyAndUser, described.thing(message=described.TEXT)),
    ("Health", "GET"): (None, None),
    ("Ready", "GET"): (None, described.thing(status=described.TEXT)),
    ("Register", "GET"): (None, None),
}


class OneOrMoreNames(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """A name or a list of names."""

    target_class = "privategpt.api.fields.OneOrMore"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> described.Schema:
        return {"anyOf": [described.TEXT, described.many({"type": ["string", "null"]})]}


class Schema(AutoSchema):
    """One operation, by what its view says of itself."""

    def get_request_serializer(self) -> Any:
        if isinstance(self.view, base.ApiView):
            return self.view.accepts.get(self.method)
        return RELAY[self._key()][0]

    def get_response_serializers(self) -> Any:
        if isinstance(self.view, base.ApiView):
            return self._enveloped()
        success = RELAY[self._key()][1]
        return {(200, JSON if success else "text/plain"): success or described.TEXT, (400, JSON): RELAY_ERROR}

    def _enveloped(self) -> dict[Any, Any]:
        data = described.data(type(self.view).__name__, self.method)
        success = described.thing(data=data, message=described.TEXT, status=described.WHOLE)
        if isinstance(self.view, chats._Asking) and self.method in {"POST", "PATCH"}:
            success["properties"]["notice"] = described.TEXT
        found: dict[Any, Any] = {(200, JSON): success}
        if isinstance(self.view, chats._Asking):
            found[(200, "text/event-stream")] = described.TEXT
        return found | {(status, JSON): INVALID if status == 422 else FAILURE for status in ERRORS}

    def get_override_parameters(self) -> list[Any]:
        asked = self.view.query.get(self.method) if isinstance(self.view, base.ApiView) else None
        return [asked] if asked else []

    def get_operation_id(self) -> str:
        words = [part.strip("{}") for part in self.path.split("/") if part not in {"", "api", "v1"}]
        return "_".join([self.method.lower(), *words])

    def get_tags(self) -> list[str]:
        return ["PrivateGPT API v1" if isinstance(self.view, base.ApiView) else "Relay"]

    def get_auth(self) -> list[dict[str, list[str]]]:
        if isinstance(self.view, base.ApiView):
            return [] if self.view.anonymous else [{"apiToken": []}]
        return [{"relayKey": []}] if type(self.view).__name__ in {"Ask", "Connections"} else []

    def map_parsers(self) -> list[str]:
        return [JSON]

    def _get_request_body(self, direction: Any = "request") -> Any:
        """DELETE has a body in contract 2, which the generator does not foresee."""
        method, self.method = self.method, "POST" if self._deletes_by_body() else self.method
        try:
            return super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        finally:
            self.method = method

    def _deletes_by_body(self) -> bool:
        found = self.get_request_serializer()
        return self.method == "DELETE" and found not in {None, Body}

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        found = super().get_operation(*args, **kwargs)
        for status, response in (found or {"responses": {}})["responses"].items():
            response["description"] = ERRORS.get(int(status), "Success.")
        return found

    def _key(self) -> tuple[str, str]:
        return type(self.view).__name__, self.method


class Endpoints(EndpointEnumerator):
    """Each route once: those with a slash behind them, and the aliases of slips, are the same again."""

    def should_include_endpoint(self, path: str, callback: Any) -> bool:
        view = getattr(callback, "cls", None)
        if path.endswith("/") or view in {None, base.NotFound, base.DoublePrefix}:
            return False
        return bool(super().should_include_endpoint(path, callback))


class Generator(SchemaGenerator):
    """Both contracts."""

    endpoint_inspector_cls = Endpoints


@cache
def document() -> dict[str, Any]:
    """The whole document; made once in a process."""
    found: dict[str, Any] = Generator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found
