"""Streams that only wait hold no thread: two hundred followers cost none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.browser import PASSWORD, Writer
from tests.patience import PATIENCE
from tests.running import Server
from tests.test_drain import EMAIL, api, events, port, served, writer
from tests.test_serve_several import webs

__all__ = ["port", "writer"]  # fixtures
FOLLOWERS = 60


def threads(server: Server) -> int:
    (web,) = webs(server)
    found = re.search(r"^Threads:\s+(\d+)$", Path(f"/proc/{web}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def test_followers_hold_no_thread(tmp_path: Path, writer: Writer, port: str) -> None:
    writer.will_say("One ", "two. ", gate := writer.gate(), "three.")
    with served(tmp_path, writer, port) as server, api(server) as client, page(server) as browser, ExitStack() as stack:
        first = stack.enter_context(client.stream("POST", "/chats", json={"question": "Count.", "stream": True}))
        begun = events(first.iter_lines())
        chat, message = ((found := next(begun)["data"])["chatId"], found["messageId"])
        streams: list[Iterator[str]] = []
        for number in range(FOLLOWERS):
            lines = stack.enter_context(follow(number, client, browser, chat, message)).iter_lines()
            next(line for line in lines if "One" in line)
            streams.append(lines)
        assert threads(server) < FOLLOWERS
        gate.open()
        assert all(any("three." in line for line in lines) for lines in streams)


def follow(
    number: int, client: httpx.Client, browser: httpx.Client, chat: str, message: str
) -> AbstractContextManager[httpx.Response]:
    """By turns as a page and as a program."""
    if number % 2:
        return browser.stream("GET", f"/chats/{chat}/{message}/events")
    return client.stream("GET", f"/chats/{chat}", headers={"Accept": "text/event-stream"})


@contextmanager
def page(server: Server) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE) as client:
        client.get("/sign-in")
        form = {"email": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        assert client.post("/sign-in", data=form).status_code == 302
        yield client
