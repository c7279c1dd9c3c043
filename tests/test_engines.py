"""A chat in Firefox and in WebKit: it works as in Chromium, and a browser without anchor scopes shows the filled pair
of marks without the cord between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.browser import GUIDES, PASSWORD, PEOPLE, Writer
from tests.engines import Engine, firefox, webkit
from tests.running import Server, manage, settled, until

FILLS = """(() => {{
  const fields = Object.entries({0});
  for (const [name, value] of fields) document.querySelector(`[name=${{name}}]`).value = value;
  document.querySelector("{1}").requestSubmit();
  return true;
}})()"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Writer]]:
    data = settled(tmp_path_factory.mktemp("engines") / "data")
    with Writer() as writer:
        settings = {"OPENAI_BASE_URL": writer.served.url, "OPENAI_MODEL": "scripted-1", "LOG_LEVEL": "WARNING"}
        with Server(data, **settings) as server:
            made = manage(data, "shell", "-c", f"PASSWORD = {PASSWORD!r}\nGUIDES = {GUIDES!r}\n{PEOPLE}")
            assert made.returncode == 0, made.stderr
            yield server, writer


@pytest.mark.parametrize("opened", [firefox, webkit])
def test_a_chat_works_and_its_citations_are_pairs(
    tmp_path: Path, request: pytest.FixtureRequest, opened: Callable[[Path], AbstractContextManager[Engine]]
) -> None:
    with opened(tmp_path) as page:  # or skips, before there is a server
        talk(page, *request.getfixturevalue("place"))


def talk(page: Engine, server: Server, writer: Writer) -> None:
    def comes(expression: str) -> None:
        until(lambda: bool(page.run(expression)), expression)

    def fills(fields: dict[str, Any], form: str) -> None:
        page.run(FILLS.format(fields, form))

    page.go(f"{server.url}/sign-in")
    fills({"email": "alice@example.org", "password": PASSWORD}, "main form")
    comes("!!document.querySelector('[name=question]')")
    gate = writer.gate()
    writer.will_say("Dropped after 60 seconds [1].", gate, " Asked elsewhere [2].")
    fills({"question": "How long may an agent be silent?"}, "[data-asks]")
    comes("document.querySelectorAll('[data-grown] .mark').length === 1")
    gate.open()
    comes("document.querySelectorAll('.acts [data-takes]').length === 1")
    page.run("(document.querySelectorAll('.prose .mark')[1].click(), true)")
    chosen = page.run("[...document.querySelectorAll('.mark[aria-current]')].map((mark) => mark.textContent).join()")
    assert chosen == "2,2"
    has_scopes = page.run("CSS.supports('anchor-scope: --a') && innerWidth >= 1248")
    shown = page.run("getComputedStyle(document.querySelector('.cord.fall')).display")
    assert shown == ("block" if has_scopes else "none")
    filled = page.run("getComputedStyle(document.querySelectorAll('.prose .mark')[1]).backgroundColor")
    assert filled == page.run("getComputedStyle(document.querySelector('.source .mark[aria-current]')).backgroundColor")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    print(page.run("navigator.userAgent"), shown, page.run("innerWidth"))
