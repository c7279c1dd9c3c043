"""The log as JSON: whose request a line belongs to, nobody's text, and a log that fails stops nobody."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from project.logs import JsonFormatter, LineFormatter, Stderr
from relay.ids import request_id
from tests.patience import PATIENCE
from tests.running import ROOT, until
from tests.test_server_log import ANSWER, FAULT, PROMPT, work
from tests.wire_agent import echo
from tests.wire_server import Web

HOSTILE = "line\r\nERROR forged\x1b[31m\u2028\x9b"


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Web:
    """A server that has met a bit of everything with LOG_FORMAT=json, and has ended."""
    with Web(tmp_path_factory.mktemp("json"), empty_sqlite, AGENT_TIMEOUT="0.3", LOG_FORMAT="json") as web:
        work(web)
    return web


def entries(web: Web) -> list[dict[str, Any]]:
    return [json.loads(line) for line in web.log.splitlines()]


def test_every_line_is_an_object_of_its_own(busy: Web) -> None:
    """Attack 41: whatever came in, a line is one event, in plain characters."""
    found = entries(busy)
    assert found
    assert all({"time", "level", "logger", "message"} <= set(entry) for entry in found)
    assert busy.log.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", busy.log)


def test_no_prompt_answer_password_or_key_is_in_it(busy: Web) -> None:
    """Attack 87."""
    secrets = [PROMPT, ANSWER, FAULT, busy.admin_key, (busy.data / "token").read_text(), "password-99", "forged"]
    secrets.append((busy.data / "secret_key").read_text().strip())
    assert [secret for secret in secrets if secret in busy.log] == []


def test_a_line_names_the_request_that_the_caller_named(tmp_path: Path, empty_sqlite: Path) -> None:
    """On both ways in, and with the id in the answer."""
    with Web(tmp_path, empty_sqlite, LOG_FORMAT="json") as web:
        web.sql("ALTER TABLE accounts_token RENAME TO away")
        shown = {"Authorization": "nonsense", "X-Request-Id": "asked-1"}
        assert web.http.post("/api/ask", headers=shown, content=b"{}").headers["x-request-id"] == "asked-1"
        query = {"admin_key": web.admin_key}
        listed = web.http.get("/admin/users", params=query, headers={"X-Request-Id": "listed-2"})
        assert (listed.status_code, listed.headers["x-request-id"]) == (500, "listed-2")
        until(lambda: "listed-2" in web.log, "the line")
        faults = [entry for entry in entries(web) if entry.get("request_id") == "listed-2"]
    assert all("request_id" in entry for entry in entries(web) if entry["level"] == "ERROR")
    assert faults


def record(message: str, fault: Exception | None = None) -> logging.LogRecord:
    """As `logger.exception` makes it."""
    info = None
    if fault:
        try:
            raise fault
        except Exception:
            info = sys.exc_info()
    return logging.LogRecord("privategpt", logging.ERROR, __file__, 1, message, (), info)


def test_breaks_and_terminal_codes_are_escaped() -> None:
    """Attack 41."""
    for formatter in (LineFormatter(), JsonFormatter()):
        line = formatter.format(record(HOSTILE))
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028]", line)
        assert "forged" in line


def test_of_an_exception_only_kind_and_places_are_told() -> None:
    """Attack 87: what an exception says may be what somebody wrote."""
    entry = json.loads(JsonFormatter().format(record("It failed.", ValueError(PROMPT))))
    assert entry["exception"] == "ValueError"
    assert "test_logs.py" in entry["places"][0]
    assert PROMPT not in json.dumps(entry)


def test_the_id_of_the_request_stands_in_both_kinds_of_line() -> None:
    token = request_id.set("r-1")
    try:
        assert LineFormatter().format(record("Hello.")).endswith("Hello. [r-1]")
        assert json.loads(JsonFormatter().format(record("Hello.")))["request_id"] == "r-1"
    finally:
        request_id.reset(token)
    assert "request_id" not in json.loads(JsonFormatter().format(record("Hello.")))


# -- a log that fails (fault 34) --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["closed", "full", "none"])
def test_a_log_that_takes_nothing_ends_nobodys_work(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 34."""
    stream: Any = None
    if kind == "closed":
        stream = io.StringIO()
        stream.close()
    elif kind == "full":
        stream = Path("/dev/full").open("w")  # noqa: SIM115 - it is closed with the test's own process
    monkeypatch.setattr(sys, "stderr", stream)
    handler = Stderr()
    handler.handle(record("Nobody reads this."))
    handler.handle(record("Nor this."))
    assert handler.lost == 2
    monkeypatch.setattr(sys, "stderr", later := io.StringIO())
    handler.handle(record("But this."))
    assert "2 lines of the log were lost" in later.getvalue()
    assert later.getvalue().endswith("But this.\n")


def test_nobody_waits_for_a_reader_who_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 34: the event loop logs as well."""
    reading, writing = os.pipe()
    stream = contextlib.ExitStack().enter_context(os.fdopen(writing, "w"))
    monkeypatch.setattr(sys, "stderr", stream)
    handler = Stderr()
    done = threading.Thread(target=lambda: [handler.handle(record("x" * 3000)) for _ in range(100)], daemon=True)
    done.start()
    done.join(PATIENCE)
    assert not done.is_alive()
    assert handler.lost > 50
    os.close(reading)


class Speechless(Web):
    """A server whose standard error is a full disk from the start."""

    def program(self, listener: int) -> list[str]:
        serve = f"[sys.executable, {str(ROOT / 'manage.py')!r}, 'serve', '--only', 'web']"
        return [
            "-c",
            f"import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 2); os.execv(sys.executable, {serve})",
        ]


def test_the_service_goes_on_without_its_log(tmp_path: Path, empty_sqlite: Path) -> None:
    """Fault 34."""
    with Speechless(tmp_path, empty_sqlite) as web:
        asker = web.user()
        web.sql("ALTER TABLE accounts_token RENAME TO away")
        assert web.ask("another").status_code == 500
        assert web.http.get("/admin/users", params={"admin_key": web.admin_key}).status_code == 500
        web.sql("ALTER TABLE away RENAME TO accounts_token")
        with web.agent(echo):
            assert web.ask(asker.token).status_code == 200
    assert web.log == ""
