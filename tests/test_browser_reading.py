"""Finding one's way: long chats, citations far down, wide formulas, menus, search, dropped files, the clipboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import Stage, ask, comes, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = """
from django.utils import timezone
from accounts.models import User
from privategpt import ingest
from privategpt.models import Chat, Message
alice = User.objects.get(name="Alice")
alice.roles = ["documents", "system"]
alice.save()
for number in range(61):
    chat = Chat.objects.create(owner=alice, title=f"Chat {number}")
wide = "$$" + "x_{1} + " * 60 + "y$$\\n\\nand $" + "a + " * 60 + "b$ inline"
for position in range(52):
    answer = "Words.\\n\\n" * 5 + (wide if position == 51 else "")
    Message.objects.create(chat=chat, position=position, question=f"Question {position}?", answer=answer,
                           state="complete", finished_at=timezone.now())
for number in range(20):
    ingest.store(alice, title=f"Source {number}", content="# T", groups=list(alice.groups.all()), public=False)
print(chat.pk)
"""
QUESTION = "How long may an agent be silent, and what happens to its question?"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
AT_END = "scrollY + innerHeight >= document.documentElement.scrollHeight - 2"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("reading") / "data", more=LONG) as found:
        yield found


def long_chat(place: Stage, page: Page) -> None:
    page.goto(f"/chats/{place.said.split()[-1]}/")
    page.wait_for_load_state()


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_a_chat_opens_at_its_end_and_one_finds_back_to_it(place: Stage, size: Any) -> None:
    with place.page(viewport=size) as page:
        long_chat(place, page)
        comes(page, AT_END)
        assert page.is_hidden("[data-toend]")
        page.evaluate("scrollTo(0, 500)")
        page.wait_for_selector("[data-toend]:visible")
        page.click("[data-toend]")
        comes(page, AT_END)
        page.wait_for_selector("[data-toend]", state="hidden")
        page.evaluate("scrollTo(0, 500)")
        page.reload()
        comes(page, "Math.abs(scrollY - 500) < 5")
        page.goto(page.url.split("#")[0] + "#m10")
        comes(page, "Math.abs(document.getElementById('m10').getBoundingClientRect().top) < 300")


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_a_wide_formula_scrolls_alone(place: Stage, size: Any) -> None:
    with place.page(viewport=size) as page:
        long_chat(place, page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        wide = "[...document.querySelectorAll('math')].filter((m) => m.scrollWidth > m.clientWidth + 50).length"
        assert page.evaluate(wide) == 2


@pytest.mark.parametrize("size", [{"width": 1280, "height": 500}, PHONE])
def test_sixty_chats_leave_the_account_in_sight(place: Stage, size: Any) -> None:
    with place.page(viewport=size) as page:
        page.goto("/agents")
        if size is PHONE:
            page.click("[popovertarget=side]")
        shown = page.locator("[popovertarget=me]").bounding_box()
        assert shown
        assert shown["y"] + shown["height"] <= size["height"]
        assert page.locator(".history").evaluate("list => list.scrollHeight > list.clientHeight")
        page.click("[popovertarget=me]")
        assert page.is_visible("text=Sign out")


def test_a_citation_far_down_moves_nothing_and_shows_its_passage(place: Stage) -> None:
    with place.page(viewport=WIDE) as page:
        place.writer.will_say("\n\n".join(f"Paragraph {number} says it [{number % 3 + 1}]." for number in range(60)))
        ask(page, QUESTION)
        page.wait_for_selector("[data-takes]")
        mark = page.locator(".prose .mark").nth(50)
        mark.scroll_into_view_if_needed()
        before = page.evaluate("scrollY")
        assert before > 1_000
        mark.click()
        assert page.evaluate("scrollY") == before
        shown = page.locator(".source:has(> [aria-current]) q").bounding_box()
        assert shown
        assert 0 < shown["y"] < shown["y"] + shown["height"] < WIDE["height"]


def test_below_the_text_a_citation_leads_to_its_passage_and_back(place: Stage) -> None:
    with place.page(viewport=PHONE) as page:
        place.writer.will_say("\n\n".join(f"Paragraph {number} says it [{number % 3 + 1}]." for number in range(60)))
        ask(page, QUESTION)
        page.wait_for_selector("[data-takes]")
        mark = page.locator(".prose .mark").nth(20)
        mark.evaluate("mark => mark.scrollIntoView({ block: 'center' })")
        before = page.evaluate("scrollY")
        mark.click()
        page.wait_for_selector(".source:has(> [aria-current]) q:visible")
        comes(page, f"scrollY > {before} + 300")
        page.go_back()
        comes(page, f"Math.abs(scrollY - {before}) < 60")


@pytest.mark.parametrize("size", [WIDE, {"width": 900, "height": 800}, PHONE])
def test_the_menu_of_a_sources_row_is_whole_in_the_window(place: Stage, size: Any) -> None:
    with place.page(viewport=size) as page:
        page.goto("/sources")
        for number in (0, 10, 19):
            button = page.locator(".list [popovertarget]").nth(number)
            button.scroll_into_view_if_needed()
            button.click()
            for entry in page.locator(".list :popover-open .button").all():
                shown = entry.bounding_box()
                assert shown
                assert shown["x"] >= 0
                assert shown["x"] + shown["width"] <= size["width"]
                assert shown["y"] + shown["height"] <= size["height"]
            page.keyboard.press("Escape")


@pytest.mark.parametrize("path", ["/sources", "/agents", "/account", "/account/tokens", "/chats/", "/nothing-there"])
def test_the_side_bar_searches_on_every_page(place: Stage, path: str) -> None:
    with place.page(refused=404) as page:
        page.goto(path)
        page.wait_for_load_state()
        page.fill("[data-finds]", "Question 17")
        page.wait_for_selector("[data-found] mark")
        page.fill("[data-finds]", "")
        page.wait_for_selector("[data-found] h2:has-text('Today')")


@pytest.mark.parametrize("path", ["/sources", "/"])
def test_a_file_that_is_dropped_beside_the_zone_does_not_open(place: Stage, path: str) -> None:
    dropped = (
        "(selector, kind) => { const data = new DataTransfer(); data.items.add(new File(['x'], 'x.md'));"
        "return !document.querySelector(selector).dispatchEvent("
        "new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true })); }"
    )
    with place.page() as page:
        page.goto(path)
        for selector in ("h1", "body"):
            for kind in ("dragover", "drop"):
                assert page.evaluate(f"([selector, kind]) => ({dropped})(selector, kind)", [selector, kind])


# -- the clipboard and input methods ---------------------------------------------------------------

PLAIN = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"  # as on plain http
REFUSED = PLAIN + "document.execCommand = () => false;"


def made_token(page: Page) -> str:
    page.goto("/account/tokens")
    page.fill("[name=name]", "Reader")
    page.check("[name=may] >> nth=0")
    page.click("text=Make the token")
    return page.inner_text(".once pre").strip()


def pasted(page: Page) -> str:
    page.goto("/")
    page.focus("[name=question]")
    page.keyboard.press("Control+V")
    return page.input_value("[name=question]").strip()


def test_copy_works_without_a_secure_context(place: Stage) -> None:
    with place.page() as page:
        page.add_init_script(PLAIN)
        token = made_token(page)
        page.click(".once [data-copy]")
        page.wait_for_selector(".once [data-copy][aria-label='Copied'], .once [data-copy]:has-text('Copied')")
        assert pasted(page) == token
        page.fill("[name=question]", "")
        place.writer.will_say("The **raw** answer.")
        ask(page, QUESTION)
        page.click("[data-takes]")
        page.wait_for_selector("[data-takes]:has-text('Copied')")
        assert pasted(page) == "The **raw** answer."


def test_where_copying_is_refused_the_text_is_selected(place: Stage) -> None:
    with place.page() as page:
        page.add_init_script(REFUSED)
        token = made_token(page)
        page.click(".once [data-copy]")
        comes(page, "getSelection().toString() !== ''")
        assert page.evaluate("getSelection().toString()").strip() == token
        page.goto("/")
        place.writer.will_say("The **raw** answer.")
        ask(page, QUESTION)
        page.click("[data-takes]")
        comes(page, "document.activeElement.className.includes('copy')")
        selected = "(field => field.value.slice(field.selectionStart, field.selectionEnd))(document.activeElement)"
        assert page.evaluate(selected) == "The **raw** answer."


@pytest.mark.parametrize("how", ["isComposing: true", "keyCode: 229"])
def test_keys_of_an_input_method_neither_send_nor_stop(place: Stage, how: str) -> None:
    pressed = "document.querySelector('[name=question]').dispatchEvent(new KeyboardEvent('keydown', {}))"
    gate = place.writer.gate()
    with place.page() as page:
        page.wait_for_load_state()
        page.fill("[name=question]", "日本")
        enter = pressed.replace("{}", f"{{ key: 'Enter', bubbles: true, cancelable: true, {how} }}")
        assert page.evaluate(enter)  # nobody took it
        assert page.input_value("[name=question]") == "日本"
        place.writer.will_say("Yes, ", gate, "it is.")
        page.press("[name=question]", "Enter")
        page.wait_for_selector("[data-grown]:has-text('Yes')")
        page.evaluate(enter.replace("'Enter'", "'Escape'"))
        gate.open()
        page.wait_for_selector(".prose:has-text('Yes, it is.')")
        page.wait_for_selector("[data-takes]")
