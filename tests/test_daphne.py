"""The other server program: the same application, the same contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract1 import BAD_KEY, NO_AGENT
from tests.wire_agent import echo, silent
from tests.wire_server import Asking, Daphne, Web


@pytest.fixture(scope="module")
def daphne(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    with Daphne(tmp_path_factory.mktemp("daphne"), empty_sqlite) as web:
        yield web


def test_it_is_healthy_and_ready(daphne: Web) -> None:
    assert daphne.http.get("/health").content == b"OK"
    assert daphne.http.get("/ready").content == b'{"status":"ready"}'
    assert daphne.http.get("/nowhere").status_code == 404


def test_an_ask_is_answered_by_an_agent(daphne: Web) -> None:
    token = daphne.user().token
    with daphne.agent(echo) as agent:
        found = daphne.ask(token, "through the other one")
        assert agent.was_asked().content == "through the other one"
    assert found.json()["content"] == "through the other one"
    assert found.headers["x-request-id"]


def test_refusals_are_the_contracts(daphne: Web) -> None:
    token = daphne.user().token
    assert daphne.ask("nonsense").content == BAD_KEY
    assert daphne.ask(token).content == NO_AGENT
    assert daphne.post(token, b" " * 2_000_000).status_code == 413
    assert daphne.http.get("/admin/users").status_code == 401


def test_an_ask_waits_for_its_turn(daphne: Web) -> None:
    token = daphne.user().token
    with daphne.agent(silent) as agent:
        first = Asking(lambda: daphne.ask(token, "first"))
        asked = agent.was_asked()
        second = Asking(lambda: daphne.ask(token, "second"))
        agent.answer(asked, "first")
        agent.answer(agent.was_asked(2), "second")
        assert (first.reply.json()["content"], second.reply.json()["content"]) == ("first", "second")
