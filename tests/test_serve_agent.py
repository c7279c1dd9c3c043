"""`manage.py serve` with the built-in agent: the quick start answered by the real small model, and doing without it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from privategpt.llm.embedded import available
from tests import databases
from tests.running import Server, runs, settled, until

needs_model = pytest.mark.skipif(available() is not None, reason=str(available()))


@needs_model
def test_the_quick_start_of_a_first_start_is_answered_by_the_built_in_model(tmp_path: Path) -> None:
    with Server(tmp_path, BUILTIN_AGENT="on", ALLOWED_HOSTS=".example.com") as server:
        assert server.shown("Agents") == "1 connected"
        reply = server.quick_start()
        children = server.children()
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert not any(map(runs, children))
    assert reply.status_code == 200
    assert "Hello" in reply.json()["content"]
    assert len(children) >= 2


@needs_model
def test_nothing_of_the_agent_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with Server(settled(tmp_path), BUILTIN_AGENT="on") as server:
        children = server.children()
        server.send(signal.SIGKILL)
        server.wait()
        until(lambda: not any(map(runs, children)), "the children end by themselves")


@needs_model
def test_where_loopback_is_not_trusted_the_agent_has_a_token_that_no_list_of_processes_shows(tmp_path: Path) -> None:
    ids, digests = [], []
    settled(tmp_path)
    for _ in range(2):  # the second start gives the same agent a new key
        with Server(tmp_path, BUILTIN_AGENT="on", AGENTS_FROM_LOOPBACK="off") as server:
            (agent,) = server.get("/api/connections").json()["connections"]
            ids.append(agent["Id"])
            assert not any("sba_" in line for line in server.command_lines().values())
            server.send(signal.SIGTERM)
            assert server.wait() == 0
        digests += [bytes(digest) for (digest,) in databases.sql(tmp_path, "SELECT digest FROM accounts_token")]
    assert ids[0] == ids[1]
    assert len(set(digests)) == len(digests) == 2  # one token at a time: the old key opens nothing


def test_without_the_models_packages_the_server_goes_on_after_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['xllamacpp'] = None")
    with Server(settled(tmp_path / "data"), BUILTIN_AGENT="on", PYTHONPATH=str(tmp_path)) as server:
        assert "make model" in server.shown("Agents")
        assert server.get("/health").status_code == 200
        (line,) = server.complaints.splitlines()
    assert "xllamacpp" in line
