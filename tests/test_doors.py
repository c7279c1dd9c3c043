"""What programs are answered carries nothing that is for pages: neither cookie nor session, language nor policy."""

from __future__ import annotations

import pytest

from tests.wire_server import Web

OF_PAGES = {"set-cookie", "vary", "content-language", "content-security-policy", "x-frame-options", "referrer-policy"}
OURS = ["/api/ask", "/api/connections", "/admin/users", "/admin/users/add", "/health", "/ready", "/client/register"]


@pytest.mark.parametrize("path", [*OURS, "/metrics"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
def test_contract_1_passes_no_middleware_of_pages(lane: Web, path: str, method: str) -> None:
    cookies = {"Cookie": "sessionid=abcdefghijklmnopqrstuvwxyz123456; csrftoken=x; messages=x", "Accept-Language": "de"}
    found = lane.http.request(method, path, headers=cookies)
    assert found.status_code < 500
    assert not OF_PAGES & set(found.headers.keys())
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/api/v1/groups", "/api/v1/login", "/api/v1/nowhere"])
def test_contract_2_neither(lane: Web, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        found = lane.http.request(method, path, headers={"Cookie": "sessionid=x; csrftoken=x"})
        assert found.headers["x-content-type-options"] == "nosniff"
        assert not (OF_PAGES - {"referrer-policy"}) & set(found.headers.keys())


def test_another_servers_name_is_refused_in_the_contracts_shape(lane: Web) -> None:
    for path in OURS[1:]:
        found = lane.http.get(path, headers={"Host": "evil.example"})
        assert (found.status_code, found.json()) == (400, {"error": "Bad request"})


def test_pages_keep_theirs(lane: Web) -> None:
    found = lane.http.get("/sign-in")
    assert set(found.headers.keys()) >= OF_PAGES
