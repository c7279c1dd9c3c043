"""`/api/schema` and `/api/docs`: the OpenAPI document as JSON and as a page. For those who are signed in."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.generic import View

METHODS = ("get", "post", "patch", "delete")
PLAIN = str.maketrans("/{}", "---")  # of a path, in the name of its place on the page


@method_decorator(login_required, name="dispatch")
class SchemaFile(View):
    """The document."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return JsonResponse(document(), headers={"Cache-Control": "private, no-cache"})


@method_decorator(login_required, name="dispatch")
class Docs(View):
    """The same to be read."""

    def get(self, request: HttpRequest) -> HttpResponse:
        address = request.build_absolute_uri("/").rstrip("/")
        shown = {"here": "docs", "document": document(), "sections": sections(document()), "address": address}
        return render(request, "api_docs.html", shown)


def document() -> dict[str, Any]:
    """Imported when somebody looks: the generator is of no use to anybody else."""
    from project import openapi

    return openapi.document()


def sections(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations under their tags, with their fields resolved."""
    by_tag: dict[str, list[dict[str, Any]]] = {}
    for path, item in found["paths"].items():
        for method in METHODS:
            if operation := item.get(method):
                by_tag.setdefault(operation["tags"][0], []).append(_shown(found, path, method, operation))
    return [{"title": tag, "operations": operations} for tag, operations in sorted(by_tag.items())]


def _shown(found: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = _resolved(found, content.get("schema", {}))
    required = set(schema.get("required", ()))
    fields = [
        {"name": name, "kind": _kind(field), "required": name in required, "about": field.get("description", "")}
        for name, field in schema.get("properties", {}).items()
    ]
    asked = [
        {"name": each["name"], "kind": _kind(each["schema"]), "about": each.get("description", "")}
        for each in operation.get("parameters", ())
        if each["in"] == "query"
    ]
    return {
        "id": f"{method}{path.translate(PLAIN)}",
        "path": path,
        "short": path.removeprefix("/api/v1"),
        "method": method.upper(),
        "about": operation.get("description", ""),
        "fields": fields,
        "asked": asked,
        "curl": _curl(path, method, schema),
    }


def _curl(path: str, method: str, schema: dict[str, Any]) -> str:
    """A call as one would type it, with the fields that it cannot do without."""
    parts = ["curl", *(["-X", method.upper()] if method not in {"get", "post"} else []), f'"$URL{path}"']
    parts.append('-H "Authorization: Bearer $TOKEN"')
    needed = {name: _example(schema["properties"][name]) for name in schema.get("required", ())}
    if method == "post" or needed:
        parts.append(f"-d '{json.dumps(needed, ensure_ascii=False)}'")
    return " ".join(parts)


def _example(field: dict[str, Any]) -> Any:
    kind = field.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    return {"array": [], "object": {}, "boolean": True, "integer": 1, "number": 1.0}.get(kind, "…")


def _resolved(found: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    resolved: dict[str, Any] = found["components"]["schemas"][name] if name else schema
    return resolved


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
