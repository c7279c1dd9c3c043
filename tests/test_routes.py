"""Every path of the server: what it answers, under which id, and that somebody has thought of who may use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from privategpt import urls as pages
from relay.routing import websocket_urlpatterns
from tests.contract1 import ROUTES, Pair
from tests.wire_server import Web, shows

OPEN, TOKEN, ADMIN_KEY, LOCAL, MOVED, STAFF = "open", "token", "admin key", "loopback or key", "moved", "staff"
API_TOKEN, SIGN_IN, SIGNED_IN = "api token", "e-mail and password", "session"

# Attack 91: who may use which path. `refused_to_a_stranger` tries each of them; a new path must be entered here.
WHO = {
    "health": OPEN,
    "ready": OPEN,
    "client/register": OPEN,  # a plain GET; the socket has tests of its own
    "api/ask": TOKEN,
    "api/connections": LOCAL,
    "admin/users": ADMIN_KEY,
    "admin/users/add": ADMIN_KEY,
    "admin/users/delete": ADMIN_KEY,
    "health/": MOVED,
    "ready/": MOVED,
    "client/register/": MOVED,
    "api/ask/": MOVED,
    "api/connections/": MOVED,
    "admin/users/": MOVED,
    "admin/users/add/": MOVED,
    "admin/users/delete/": MOVED,
    "admin/login/": OPEN,
    "sign-in": OPEN,
    "sign-in/code": OPEN,  # leads back to the password for who has not given it
    "sign-out": OPEN,
    "api/v1/login": SIGN_IN,
    "api/v1/login/": SIGN_IN,
    "metrics": LOCAL,
    "api/schema": SIGNED_IN,
    "api/docs": SIGNED_IN,
}
PAGES = {str(entry.pattern) for entry in pages.urlpatterns}
SOCKETS = {"client/register", "agent/<str:token>/client/register"}  # tests/ for the agents' socket try these


def paths(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        pattern = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from paths(entry, pattern)
        elif isinstance(entry, URLPattern):
            yield pattern


def who(path: str) -> str | None:
    """Contract 2, the admin site and the browser's pages each stand behind one door, the sign-ins excepted."""
    if path.startswith("api/v1/"):
        return WHO.get(path, API_TOKEN)
    if path in WHO:
        return WHO[path]
    return STAFF if path.startswith("admin/") else SIGNED_IN if path in PAGES else None


def test_every_path_has_an_entry() -> None:
    """Attack 91: fails when somebody adds a path without saying who may use it."""
    known = set(paths(get_resolver()))
    assert {path for path in known if who(path) is None} == set()
    assert set(WHO) <= known
    assert {str(entry.pattern) for entry in websocket_urlpatterns} == SOCKETS


def test_a_stranger_is_refused_on_every_path(lane: Web) -> None:
    """Attacks 18, 82 and 91: on each path of the resolver, with every method."""
    for path in sorted(set(paths(get_resolver()))):
        address = "/" + re.sub(r"<path:\w+>", "1", re.sub(r"<\w+:\w+>|\(\?P<\w+>.*?\)\$?", "1", path)).lstrip("^")
        allowed = {
            OPEN: {200, 302, 400, 403, 404, 405},
            SIGNED_IN: {302, 403, 404, 405},
            MOVED: {301, 307},
            TOKEN: {401, 404},
            LOCAL: {401, 404},
            ADMIN_KEY: {400, 401, 404},
            STAFF: {302, 403},
            SIGN_IN: {405, 422},
            API_TOKEN: {401, 404, 405},
        }[who(path) or ""]
        for method in ("GET", "POST", "PUT", "DELETE"):
            found = lane.http.request(method, address, headers={"X-Forwarded-For": "203.0.113.9"})
            assert found.status_code in allowed, (method, address, found.status_code)
            if found.status_code == 302:
                assert found.headers["location"].split("?")[0] in {"/admin/login/", "/admin/", "/sign-in"}, address


@pytest.mark.parametrize("pair", ROUTES, ids=str)
def test_a_path_answers_as_recorded(lane: Web, pair: Pair) -> None:
    """Attacks 37 and 86: odd paths, files and methods are a 404 of one line."""
    shows(lane, pair, lane.user())


def test_it_is_ready(web: Web) -> None:
    found = web.http.get("/ready")
    assert (found.status_code, found.content) == (200, b'{"status":"ready"}')
    assert found.headers["cache-control"] == "no-store"
    assert web.http.head("/ready").status_code == 200


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/xml", "", "*/*;q=0", "nonsense"])
def test_the_answer_does_not_depend_on_accept(lane: Web, accept: str) -> None:
    headers = {"Accept": accept}
    assert lane.http.get("/health", headers=headers).content == b"OK"
    assert lane.http.get("/ready", headers=headers).status_code == 200
    assert lane.http.get("/admin/users", headers=headers).content == b'{"error":"Invalid admin key"}'
    assert lane.http.get("/health?format=xml", headers=headers).content == b"OK"


def test_every_answer_has_an_id_of_its_own(web: Web) -> None:
    ids = [
        web.http.get("/health").headers["x-request-id"],
        web.http.get("/nowhere").headers["x-request-id"],
        web.http.get("/health/").headers["x-request-id"],
        web.http.get("/admin/").headers["x-request-id"],
        web.http.get("/health", headers={"Host": "evil.example"}).headers["x-request-id"],
        web.http.options("/api/ask").headers["x-request-id"],
        web.ask("nonsense").headers["x-request-id"],
        web.http.post("/api/ask", content=b" " * 20_000_000).headers["x-request-id"],
        web.raw(b"nonsense\r\n\r\n")[0].header("x-request-id"),
        web.http.get("/health", headers={"X-Request-Id": "mine"}).headers["x-request-id"],
    ]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert ids[-1] == "mine"  # the caller's own, when it can do no harm
    for odd in ("a b", "x" * 65, "a\\nb", "<b>", "a_b"):
        assert web.http.get("/health", headers={"X-Request-Id": odd}).headers["x-request-id"] not in {odd, "mine"}


def test_a_foreign_host_is_refused_in_json_and_to_a_browser_by_a_page(lane: Web) -> None:
    """Attack 85: a page that has its name point here is not let in."""
    found = lane.http.get("/api/connections", headers={"Host": "evil.example"})
    assert (found.status_code, found.content) == (400, b'{"error":"Bad request"}')
    page = lane.http.get("/admin/", headers={"Host": "evil.example", "Accept": "text/html"})
    assert page.status_code == 400
    assert "Traceback" not in page.text
    assert lane.http.get("/health", headers={"Host": "localhost"}).status_code == 200


def test_too_many_parameters_are_a_400(lane: Web) -> None:
    """Attack 63."""
    found = lane.http.get("/admin/users?" + "a=1&" * 2000)
    assert (found.status_code, found.content) == (400, b'{"error":"Bad request"}')


def test_a_new_id_cannot_be_guessed_to_be_a_uuid_of_this_machine(lane: Web) -> None:
    """Attack 16: no clock and no network address in what the server hands out."""
    assert UUID(lane.user().id).version == 4
