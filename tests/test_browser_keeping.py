"""What was typed is never lost: the server away, the session ended, the network gone; the page stays and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.browser import PASSWORD, Gate, Stage, ask, comes, stage
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Page

TYPED = "Which of the three gaskets goes under the housing?"
AWAY = "[role=alert]:has-text('The server does not answer.')"
BACK = "[role=status]:has-text('The server answers again.')"
OUT = "[role=alert]:has-text('Your session ended.')"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("keeping") / "data") as found:
        yield found


@contextmanager
def opened(place: Stage) -> Iterator[Page]:
    """A page of Alice's whose console may complain: the network goes."""
    with place.page() as page:
        state = page.context.storage_state()
    context = place.browser.new_context(base_url=place.server.url, storage_state=state)
    context.set_default_timeout(PATIENCE * 1000 / 4)
    page = context.new_page()
    page.goto("/")
    yield page
    context.close()


def answered(place: Stage, page: Page) -> None:
    place.writer.will_say("Yes.")
    ask(page, "Is it tight?")
    page.wait_for_selector(".exchange:last-of-type [data-takes]")


@pytest.mark.parametrize("is_new", [True, False])
def test_enter_without_a_server_keeps_the_page_and_the_text(place: Stage, is_new: bool) -> None:
    with opened(place) as page:
        if not is_new:
            answered(place, page)
        url = page.url
        page.context.set_offline(True)
        ask(page, TYPED)
        page.wait_for_selector(AWAY)
        assert page.url == url
        assert page.input_value("[name=question]") == TYPED
        page.context.set_offline(False)
        page.wait_for_selector(BACK)
        place.writer.will_say("The thick one.")
        page.click("text=Send again")
        page.wait_for_selector(".prose:has-text('The thick one.')")
        assert page.locator(f".exchange h2:has-text('{TYPED}')").count() == 1
        comes(page, "!document.querySelector('.kept')")
        page.reload()
        assert page.input_value("[name=question]") == ""


def test_a_question_whose_answer_was_lost_is_not_asked_twice(place: Stage) -> None:
    with opened(place) as page:
        answered(place, page)

        def lose(route: object) -> None:
            route.fetch()  # type: ignore[attr-defined]
            route.abort()  # type: ignore[attr-defined]

        page.route("**/ask", lose)
        place.writer.will_say("The thin one.")
        ask(page, TYPED)
        page.wait_for_selector(AWAY)
        page.unroute("**/ask")
        page.click("text=Send again")
        page.wait_for_selector(".prose:has-text('The thin one.')")
        assert page.locator(f".exchange h2:has-text('{TYPED}')").count() == 1
        assert page.input_value("[name=question]") == ""


def test_send_again_asks_once_and_says_when_that_is_lost_too(place: Stage) -> None:
    with opened(place) as page:
        answered(place, page)
        page.context.set_offline(True)
        ask(page, TYPED)
        page.wait_for_selector(AWAY)
        page.context.set_offline(False)
        page.wait_for_selector(BACK)
        sent: list[object] = []

        def lose(route: object) -> None:
            sent.append(route)
            route.abort()  # type: ignore[attr-defined]

        page.route("**/ask", lose)
        page.evaluate(
            "[...document.querySelectorAll('.kept button')].forEach((button) => { button.click(); button.click(); })"
        )
        page.wait_for_selector(AWAY)
        assert len(sent) == 1
        page.unroute("**/ask")
        place.writer.will_say("The blue one.")
        page.click("text=Send again")
        page.wait_for_selector(".prose:has-text('The blue one.')")
        assert page.locator(f".exchange h2:has-text('{TYPED}')").count() == 1


@contextmanager
def halfway(place: Stage) -> Iterator[tuple[Page, Gate]]:
    """A page on which an answer has begun, and what lets it end."""
    gate = place.writer.gate()
    with opened(place) as page:
        place.writer.will_say("Yes, ", gate, "it is.")
        ask(page, "Is it tight?")
        page.wait_for_selector("[data-grown]:has-text('Yes')")
        yield page, gate


def test_a_form_that_stays_ends_no_stream(place: Stage) -> None:
    """The server is away when another answer is asked for: the one that grows goes on."""
    with halfway(place) as (page, gate):
        here = page.evaluate("words('here')")
        page.route(f"**{here}", lambda route: route.abort())
        page.evaluate("document.querySelector('#again').requestSubmit()")
        page.wait_for_selector(AWAY)
        gate.open()
        page.wait_for_selector(".prose:has-text('it is.')")


@pytest.mark.parametrize("is_new", [True, False])
def test_who_signs_in_again_is_back_with_what_was_typed(place: Stage, is_new: bool) -> None:
    with opened(place) as page:
        if not is_new:
            answered(place, page)
        path = page.url.split("#")[0]
        page.context.clear_cookies()
        ask(page, TYPED)
        page.wait_for_selector(OUT)
        assert page.input_value("[name=question]") == TYPED
        page.click("text=Sign in and go on")
        page.fill("[name=email]", "alice@example.org")
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_selector("[name=question]")
        assert page.url == path
        assert page.input_value("[name=question]") == TYPED
        place.writer.will_say("The middle one.")
        page.press("[name=question]", "Enter")
        page.wait_for_selector(".prose:has-text('The middle one.')")


def test_an_answer_whose_reader_was_signed_out_leaves_the_text(place: Stage) -> None:
    with halfway(place) as (page, gate):
        page.fill("[name=question]", TYPED)
        page.context.clear_cookies()
        gate.open()
        page.wait_for_selector(OUT)
        assert page.input_value("[name=question]") == TYPED
        assert "Yes" in page.inner_text("[data-grown]")


def test_a_draft_outlives_a_reload_and_stays_with_its_chat(place: Stage) -> None:
    with opened(place) as page:
        answered(place, page)
        page.fill("[name=question]", TYPED)
        chat = page.url
        page.goto("/")
        assert page.input_value("[name=question]") == ""
        page.goto(chat)
        assert page.input_value("[name=question]") == TYPED
        page.reload()
        assert page.input_value("[name=question]") == TYPED
        with place.page("bob") as other:
            other.goto("/")
            assert other.input_value("[name=question]") == ""


def test_every_other_form_waits_for_the_server_too(place: Stage) -> None:
    with opened(place) as page:
        page.goto("/account/tokens")
        page.fill("[name=name]", "Reading at night")
        page.check("[name=may] >> nth=0")
        page.context.set_offline(True)
        page.click("text=Make the token")
        page.wait_for_selector(AWAY)
        assert page.input_value("[name=name]") == "Reading at night"
        page.context.clear_cookies()
        page.context.set_offline(False)
        page.wait_for_selector(OUT)
        page.click("text=Sign in and go on")
        page.fill("[name=email]", "alice@example.org")
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_url("**/account/tokens")
        assert page.input_value("[name=name]") == "Reading at night"
        page.check("[name=may] >> nth=0")
        page.click("text=Make the token")
        page.wait_for_selector(".once")
        assert page.input_value("[name=name]") == ""
        page.goto("/account/tokens")
        assert page.input_value("[name=name]") == ""


def test_a_page_that_was_open_while_somebody_signed_in_anew_still_sends(place: Stage) -> None:
    """The form's token is another one then."""
    with opened(place) as page:
        answered(place, page)
        page.context.clear_cookies()
        other = page.context.new_page()
        other.goto("/")
        other.fill("[name=email]", "alice@example.org")
        other.fill("[name=password]", PASSWORD)
        other.press("[name=password]", "Enter")
        other.wait_for_selector("[name=question]")
        place.writer.will_say("Still here.")
        ask(page, TYPED)
        page.wait_for_selector(".prose:has-text('Still here.')")


def test_the_sign_of_an_answer_under_way_ends_on_other_pages(place: Stage) -> None:
    gate = place.writer.gate()
    with opened(place) as page:
        place.writer.will_say("Yes, ", gate, "it is.")
        ask(page, "Is it tight?")
        page.wait_for_selector("[data-grown]:has-text('Yes')")
        page.goto("/agents")
        assert page.locator(".history .jack.busy").count() == 1
        gate.open()
        comes(page, "!document.querySelector('.history .jack')")
