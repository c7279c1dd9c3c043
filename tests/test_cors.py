"""Pages of other origins: they may ask with a token of their own, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from tests.wire_agent import echo
from tests.wire_server import User, Web

SIMPLE = {"accept", "accept-language", "content-language"}  # headers that need no permission
EXPOSED_ALWAYS = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}


class Blocked(Exception):
    """The browser does not let the page do it, or see it."""


@dataclass
class Page:
    """`fetch` of a page of another origin, as the Fetch standard has browsers do it."""

    web: Web
    origin: str = "https://page.example"

    def fetch(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        unsafe = set(named) - SIMPLE
        if method not in {"GET", "HEAD", "POST"} or unsafe:
            self._preflight(method, path, unsafe)
        found = self.web.http.request(method, path, content=body, headers=named | {"Origin": self.origin})
        self._check_origin(found)
        shown = words(found.headers.get("access-control-expose-headers", "")) | EXPOSED_ALWAYS
        return found.status_code, {k: v for k, v in found.headers.items() if k in shown}, found.content

    def _preflight(self, method: str, path: str, unsafe: set[str]) -> None:
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": ",".join(sorted(unsafe))}
        found = self.web.http.options(path, headers=asked | {"Origin": self.origin})
        self._check_origin(found)
        if not found.is_success:
            raise Blocked(f"preflight: {found.status_code}")
        methods = words(found.headers.get("access-control-allow-methods", ""))
        if method.lower() not in methods | {"get", "head", "post"}:
            raise Blocked(f"preflight: no {method}")
        # `*` would not cover Authorization: that one has to be named.
        if missing := unsafe - words(found.headers.get("access-control-allow-headers", "")):
            raise Blocked(f"preflight: no {missing}")

    def _check_origin(self, found: httpx.Response) -> None:
        if found.headers.get_list("access-control-allow-origin") != ["*"]:
            raise Blocked("no access for this origin")


def words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",") if word.strip()}


def test_a_page_of_another_origin_can_ask(web: Web, asker: User) -> None:
    with web.agent(echo):
        status, headers, body = Page(web).fetch(
            *("POST", "/api/ask", b'{"content":"from a page"}'),
            authorization=asker.token,
            content_type="application/json",
            idempotency_key="k",
        )
    assert status == 200
    assert b"from a page" in body
    assert headers["x-request-id"]


def test_it_can_read_every_refusal(web: Web, asker: User) -> None:
    page = Page(web)
    assert page.fetch("POST", "/api/ask", b"{}")[0] == 401
    assert page.fetch("POST", "/api/ask", b"{}", authorization="nonsense")[0] == 401
    assert page.fetch("POST", "/api/ask", b"[]", authorization=asker.token)[0] == 400
    assert page.fetch("POST", "/api/ask", b" " * 2_000_000, authorization=asker.token)[0] == 413
    status, headers, _ = page.fetch("POST", "/api/ask", b"{}", authorization=asker.token)
    assert (status, headers["retry-after"]) == (503, "5")


def test_it_can_list_the_connections(web: Web, asker: User) -> None:
    assert Page(web).fetch("GET", "/api/connections", authorization=asker.token)[0] == 200


@pytest.mark.parametrize("origin", ["https://page.example", "null", "http://127.0.0.1:8080", "chrome-extension://x"])
@pytest.mark.parametrize("path", [f"/admin/{rest}" for rest in ("users", "users/add", "users/delete", "", "login/")])
def test_it_gets_nothing_from_the_admin_routes(lane: Web, path: str, origin: str) -> None:
    """Attack 84: not even with the key."""
    page = Page(lane, origin)
    body = f'{{"admin_key":"{lane.admin_key}"}}'.encode()
    for method, query in (("GET", f"?admin_key={lane.admin_key}"), ("POST", "")):
        with pytest.raises(Blocked):
            page.fetch(method, path + query, body if method == "POST" else b"")
        with pytest.raises(Blocked):
            page.fetch(method, path + query, content_type="application/json")


@pytest.mark.parametrize("path", ["/api/ask", "/api/connections"])
def test_no_origin_is_reflected_and_no_credentials_are_allowed(web: Web, path: str) -> None:
    """Attack 84."""
    for method in ("OPTIONS", "GET", "POST"):
        found = web.http.request(method, path, headers={"Origin": "https://evil.example"})
        assert "evil" not in str(found.headers)
        assert "access-control-allow-credentials" not in found.headers
        assert "set-cookie" not in found.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_stay_forbidden(lane: Web, method: str) -> None:
    with pytest.raises(Blocked):
        Page(lane).fetch(method, "/api/ask")


def test_a_cross_site_form_with_a_session_is_refused(lane: Web) -> None:
    """Attack 84: a post that carries the cookie and no token of the form."""
    lane.http.get("/admin/login/")
    form = {"username": "somebody@example.org", "password": "guess"}
    for headers in ({"Origin": "https://evil.example"}, {}):
        found = lane.http.post("/admin/login/", data=form, headers=headers)
        assert found.status_code == 403
