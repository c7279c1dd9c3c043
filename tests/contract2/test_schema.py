"""The OpenAPI document says what the server does: requests made from it get what it promises."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from django.test import Client
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.models import Token, User
from privategpt.api.urls import ROUTES
from project import openapi
from relay.api.urls import ROUTES as RELAY_ROUTES
from tests.contract2.server import Program

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DOCUMENT = openapi.document()
CONTRACT_2 = schemathesis.openapi.from_dict(DOCUMENT).include(path_regex="^/api/v1/")


def test_the_document_holds_every_route_of_both_contracts() -> None:
    routes = {f"/api/v1/{route.replace('<str:', '{').replace('>', '}')}" for route in ROUTES}
    assert set(DOCUMENT["paths"]) == routes | {f"/{route}" for route in RELAY_ROUTES}
    assert DOCUMENT["openapi"].startswith("3.1")
    for route, view in ROUTES.items():
        path = f"/api/v1/{route.replace('<str:', '{').replace('>', '}')}"
        assert {method.upper() for method in DOCUMENT["paths"][path] if method != "parameters"} == set(view.methods())


def test_bodies_of_deletes_are_in_the_document() -> None:
    body = DOCUMENT["paths"]["/api/v1/groups"]["delete"]["requestBody"]
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/GroupNamed"}


@pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
def test_the_document_is_for_those_who_are_signed_in(root: User, path: str) -> None:
    browser = Client()
    stranger = browser.get(path)
    assert stranger.status_code == 302
    assert stranger.headers["Location"].startswith("/sign-in?next=")
    browser.force_login(root)
    page = browser.get(path)
    assert page.status_code == 200
    assert b"/api/v1/chats" in page.content
    assert b"/api/ask" in page.content


def test_the_page_brings_no_script_of_its_own_and_asks_no_other_host(root: User) -> None:
    browser = Client()
    browser.force_login(root)
    page = browser.get("/api/docs").content.decode()
    assert all(script.startswith(' src="/static/js/') for script in re.findall(r"<script([^>]*)>", page))
    assert set(re.findall(r"https?://[^<\"]*", page)) == {"http://testserver"}
    for foreign in ("style=", "@import"):
        assert foreign not in page


def test_the_page_is_one_of_the_products_and_linked_from_account_and_administration(root: User) -> None:
    browser = Client()
    browser.force_login(root)
    page = browser.get("/api/docs").content.decode()
    assert '<nav class="side"' in page
    assert "curl &quot;$URL/api/v1/chats&quot; -H &quot;Authorization: Bearer $TOKEN&quot; -d" in page
    for path in ("/account", "/account/tokens", "/admin/"):
        assert 'href="/api/docs"' in browser.get(path).content.decode()


@CONTRACT_2.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_from_the_document_get_what_it_promises(case: Any, anybody: Program, root: User) -> None:
    program = anybody.with_token(Token.objects.issue(Token.Kind.API, root)[1])
    sent = case.as_transport_kwargs(base_url="http://localhost")
    request = httpx.Request(sent["method"], sent["url"], params=sent.get("params"), json=sent.get("json"))
    reply = program.call(request.method, request.url.raw_path.decode("latin-1"), request.content)
    response = httpx.Response(reply.status, headers=reply.headers, content=reply.body, request=request)
    response.elapsed = timedelta(0)
    case.validate_response(response, checks=CHECKS)
