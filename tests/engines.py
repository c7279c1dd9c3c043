"""Firefox and WebKitGTK, driven by their own WebDriver protocols; where they are not installed, tests skip.

Debian: `apt-get install firefox-esr webkit2gtk-driver xvfb`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.patience import PATIENCE
from tests.running import until

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
WEBKIT = shutil.which("WebKitWebDriver")
MINI = next(iter(sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), reverse=True)), None)
XVFB = shutil.which("Xvfb")


class Engine(Protocol):
    """A browser with one page."""

    def go(self, url: str) -> None:
        """Returns when the page is loaded."""

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; a string, a number, a truth value or None."""


@contextmanager
def firefox(folder: Path) -> Iterator[Engine]:
    """By WebDriver BiDi, which Firefox speaks without a driver."""
    if not FIREFOX:
        pytest.skip("no Firefox on this machine (firefox-esr)")
    port, profile = free_port(), folder / "profile"
    profile.mkdir()
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), f"--remote-debugging-port={port}"]
    with running(command, HOME=str(folder)), dialled(f"ws://127.0.0.1:{port}/session") as line:
        yield _Firefox(line)


class _Firefox:
    def __init__(self, line: ClientConnection) -> None:
        self._line, self._number = line, 0
        self._say("session.new", {"capabilities": {}})
        self._context = self._say("browsingContext.getTree", {})["contexts"][0]["context"]

    def _say(self, method: str, given: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._line.send(json.dumps({"id": self._number, "method": method, "params": given}))
        while True:
            heard: dict[str, Any] = json.loads(self._line.recv(PATIENCE))
            if heard.get("id") == self._number:
                assert heard["type"] == "success", heard
                found: dict[str, Any] = heard["result"]
                return found

    def go(self, url: str) -> None:
        self._say("browsingContext.navigate", {"context": self._context, "url": url, "wait": "complete"})

    def run(self, expression: str) -> Any:
        given = {"expression": expression, "target": {"context": self._context}, "awaitPromise": True}
        found = self._say("script.evaluate", given)
        assert found["type"] == "success", found
        return found["result"].get("value")


@contextmanager
def webkit(folder: Path) -> Iterator[Engine]:
    """By classic WebDriver; WebKitGTK wants a screen."""
    if not (WEBKIT and MINI and XVFB):
        pytest.skip("no WebKitGTK on this machine (webkit2gtk-driver, xvfb)")
    port, screen = free_port(), f":{os.getpid() % 20_000 + 100}"
    with (
        running([XVFB, screen, "-screen", "0", "1400x900x24", "-nolisten", "tcp"]),
        running([WEBKIT, f"--port={port}"], HOME=str(folder), DISPLAY=screen),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) as client,
    ):
        until(lambda: answers(client), "WebKit's driver")
        options = {"binary": str(MINI), "args": ["--automation"]}
        wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
        made = client.post("/session", json=wanted).json()["value"]
        try:
            yield _WebKit(client, f"/session/{made['sessionId']}")
        finally:
            client.delete(f"/session/{made['sessionId']}")


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/status").status_code == 200
    except httpx.TransportError:
        return False


class _WebKit:
    def __init__(self, client: httpx.Client, session: str) -> None:
        self._client, self._session = client, session
        self._post("window/rect", {"width": 1300, "height": 850})

    def _post(self, path: str, given: dict[str, Any]) -> Any:
        answer = self._client.post(f"{self._session}/{path}", json=given)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def go(self, url: str) -> None:
        self._post("url", {"url": url})

    def run(self, expression: str) -> Any:
        return self._post("execute/sync", {"script": f"return ({expression})", "args": []})


@contextmanager
def running(command: list[str], **extra: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=os.environ | extra, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextmanager
def dialled(url: str) -> Iterator[ClientConnection]:
    """The socket, as soon as somebody answers there."""
    found: list[ClientConnection] = []

    def dial() -> bool:
        with contextlib.suppress(OSError, WebSocketException):
            found.append(connect(url, proxy=None, max_size=None, open_timeout=5))
        return bool(found)

    until(dial, url)
    with found[0] as line:
        yield line


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
