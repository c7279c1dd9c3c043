"""Chat pages before axe-core: in light and dark, wide and on a phone, none of its rules is broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import Stage, ask, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
RICH = (
    "# Limits\n\nAfter **60 seconds** [1], twice [2].\n\n- [x] done\n- [ ] open\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n"
    "```python\nimport os  # why\nprint('a', 1)\n```\n\n$$x^2$$\n\nA note[^n] and a [link](https://x.org/)."
    "\n\n[^n]: Here."
)
REFUSAL = "Your sources do not contain an answer to this question."
STILL = ".bar, .head, .composer { position: static !important }"  # what they cover counts as hidden


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("access") / "data") as found:
        yield found


@pytest.fixture(scope="module")
def chat(place: Stage) -> str:
    """A chat with an answer of every kind."""
    with place.page() as page:
        for text, breaks, sign in (
            (RICH, False, "Limits"),
            (REFUSAL, False, "Nothing in"),
            ("Half", True, "broke off"),
        ):
            place.writer.will_say(text, breaks=breaks)
            ask(page, f"Question for {sign}: how long may an agent be silent?")
            page.wait_for_selector(f".exchange .answer:has-text('{sign}'):not(:has([aria-busy]))")
        return page.url.split("#")[0]


def broken_rules(page: Page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    page.add_style_tag(content=STILL)
    found = Axe().run(page)
    return [f"{rule['id']}: {[node['html'][:120] for node in rule['nodes']]}" for rule in found.response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_rule_is_broken(place: Stage, chat: str, scheme: str, size: dict[str, int]) -> None:
    with place.page(viewport=size, color_scheme=scheme, bypass_csp=True) as page:
        for path in ("/", chat, f"{chat}?edit=", "/chats/", "/chats/?q=agent"):
            page.goto(path)
            assert (path, broken_rules(page)) == (path, [])


def test_no_rule_is_broken_while_an_answer_grows(place: Stage) -> None:
    gate = place.writer.gate()
    place.writer.will_say("Sixty [1]", gate, " seconds.")
    with place.page(viewport=WIDE, bypass_csp=True) as page:
        ask(page, "How long may an agent be silent?")
        page.wait_for_selector(".prose:has-text('Sixty')")
        assert broken_rules(page) == []
        gate.open()
        page.wait_for_selector("[data-takes]")
