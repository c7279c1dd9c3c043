"""A real browser before a real server whose answers are written by the test, piece by piece."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.fake_upstream import CUT, DONE, STREAM, Step, Upstream, chunk, event, upstream
from tests.patience import PATIENCE
from tests.running import Server, manage, settled, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PASSWORD = "a long enough password"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The pages meet no strangers' sites: a process for each site would only be one more to start for every page.
FLAGS = ["--no-sandbox", "--disable-site-isolation-trials"]
WORD = "quokka"  # no source has it

GUIDES = {
    "Relay guide": """# Relay guide

## Heartbeats

Every agent sends a heartbeat each 30 seconds. After two missed heartbeats, which is 60 seconds, its socket is closed
and the agent leaves the pool of agents that are asked. An agent that comes back is asked again at once.
""",
    "Silent agents": """# Silent agents

## When an agent goes silent

A question whose agent is lost before the first piece of the answer is put back at the front of the line and given to
another agent. This happens at most twice; the third loss is reported to the asker as an agent that has gone.
""",
    "Settings": """# Settings

## Relay

AGENT_TTL says for how many seconds an agent may be silent before it is dropped. ASK_TIMEOUT says how many seconds a
question may wait for its whole answer.
""",
}
PEOPLE = """
from accounts.models import Group, User
from privategpt import ingest
harbour = Group.objects.create(name="Harbour office")
people = {}
for name, language in (("Alice", "en"), ("Bob", "en"), ("Charlie", "en"), ("Dora", "de")):
    people[name] = User.objects.create_user(name.lower() + "@example.org", PASSWORD, name=name, language=language)
for name in ("Alice", "Bob", "Dora"):
    people[name].groups.add(harbour)
for title, content in GUIDES.items():
    ingest.store(people["Alice"], title=title, content=content, groups=[harbour], public=False)
"""


class Writer:
    """The endpoint that the server asks, on a loop of its own. A reply is a list of texts; `Gate`s wait."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._upstream: Upstream | None = None
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def _live(self) -> None:
        """Ends its connections with itself: as garbage they would be ended in the midst of a later test."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        async with upstream() as found:
            self._upstream = found
            self._ready.set()
            await self._end.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)

    @property
    def served(self) -> Upstream:
        assert self._upstream
        return self._upstream

    def will_say(self, *pieces: str | Gate, breaks: bool = False) -> None:
        """What the next question is answered with; nothing that was planned before."""
        steps: list[Step] = [STREAM + b"transfer-encoding: chunked\r\n\r\n"]
        steps += [piece.event if isinstance(piece, Gate) else chunk(event(piece)) for piece in pieces]
        end: list[Step] = [CUT] if breaks else [chunk(DONE), b"0\r\n\r\n"]
        self.served.replies = deque([[*steps, *end]] * 4)

    def gate(self) -> Gate:
        return Gate(self._loop)


class Gate:
    """The answer goes on when it is opened."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self.event = loop, asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self.event.set)


class Stage:
    """Server, writer and browser."""

    def __init__(self, server: Server, writer: Writer, browser: Browser, said: str) -> None:
        self.server, self.writer, self.browser, self.said = server, writer, browser, said
        self.state: dict[str, Any] = {}

    @contextmanager
    def page(self, who: str | None = "alice", *, refused: int = 0, **options: Any) -> Iterator[Page]:
        """A page of somebody who is signed in, at the composer; whoever sees a message on the console fails,
        but for the browser's own about a request that was refused with this status."""
        context = self.browser.new_context(
            base_url=self.server.url, storage_state=self.state.get(who) if who else None, **options
        )
        context.set_default_timeout(PATIENCE * 1000)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(f"{message.text} ({message.location['url']})"))
        page.on("pageerror", lambda fault: said.append(str(fault)))
        try:
            page.goto("/")
            if who and who not in self.state:
                sign_in(page, who)
                self.state[who] = context.storage_state()
            yield page
            said = [line for line in said if not (refused and f"status of {refused}" in line)]
            assert not said, said
        except Exception as fault:
            fault.add_note(f"{page.url}\n{page.inner_text('body')[:2_000]}\n{said}\n{self.server.complaints[-2_000:]}")
            raise
        finally:
            context.close()


def sign_in(page: Page, who: str) -> None:
    page.fill("[name=email]", f"{who}@example.org")
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_selector("[name=question]")


def ask(page: Page, question: str) -> None:
    """As a person does: writes and presses Enter."""
    page.wait_for_load_state()  # before that Enter breaks the line, as it does without script
    page.fill("[name=question]", question)
    page.press("[name=question]", "Enter")


def comes(page: Page, expression: str) -> None:
    """Waits for it. Playwright's own `wait_for_function` needs `eval`, which the pages' policy forbids."""
    until(lambda: bool(page.evaluate(expression)), expression)


@contextmanager
def stage(data: Path, model: str = "scripted-1", more: str = "") -> Iterator[Stage]:
    """Skips where there is no Chromium. `more` is a program that runs in Django once the people and guides are there;
    what it prints is in `said`."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with Writer() as writer:
        served = Server(settled(data), OPENAI_BASE_URL=writer.served.url, OPENAI_MODEL=model, LOG_LEVEL="WARNING")
        with served as server, sync_playwright() as playwright:
            cast = f"PASSWORD = {PASSWORD!r}\nGUIDES = {GUIDES!r}\n{PEOPLE}\n{more}"
            made = manage(data, "shell", "-v0", "-c", cast)
            assert made.returncode == 0, made.stderr
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            try:
                yield Stage(server, writer, browser, made.stdout)
            finally:
                browser.close()
