"""An answer that is written before one's eyes: drawn as it will stay, and nothing that was read moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import Stage, ask, comes, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUESTION = "How long may an agent be silent, and what happens to its question?"
BEGUN = (
    "## Silence\n\nAn agent is dropped after **60 seconds** [1]; see [this](https://example.org/a).\n\n"
    "1. First\n2. **Sec"
)
MORE = (
    "ond**\n\n   With words.\n\n| Name | Value |\n|---|--:|\n| a | 1 |\n\n$$\nx^2\n$$\n\n```py\nx = 1\n```\n\n"
    "> A quote\n\nIts question goes to another agent [2].\n"
)
LINE = 30  # pixels; a line of prose has 26
SIZES = [{"width": 1280, "height": 800}, {"width": 390, "height": 844}]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("stream") / "data") as found:
        yield found


def in_pieces(text: str) -> list[str]:
    return [text[begin : begin + 9] for begin in range(0, len(text), 9)]


def finished(page: Page) -> None:
    page.wait_for_selector(".exchange:last-of-type .acts [data-takes]")


@pytest.mark.parametrize("size", SIZES)
def test_what_was_read_stays_where_it_is(place: Stage, size: dict[str, int]) -> None:
    gate, last = place.writer.gate(), place.writer.gate()
    place.writer.will_say(*in_pieces(BEGUN), gate, *in_pieces(MORE), last, "End.")
    with place.page(viewport=size) as page:
        ask(page, QUESTION)
        page.wait_for_selector("li:has-text('Sec')")
        assert page.inner_text(".prose h3") == "Silence"
        assert page.inner_text(".prose > p strong") == "60 seconds"
        assert "**" not in page.inner_text(".prose")
        blocks, top = "[...document.querySelectorAll('.prose > *')]", "e.getBoundingClientRect().top + scrollY"
        remember = f"{blocks}.map((e) => [e, {top}])"
        page.evaluate(f"window.before = {remember}")
        gate.open()
        page.wait_for_selector(".prose > p:last-child .mark")
        moved = f"before.filter(([e, top]) => !e.isConnected || {top} !== top).length"
        assert page.evaluate(moved) == 0
        assert page.locator(".prose table").count() == page.locator(".prose math").count() == 1
        page.evaluate(f"window.before = {remember}")
        height = page.evaluate("document.documentElement.scrollHeight")
        last.open()
        finished(page)
        assert page.evaluate(moved) == 0
        assert abs(page.evaluate("document.documentElement.scrollHeight") - height) <= LINE
        html = page.inner_html(".prose")
        page.reload()
        assert page.inner_html(".prose").split() == html.split()


def test_selection_and_focus_stay(place: Stage) -> None:
    gate, last = place.writer.gate(), place.writer.gate()
    place.writer.will_say(*in_pieces(BEGUN), gate, *in_pieces(MORE), last, "End.")
    with place.page() as page:
        ask(page, QUESTION)
        page.wait_for_selector("li:has-text('Sec')")
        page.focus(".prose a[href^=https]")
        # The list is still open; its first item becomes a paragraph when a blank line comes.
        page.evaluate(
            "() => { const range = document.createRange(); range.setStart(document.querySelector('.prose h3'), 0);"
            "range.setEnd(document.querySelector('.prose li').firstChild, 5); getSelection().addRange(range); }"
        )
        before = page.evaluate("getSelection().toString()")
        assert before.endswith("First")
        gate.open()
        page.wait_for_selector(".prose > p:last-child .mark")
        assert page.evaluate("getSelection().toString()").split() == before.split()
        assert page.evaluate("document.activeElement.href") == "https://example.org/a"
        last.open()
        finished(page)
        assert page.evaluate("getSelection().toString()").split() == before.split()
        assert page.evaluate("document.activeElement.href") == "https://example.org/a"


def test_a_stopped_and_a_failed_answer_keep_what_was_drawn(place: Stage) -> None:
    gate = place.writer.gate()
    with place.page() as page:
        place.writer.will_say(*in_pieces(BEGUN), gate)
        ask(page, QUESTION)
        page.wait_for_selector("li:has-text('Sec')")
        page.evaluate("window.kept = document.querySelector('.prose h3')")
        page.press("[name=question]", "Escape")
        page.wait_for_selector("text=Stopped. What was written is kept.")
        assert page.evaluate("kept.isConnected")
        gate.open()
        place.writer.will_say(*in_pieces(BEGUN), breaks=True)
        ask(page, "And again?")
        page.wait_for_selector("[role=alert]:has-text('The answer broke off.')")
        assert page.locator(".exchange:last-of-type h3:has-text('Silence')").count() == 1


def test_a_broken_connection_goes_on_where_it_was(place: Stage) -> None:
    gate = place.writer.gate()
    place.writer.will_say(*in_pieces(BEGUN), gate, *in_pieces(MORE))
    with place.page() as page:
        page.add_init_script(
            "window.sources = []; const Was = EventSource;"
            "window.EventSource = class extends Was { constructor(url) { super(url); sources.push(url); } };"
        )
        page.goto("/")
        ask(page, QUESTION)
        page.wait_for_selector("li:has-text('Sec')")
        with place.page() as other:
            other.goto(page.url)
            other.wait_for_selector("li:has-text('Sec')")
            page.reload()
            page.wait_for_selector("li:has-text('Sec')")
            comes(page, "sources.length === 1")
            assert int(page.evaluate("sources[0]").partition("after=")[2]) > len("## Silence")
            gate.open()
            for each in (page, other):
                finished(each)
                assert each.locator(".prose h3").count() == 1
                assert each.locator(".prose > ol > li").count() == 2
