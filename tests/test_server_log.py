"""What the server writes down while it works: nothing that was asked, answered or shown as a key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import databases
from tests.wire_agent import echo, says
from tests.wire_server import Web

PROMPT, ANSWER, FAULT, HOSTILE = "prompt-4711", "answer-0815", "fault-2342", "line\r\nERROR forged\x1b[31m"


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Web:
    """A server that has met a bit of everything, and has ended."""
    with Web(tmp_path_factory.mktemp("log"), empty_sqlite, AGENT_TIMEOUT="0.3") as web:
        work(web)
    return web


def work(web: Web) -> None:
    asker = web.user()
    (web.data / "token").write_text(asker.token)
    with web.agent(echo):
        web.post(asker.token, f'{{"content":"{PROMPT}"}}'.encode(), Idempotency_Key="key-1")
    for script in (says("error", FAULT), says("ChatGptResponse", ANSWER), says("nonsense", ANSWER)):
        with web.agent(script):
            web.ask(asker.token, PROMPT)
    web.http.get("/admin/users", params={"admin_key": web.admin_key})
    web.http.get("/admin/users", params={"admin_key": "wrong-" + asker.token})
    web.http.post("/admin/users/add", json={"admin_key": "wrong-" + asker.token})
    web.http.post("/admin/login/", data={"username": "a@example.org", "password": "password-99"})
    web.http.get("/", headers={"Host": "evil.example", "Cookie": asker.token})
    web.raw(b"GET /\xff" + asker.token.encode() + b" HTTP/1.1\r\n\r\n")
    web.post(asker.token, b"{" + PROMPT.encode())
    with web.agent(lambda agent, asked: agent.say_raw("{" + ANSWER)):
        web.ask(asker.token, HOSTILE)
    broken(web, asker.token)


def broken(web: Web, token: str) -> None:
    """The same with a database that fails."""
    web.sql("ALTER TABLE accounts_token RENAME TO away")
    try:
        assert web.ask("another token", PROMPT).status_code == 500
        assert web.ask("another token", PROMPT).json() == {"error": "Failed to verify API key"}
        users = web.http.get("/admin/users", params={"admin_key": web.admin_key})
        assert (users.status_code, users.json()["message"]) == (500, "Failed to get users from database")
        added = web.http.post("/admin/users/add", json={"admin_key": web.admin_key})
        assert (added.status_code, added.json()) == (
            500,
            {"error": "Failed to insert user_id and token into database"},
        )
        assert "Traceback" not in users.text + added.text
    finally:
        web.sql("ALTER TABLE away RENAME TO accounts_token")


def test_no_prompt_answer_or_key_is_in_the_log(busy: Web) -> None:
    """Attack 87."""
    secrets = [PROMPT, ANSWER, FAULT, busy.admin_key, (busy.data / "token").read_text(), "password-99", "forged"]
    secrets.append((busy.data / "secret_key").read_text().strip())
    assert [secret for secret in secrets if secret in busy.log] == []


def test_every_line_is_the_servers_own(busy: Web) -> None:
    """Attack 41: one line for each event, tracebacks aside, and no terminal codes."""
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", busy.log)
    stamp = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4} (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: ")
    lines = [line for line in busy.log.splitlines() if not line.startswith((" ", "Traceback", "During", "The above"))]
    events = [line for line in lines if line and not re.match(r"[\w.]+(Error|Exception|DisallowedHost)\b", line)]
    assert [line for line in events if not stamp.match(line)] == []


def test_no_token_is_in_the_database_in_clear(busy: Web) -> None:
    token = (busy.data / "token").read_text()
    dump = databases.dump(busy.data)
    assert "accounts_token" in dump
    assert token not in dump
    assert busy.admin_key not in dump
    assert PROMPT not in dump.replace(kept_answers(dump), "")


def kept_answers(dump: str) -> str:
    """Where an answer may stand: under an Idempotency-Key, for a day."""
    return "\n".join(line for line in dump.splitlines() if "relay_storedanswer" in line)
