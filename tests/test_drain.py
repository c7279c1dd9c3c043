"""The server is told to end while answers grow: streams end as they should, and their readers find all again."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser import CHROMIUM, PASSWORD, Writer, ask
from tests.patience import PATIENCE
from tests.running import Server, manage, settled

EMAIL = "admin@example.org"
PIECES = ["One ", "two. "]
GUIDE = """
from privategpt import ingest
ingest.store(None, title="Zebras", content="# Zebras\\n\\nZebras sleep by day.\\n", groups=[], public=True)
"""


@pytest.fixture
def writer() -> Iterator[Writer]:
    with Writer() as found:
        yield found


@pytest.fixture
def port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def served(data: Path, writer: Writer, port: str) -> Server:
    settings = {"OPENAI_BASE_URL": writer.served.url, "OPENAI_MODEL": "scripted-1", "LOG_LEVEL": "ERROR"}
    return Server(settled(data), port, **settings, ADMIN_EMAIL=EMAIL, ADMIN_PASSWORD=PASSWORD, DRAIN_SECONDS="0.2")


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Each event as its fields; raises when the line broke in the middle."""
    found: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name in {"event", "id"}:
            found[name] = value
        elif name == "data":
            found[name] = json.loads(value)
        elif not line and "event" in found:
            yield found
            found = {}


@contextmanager
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/api/v1", trust_env=False, timeout=PATIENCE) as client:
        found = client.post("/login", json={"email": EMAIL, "password": PASSWORD}).json()
        client.headers["Authorization"] = f"Bearer {found['data']['token']}"
        yield client


def test_a_stream_ends_whole_and_goes_on_from_its_offset_after_the_restart(
    tmp_path: Path, writer: Writer, port: str
) -> None:
    writer.will_say(*PIECES, writer.gate(), "three.")
    with served(tmp_path, writer, port) as server, api(server) as client:
        with client.stream("POST", "/chats", json={"question": "Count.", "stream": True}) as stream:
            heard = events(stream.iter_lines())
            chat = next(heard)["data"]["chatId"]
            first = next(event for event in heard if event["event"] == "delta")
            server.send(signal.SIGTERM)
            last = list(heard)[-1]
        assert (last["event"], last["data"]["status"]) == ("error", 503)
        assert "stopped before the answer was complete" in last["data"]["message"]
        assert server.wait() == 0
    with served(tmp_path, writer, port) as server, api(server) as client:
        place = {"Accept": "text/event-stream", "Last-Event-ID": first["id"]}
        with client.stream("GET", f"/chats/{chat}", headers=place) as stream:
            rest = list(events(stream.iter_lines()))
        told = first["data"]["text"] + "".join(event["data"]["text"] for event in rest if event["event"] == "delta")
        assert told == "".join(PIECES)
        assert rest[-1]["event"] == "error"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_page_survives_a_restart_in_the_middle_of_an_answer(tmp_path: Path, writer: Writer, port: str) -> None:
    from playwright.sync_api import sync_playwright

    writer.will_say(*PIECES, writer.gate(), "three.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        with served(tmp_path, writer, port) as server:
            page.goto(server.url)
            page.fill("[name=email]", EMAIL)
            page.fill("[name=password]", PASSWORD)
            page.press("[name=password]", "Enter")
            page.wait_for_selector("[name=question]")
            ask(page, "Count.")
            page.wait_for_selector("[data-grown]:has-text('One two.')")
            page.evaluate("window.stayed = true")
            server.send(signal.SIGTERM)
            assert server.wait() == 0
        with served(tmp_path, writer, port):
            page.wait_for_selector("[role=alert]:has-text('The answer broke off.')")
            assert "One two." in page.inner_text(".prose")
            assert page.evaluate("window.stayed")
            writer.will_say("One two three.")
            page.click("text=Try again")
            page.wait_for_selector(".prose:has-text('One two three.')")
        browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_page_says_at_once_that_the_server_was_killed_and_keeps_its_citations(
    tmp_path: Path, writer: Writer, port: str
) -> None:
    from playwright.sync_api import sync_playwright

    writer.will_say("Zebras sleep by day [1].", " They wait.", writer.gate(), "three.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        with served(tmp_path, writer, port) as server:
            assert manage(tmp_path, "shell", "-v0", "-c", GUIDE).returncode == 0
            page.goto(server.url)
            page.fill("[name=email]", EMAIL)
            page.fill("[name=password]", PASSWORD)
            page.press("[name=password]", "Enter")
            page.wait_for_selector("[name=question]")
            ask(page, "How do zebras sleep?")
            page.wait_for_selector("[data-grown]:has-text('They wait.') .mark")
            page.wait_for_timeout(500)  # two saves
            page.fill("[name=question]", "What was typed meanwhile")
            server.process.kill()
            page.wait_for_selector("[data-state]:has-text('The server is away.')", timeout=2_000)
        with served(tmp_path, writer, port):
            page.wait_for_selector("[role=alert]:has-text('The answer broke off.')", timeout=PATIENCE * 1_000)
            assert page.locator(".prose .mark").count() == page.locator(".sources .source").count() == 1
            assert page.input_value("[name=question]") == "What was typed meanwhile"
        browser.close()
