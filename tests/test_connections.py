"""`GET /api/connections`: the agents that are connected, for those who may know."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

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


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host"])
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
