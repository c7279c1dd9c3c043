"""The agents' page: who answers, how busy they are, how to connect more."""

from __future__ import annotations

import pytest

from accounts.models import User
from privategpt.llm.relay_status import AgentStatus, RelayStatus
from privategpt.pages import agents
from tests.pages import browser, text


def line(name: str, **more: object) -> AgentStatus:
    facts = {"model": "qwen3-8b", "is_built_in": False, "state": "ready", "busy": 0, "lines": 2, "served": 1200}
    return AgentStatus(name=name, connected_at=None, **(facts | more))  # type: ignore[arg-type]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents; the sockets themselves have tests of their own."""
    found = RelayStatus([line("<b>north</b>", busy=2), line("harbour", state="silent"), line("b", lines=99)], 3)
    monkeypatch.setattr(agents, "status", lambda: found)


def test_everyone_signed_in_sees_who_answers_and_how_busy_they_are(alice: User, connected: None) -> None:
    page = browser(alice).get("/agents")
    words = text(page)
    assert "3 agents connected, 2 of 103 lines busy, 3 questions waiting" in words
    assert "2 of 2 busy" in words
    assert "Silent" in words
    assert "1,200 answered" in words
    assert "&lt;b&gt;north" in page.content.decode()


def test_without_agents_the_page_says_what_answers_and_how_to_connect_one(alice: User) -> None:
    words = text(browser(alice).get("/agents", headers={"host": "localhost"}))
    assert "No agent is connected." in words
    assert "runagent --url ws://localhost" in words


def test_above_an_endpoint_that_answers_nobody_is_told_of_quotes(alice: User, settings: object) -> None:
    config = {"urls": ["http://10.0.0.9:8000/v1"], "model": "qwen3-8b"}
    settings.LLM_BACKENDS = {"openai": {"BACKEND": "x", "CONFIG": config}}  # type: ignore[attr-defined]
    words = text(browser(alice).get("/agents"))
    assert "No agent is connected. The endpoints below answer." in words
    assert "1 endpoint set up" in words
    assert "quoted from the sources until one is" not in words


def test_the_way_to_an_agent_token_is_shown_to_who_may_make_one(alice: User) -> None:
    assert "/account/tokens" not in browser(alice).get("/agents").content.decode().split("<main")[1]
    alice.roles = ["system"]
    alice.save()
    assert "/account/tokens" in browser(alice).get("/agents").content.decode().split("<main")[1]


def test_addresses_of_endpoints_are_for_who_runs_the_system(alice: User, settings: object) -> None:
    config = {"urls": ["http://key@10.0.0.9:8000/v1"], "model": "qwen3-8b"}
    settings.LLM_BACKENDS = {"openai": {"BACKEND": "x", "CONFIG": config}}  # type: ignore[attr-defined]
    words = text(browser(alice).get("/agents"))
    assert "Endpoint 1" in words
    assert "10.0.0.9" not in words
    alice.roles = ["system"]
    alice.save()
    words = text(browser(alice).get("/agents"))
    assert "10.0.0.9:8000" in words
    assert "key@" not in words
