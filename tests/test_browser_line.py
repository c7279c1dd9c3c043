"""Waiting for an agent in a real browser: the place in line comes live, is spoken once, and there are ways out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.browser import Stage, ask, stage
from tests.patience import PATIENCE
from tests.running import Agent

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUESTION = "How long may an agent be silent, and what happens to its question?"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("line") / "data") as found:
        yield found


@pytest.fixture(scope="module")
def agent(place: Stage) -> Agent:
    return place.server.agent()


@contextmanager
def busy(place: Stage, agent: Agent) -> Iterator[None]:
    """The only agent thinks about somebody else's question."""
    agent.may_answer.clear()
    agent.asked.clear()
    with place.page("bob") as page:
        ask_agents(page, "The first?")
        assert agent.asked.wait(PATIENCE)
        yield
        agent.may_answer.set()
        page.wait_for_selector("[data-takes]")


def ask_agents(page: Page, question: str = QUESTION) -> None:
    page.wait_for_load_state()
    page.click("[popovertarget=backend]")
    page.check("[name=backend][value=relay]")
    page.keyboard.press("Escape")
    ask(page, question)


def in_line(page: Page, place: str) -> None:
    page.wait_for_selector(f".wait strong:has-text('{place} in line')")


def test_the_place_is_told_live_and_spoken_once_for_each(place: Stage, agent: Agent) -> None:
    with busy(place, agent), place.page() as page, place.page() as ahead:
        ask_agents(ahead)
        in_line(ahead, "1st")
        ask_agents(page)
        in_line(page, "2nd")
        assert page.inner_text(".queue").split() == ["Answering", "1st", "You"]
        assert page.inner_text("[data-said]").startswith("2nd in line")
        assert not page.locator(".prose").is_visible()
        assert page.is_visible("button:has-text('Stop')")
        page.evaluate("said.textContent = ''")
        ahead.click("text=Leave the line")
        ahead.wait_for_selector("text=Stopped before the first word.")
        assert ahead.inner_text(".exchange h2") == QUESTION
        in_line(page, "1st")
        assert page.inner_text("[data-said]").startswith("1st in line")
        page.reload()
        in_line(page, "1st")
        agent.may_answer.set()
        page.wait_for_selector("[data-takes]")
        assert not page.locator(".wait").count()
        assert page.inner_text("[data-said]") == "Answer complete."
    with busy(place, agent), place.page() as page:
        ask_agents(page)
        page.wait_for_selector(".wait strong:has-text('about 5 s')")  # now that one answer has shown its time


def test_who_will_not_wait_gets_quotes_and_the_chat_keeps_its_agents(place: Stage, agent: Agent) -> None:
    with busy(place, agent), place.page() as page:
        ask_agents(page)
        in_line(page, "1st")
        page.click("text=Quote the sources now")
        page.wait_for_selector(".meta:has-text('Quoted')")
        assert page.locator(".exchange").count() == 1
        assert "AGENT_TTL" in page.inner_text(".prose")
        assert "Agents" in page.inner_text("[popovertarget=backend]")


def test_the_line_is_told_without_script(place: Stage, agent: Agent) -> None:
    with busy(place, agent), place.page("dora") as page:
        ask_agents(page)
        page.wait_for_selector(".wait strong:has-text('1. in der Reihe')")
        url = page.url
        with place.page("dora", java_script_enabled=False) as plain:
            plain.goto(url)
            assert "1. in der Reihe" in plain.inner_text(".wait")
            plain.click("text=Die Reihe verlassen")
            assert "vor dem ersten Wort" in plain.inner_text(".answer")
        page.wait_for_selector(".answer:has-text('vor dem ersten Wort')")
