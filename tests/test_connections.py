"""`GET /api/connections`: the agents that are connected, for those who may know."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.forwarded import FORWARDED
from tests.wire_agent import echo
from tests.wire_server import User, Web

PROXIED = {"X-Forwarded-For": "203.0.113.9"}  # whoever comes through a proxy is not on this machine
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def test_nobody_is_an_empty_list(lane: Web) -> None:
    found = lane.http.get("/api/connections")
    assert (found.status_code, found.content) == (200, b'{"connections":[]}')
    assert found.headers["content-type"] == "application/json; charset=utf-8"
    assert found.headers["cache-control"] == "no-store"


def test_an_agent_is_listed_in_the_contracts_shape(lane: Web) -> None:
    with lane.agent(echo) as agent:
        found = lane.http.get("/api/connections")
    beat = found.json()["connections"][0]["Heartbeat"]
    wanted = '{"connections":[{"Ws":{},"Id":"%s","Heartbeat":"%s","LastMessageTime":"0001-01-01T00:00:00Z"}]}'
    assert found.text == wanted % (agent.id, beat)
    assert MOMENT.fullmatch(beat)


def test_the_times_follow_what_happens(lane: Web) -> None:
    token = lane.user().token
    before = time.time()
    with lane.agent(echo) as agent:
        lane.ask(token)
        (found,) = lane.http.get("/api/connections").json()["connections"]
    asked, beat = (datetime.fromisoformat(found[name]) for name in ("LastMessageTime", "Heartbeat"))
    assert found["Id"] == agent.id
    assert datetime.fromtimestamp(before, UTC) <= asked <= beat <= datetime.now(UTC)


def test_an_agent_that_leaves_is_unlisted(lane: Web) -> None:
    with lane.agent(echo) as first, lane.agent(echo) as second:
        assert set(lane.agents()) == {first.id, second.id}
    assert lane.agents() == []


@pytest.mark.parametrize("header", FORWARDED)
def test_a_stranger_behind_a_proxy_is_refused(lane: Web, header: str) -> None:
    """Attack 86."""
    found = lane.http.get("/api/connections", headers={header: "203.0.113.9"})
    assert (found.status_code, found.content) == (401, b'{"error":"API key not provided"}')


def test_any_valid_key_opens_it(lane: Web) -> None:
    for key in (lane.user().token, lane.admin_key, lane.key("--kind", "agent")):
        for shown in (key, f"Bearer {key}"):
            found = lane.http.get("/api/connections", headers=PROXIED | {"Authorization": shown})
            assert found.status_code == 200


@pytest.mark.parametrize("key", ["", "nonsense", "Bearer nonsense", "x" * 300])
def test_any_other_key_does_not(lane: Web, key: str) -> None:
    found = lane.http.get("/api/connections", headers=PROXIED | {"Authorization": key})
    assert (found.status_code, found.content) == (401, b'{"error":"Invalid API key"}')


def test_a_deleted_users_key_does_not(lane: Web) -> None:
    asker: User = lane.user()
    lane.delete(asker)
    found = lane.http.get("/api/connections", headers=PROXIED | {"Authorization": asker.token})
    assert found.status_code == 401


# -- trust by address --------------------------------------------------------------------------------

TRACED = {"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Baggage": "a=b", "Sec-GPC": "1"}
BROWSED = {"Accept-Language": "de", "Cookie": "a=b", "Sec-Fetch-Site": "none", "Upgrade-Insecure-Requests": "1"}
PAGES = {
    "a page of elsewhere": {"Origin": "https://evil.example"},
    "a page without an origin": {"Origin": "null"},
    "a page of another server of this machine": {"Origin": "http://localhost:3000"},
    "an image or script of such a page": {"Sec-Fetch-Site": "cross-site"},
    "a page of a sister site": {"Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("headers", [TRACED, BROWSED, {"X-Request-Id": "mine"}, {"Connection": "close"}], ids=str)
@pytest.mark.parametrize("path", ["/api/connections", "/metrics"])
def test_programs_and_browsers_of_this_machine_are_let_in(lane: Web, path: str, headers: dict[str, str]) -> None:
    assert lane.http.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_somebody_here_looks_at_learns_nothing(lane: Web, page: str) -> None:
    found = lane.http.get("/api/connections", headers=PAGES[page])
    assert (found.status_code, found.content) == (401, b'{"error":"API key not provided"}')
    assert lane.http.get("/metrics", headers=PAGES[page]).status_code == 404
    shown = lane.http.get("/api/connections", headers=PAGES[page] | {"Authorization": lane.user().token})
    assert (shown.status_code, shown.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize("header", FORWARDED)
def test_figures_are_not_for_strangers_behind_a_proxy(lane: Web, header: str) -> None:
    assert lane.http.get("/metrics", headers={header: "203.0.113.9"}).status_code == 404


def test_a_name_that_was_made_to_point_here_is_not_this_machine(lane: Web) -> None:
    """DNS rebinding; and a proxy or forwarder that passes the visitor's name on."""
    for host in ("evil.example", f"evil.example:{lane.port}"):
        for path in ("/api/connections", "/metrics"):
            assert lane.http.get(path, headers={"Host": host}).status_code == 400
    for host in ("localhost", f"127.0.0.1:{lane.port}", "[::1]"):
        assert lane.http.get("/api/connections", headers={"Host": host}).status_code == 200


def test_a_proxy_that_adds_nothing_shows_itself_by_its_old_protocol(lane: Web) -> None:
    (found,) = lane.raw(b"GET /api/connections HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert found.status == 401


def test_a_header_that_a_proxy_is_told_to_drop_betrays_it_still(lane: Web) -> None:
    assert lane.http.get("/api/connections", headers={"Connection": "close, X-Forwarded-For"}).status_code == 401


def test_behind_tls_a_key_is_wanted_unless_the_settings_say_otherwise(tmp_path: Path, empty_sqlite: Path) -> None:
    with Web(tmp_path / "closed", empty_sqlite, BEHIND_TLS="on", METRICS_TOKEN="for figures") as web:
        assert web.http.get("/api/connections").status_code == web.http.get("/metrics").status_code == 401
        assert web.http.get("/api/connections", headers={"Authorization": web.admin_key}).status_code == 200
        assert web.http.get("/metrics", headers={"Authorization": "Bearer for figures"}).status_code == 200
    trusting = {"BEHIND_TLS": "on", "CONNECTIONS_FROM_LOOPBACK": "on", "METRICS_FROM_LOOPBACK": "on"}
    with Web(tmp_path / "open", empty_sqlite, **trusting) as web:
        assert web.http.get("/api/connections").status_code == web.http.get("/metrics").status_code == 200
        assert web.http.get("/api/connections", headers=PROXIED).status_code == 401
