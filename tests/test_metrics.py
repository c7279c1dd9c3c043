"""`/metrics`: figures that follow what happens, for whom they are, and nothing of anybody's in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from privategpt.health import Place
from privategpt.serving.parts import DOWN, ENDED, SILENT, STARTING, UP, Part
from project import metrics
from tests.wire_agent import echo, says
from tests.wire_server import Web

TOKEN, TEXT = "a token for Prometheus", "text-of-somebody-4711"
FAR = {"X-Forwarded-For": "203.0.113.9"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    """A server whose agents are allowed a second."""
    folder = tmp_path_factory.mktemp("metrics")
    with Web(folder, empty_sqlite, AGENT_TIMEOUT="1", METRICS_TOKEN=TOKEN, LLM_BACKEND="quoting") as found:
        yield found


def figures(web: Web) -> dict[str, float]:
    """Each figure under its name and labels, the node left out."""
    found = web.http.get("/metrics")
    assert found.status_code == 200, found.text
    assert found.headers["content-type"].startswith("text/plain")
    samples = [sample for family in text_string_to_metric_families(found.text) for sample in family.samples]
    assert all(re.fullmatch(r".+:\d+", sample.labels["node"]) for sample in samples)
    return {
        " ".join([sample.name, *(f"{name}={value}" for name, value in sample.labels.items() if name != "node")]): (
            sample.value
        )
        for sample in samples
    }


def risen(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after.get(name, 0.0) - before.get(name, 0.0)


def test_asks_are_counted_by_what_became_of_them(web: Web) -> None:
    before, asker = figures(web), web.user()
    with web.agent(echo):
        assert web.ask(asker.token).status_code == 200
    with web.agent(says("error", "no")):
        assert web.ask(asker.token).status_code == 502
    assert web.ask(asker.token).status_code == 503
    assert web.ask("nonsense").status_code == 401
    after = figures(web)
    assert risen(before, after, "switchboard_asks_total outcome=answered") == 1
    assert risen(before, after, "switchboard_asks_total outcome=agent_error") == 1
    assert risen(before, after, "switchboard_asks_total outcome=no_agents") == 1
    assert risen(before, after, "switchboard_ask_replies_total status=200") == 1
    assert risen(before, after, "switchboard_ask_replies_total status=401") == 1
    assert risen(before, after, "switchboard_ask_seconds_count") == 3


def test_agents_and_their_lines_are_told(web: Web) -> None:
    with web.agent(echo, declares='{"concurrency": 3}'):
        found = figures(web)
    assert found["switchboard_agents state=ready"] == 1
    assert found["switchboard_agent_lines state=all"] == 3
    assert found["switchboard_agent_lines state=busy"] == 0
    assert found["switchboard_queue_length"] == 0
    assert found["process_resident_memory_bytes"] > 10_000_000
    assert found["process_cpu_seconds_total"] > 0
    assert found["switchboard_database_up"] == 1
    assert found["switchboard_sources state=vectorized"] == 0


def test_answers_are_counted_by_backend_and_outcome(web: Web) -> None:
    before = figures(web)
    token = web.key("--kind", "api", "--user", account(web))
    headers = {"Authorization": f"Bearer {token}"}
    found = web.http.post("/api/v1/chats", headers=headers, json={"question": TEXT, "groups": []})
    assert found.status_code == 200, found.text
    after = figures(web)
    assert risen(before, after, "switchboard_answers_total backend=quoting outcome=complete") == 1
    assert risen(before, after, "switchboard_answer_seconds_count backend=quoting") == 1
    assert risen(before, after, "switchboard_answer_characters_total") > 0
    assert risen(before, after, "switchboard_http_requests_total method=POST status=200") >= 1


def account(web: Web) -> str:
    """The e-mail address of a new account."""
    email = "metrics@example.org"
    web.sql("DELETE FROM accounts_user WHERE email = ?", email)
    added = web.user()
    web.sql("UPDATE accounts_user SET email = ? WHERE id = ?", email, added.id.replace("-", ""))
    return email


def test_strangers_are_refused_and_the_token_is_enough(web: Web) -> None:
    assert web.http.get("/metrics", headers=FAR).status_code == 401
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer"):
        assert web.http.get("/metrics", headers={**FAR, "Authorization": wrong}).status_code == 401
    assert web.http.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert web.http.get("/metrics", headers={**FAR, "Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_without_a_token_only_this_machine_reads_it(lane: Web) -> None:
    assert lane.http.get("/metrics").status_code == 200
    assert lane.http.get("/metrics", headers=FAR).status_code == 404
    assert lane.http.get("/metrics", headers={**FAR, "Authorization": "Bearer"}).status_code == 404
    assert lane.http.post("/metrics").status_code == 405


def test_nobodys_text_name_or_key_is_in_it(web: Web) -> None:
    asker = web.user()
    with web.agent(echo, declares=f'{{"name": "{TEXT}"}}'):
        web.ask(asker.token, TEXT)
        text = web.http.get("/metrics").text
    for private in (TEXT, asker.token, asker.id, web.admin_key, TOKEN, "example.org"):
        assert private not in text


def test_a_part_that_is_not_to_run_here_is_not_down_and_one_that_starts_is_not_either() -> None:
    told = [Part("A", UP), Part("B", STARTING), Part("C", DOWN), Part("D", SILENT), Part("E", ENDED, 3)]
    families = {family.name: family for family in metrics._place(Place(told, None, None, None))}
    up = {sample.labels["part"]: sample.value for sample in families["switchboard_part_up"].samples}
    assert up == {"A": 1, "B": 1, "C": 0, "D": 0}


def test_backups_are_told_as_they_are_scheduled(web: Web) -> None:
    found = figures(web)
    assert found["switchboard_backup_every_seconds"] == found["switchboard_backup_failed"] == 0
    assert "switchboard_last_backup_age_seconds" not in found
