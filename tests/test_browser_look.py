"""Small things that a picky reader sees: what is pinned looks so, R opens its box at its place, a print is a print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import Stage, ask, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUESTION = "How long may an agent be silent?"
RIGHTS = """
from accounts.models import User
User.objects.filter(name="Alice").update(is_superuser=True, is_staff=True)
print(User.objects.get(name="Bob").pk)
"""
SHOWN = """[...document.querySelectorAll("button, .button, input, textarea, nav")]
    .filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 90))"""
NAMES = "[...document.querySelectorAll('section[aria-label]')].map((one) => one.ariaLabel)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("look") / "data", more=RIGHTS) as found:
        yield found


@pytest.fixture(scope="module")
def chat(place: Stage) -> str:
    """One in which the same was asked twice."""
    with place.page() as page:
        for number in (1, 2):
            place.writer.will_say("After **60 seconds** [1].\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
            ask(page, QUESTION)
            page.wait_for_selector(f".exchange:nth-of-type({number}) [data-takes]")
        return page.url.split("#")[0]


def test_r_opens_the_box_for_the_title_beside_the_menu(place: Stage, chat: str) -> None:
    with place.page() as page:
        page.goto(chat)
        page.keyboard.press("r")
        box, menu = (page.locator(at).bounding_box() for at in ("#rename", "[popovertarget=chatmenu]"))
        assert box
        assert menu
        assert abs(box["x"] + box["width"] - menu["x"] - menu["width"]) < 20
        assert 0 <= box["y"] - menu["y"] - menu["height"] < 20


def look(page: Page) -> str:
    page.wait_for_load_state()
    return str(page.eval_on_selector("[data-key=p] .i", "icon => getComputedStyle(icon).fill"))


def test_a_pinned_chat_looks_pinned(place: Stage, chat: str) -> None:
    with place.page() as page:
        page.goto(chat)
        before = look(page)
        page.click("[data-key=p]")
        page.wait_for_selector("[data-key=p][aria-pressed=true]")
        assert look(page) != before
        assert page.get_attribute("[data-key=p]", "title") == "Unpin"


def test_two_questions_alike_have_landmarks_of_their_own(place: Stage, chat: str) -> None:
    with place.page() as page:
        page.goto(chat)
        names = page.evaluate(NAMES)
        assert len(names) == len(set(names)) == 2


def test_a_print_has_the_whole_width_and_no_buttons(place: Stage, chat: str) -> None:
    with place.page(viewport={"width": 794, "height": 1123}) as page:  # A4
        page.goto(chat)
        page.emulate_media(media="print")
        assert page.evaluate(SHOWN) == []
        prose = page.locator(".prose").first.bounding_box()
        assert prose
        assert prose["width"] > 760
        assert page.locator(".source q").first.is_visible()


def test_a_person_is_retired_and_brought_back_on_their_own_page(place: Stage) -> None:
    person = f"/admin/accounts/user/{place.said.split()[-1]}/change/"
    with place.page() as page:
        for button, done in (("Retire", "Retired: 1."), ("Reactivate", "Reactivated: 1.")):
            page.goto(person)
            page.click(f".object-tools >> text={button}")
            page.wait_for_selector(f"text={done}")
        page.goto("/admin/accounts/user/?q=alice")
        page.click("#result_list th a")
        assert page.locator("#content h2").first.inner_text()
        assert not page.locator(".object-tools button").count()  # nobody retires oneself


def test_every_box_with_a_list_has_a_name(place: Stage) -> None:
    nameless = """[...document.querySelectorAll("select, [role=combobox]")]
        .filter((one) => !one.labels?.length && !one.ariaLabel && !one.getAttribute("aria-labelledby"))"""
    with place.page() as page:
        for path in ("/admin/accounts/token/add/", "/admin/accounts/user/", "/sources", "/account"):
            page.goto(path)
            assert page.evaluate(f"{nameless}.map((one) => one.outerHTML)") == []
