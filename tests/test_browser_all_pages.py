"""Every page of the route list in a real browser: rules of access, widths, directions, keyboard, motion and colours.

One server and one browser; each way of looking walks all pages in one tab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import resolve

from privategpt import urls
from tests.axe import violations
from tests.browser import PASSWORD, Stage, ask, comes, stage
from tests.running import manage

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDE, PHONE, ZOOMED = ({"width": width, "height": 844} for width in (1280, 390, 320))  # 320 is 1280 at 400 %
RICH = (
    "# Limits\n\nAfter **60 seconds** [1], twice [2].\n\n- [x] done\n- [ ] open\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n"
    "```python\nimport os  # why, in a line that is much longer than any telephone is wide, so that it has to scroll\n"
    "```\n\n$$x^2$$\n\nA note[^n] and a [link](https://x.org/) to https://example.org/a/very/long/address/without/any/blank."
    "\n\n[^n]: Here."
)
# Routes that are no pages: acts, which lead to a page, and what is read by scripts, programs and people's own tools.
NO_PAGES = {
    *("chat-begin", "chat-ask", "chat-stop", "chat-rename", "chat-pin", "chat-delete", "chat-restore"),
    *(
        "chat-markdown",
        "chat-json",
        "exchange",
        "exchange-again",
        "exchange-held",
        "exchange-text",
        "exchange-events",
        "sign-out",
    ),
    *("hide-guide", "dashboard-csv"),
    *("save-you", "save-reading", "change-password", "recovery-codes", "second-factor-off", "revoke-token"),
    *("end-session", "end-other-sessions", "moving-sources", "delete-source", "undo-source", "try-source-again"),
}
RIGHTS = """
from accounts.models import User
User.objects.filter(name__in=("Alice", "Dora")).update(roles=["documents", "system", "analytics"], is_superuser=True)
"""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Where the focus is and whether it shows; the composer wears it as a border.
FOCUS = """() => {
    const at = document.activeElement;
    if (!at || at === document.body) return null;
    const worn = at.closest(".box, .drop, .tick, .finder") || at;
    const shows = [at, worn].some((one) => {
        const style = getComputedStyle(one);
        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    }) || at.matches("textarea");
    const box = at.getBoundingClientRect();
    const name = at.outerHTML.slice(0, 90);
    const isSeen = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    return { name, shows, isSeen };
}"""
MOVING = "document.getAnimations().filter((one) => one.playState === 'running').length"
# In forced colours grounds go: a control that has no border of its own is nowhere to be seen.
BARE = """[...document.querySelectorAll(".button:not(.plain), .in, .composer .box")].filter((one) => {
    const style = getComputedStyle(one);
    return one.checkVisibility() && (style.borderTopStyle === "none" || parseFloat(style.borderTopWidth) === 0);
}).map((one) => one.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data = tmp_path_factory.mktemp("everywhere") / "data"
    with stage(data) as found:
        made = manage(data, "shell", "-c", f"PASSWORD = {PASSWORD!r}\n{RIGHTS}")
        assert made.returncode == 0, made.stderr
        yield found


@pytest.fixture(scope="module")
def paths(place: Stage) -> list[str]:
    """Every page, the chat with an answer of each kind among them."""
    with place.page() as page:
        for text, breaks, sign in ((RICH, False, "Limits"), ("Half", True, "broke off")):
            place.writer.will_say(text, breaks=breaks)
            ask(page, f"How long may an agent be silent? {sign}")
            page.wait_for_selector(f".exchange .answer:has-text('{sign}'):not(:has([aria-busy]))")
        chat = page.url.split("#")[0].removeprefix(place.server.url)
        piece = page.get_attribute(".exchange", "data-piece")
        page.goto("/sources")
        source = page.get_attribute("td a", "href")
    assert source
    assert piece
    own = ["/account", "/account/tokens", "/account/sessions", "/account/second-factor", "/agents", "/nowhere"]
    bench = ["/sources/bench", "/sources/bench?q=silent+agent", "/sources/bench?q=silent&as=bob%40example.org"]
    of_source = [source, f"{source}?start=0&end=40", f"{source}edit", f"{source}move"]
    return [
        *("/", "/chats/", "/chats/?q=agent", chat, f"{chat}?edit={piece.split('/')[-2]}"),
        *("/sources", "/sources/write", *bench, *of_source, *own, "/dashboard", "/dashboard?period=month"),
    ]


def test_every_page_of_the_route_list_is_walked(paths: list[str]) -> None:
    walked = {resolve(path.split("?")[0]).url_name for path in paths if path != "/nowhere"} | {
        "sign-in",
        "sign-in-code",
    }
    assert walked | NO_PAGES == {entry.name for entry in urls.urlpatterns}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_rule_of_access_is_broken(place: Stage, paths: list[str], scheme: Any, size: Any) -> None:
    with place.page(viewport=size, color_scheme=scheme, bypass_csp=True, refused=404) as page:
        broken = {}
        for path in paths:
            page.goto(path)
            broken[path] = violations(page)
    assert {path: found for path, found in broken.items() if found} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_access_is_broken_at_the_gate(place: Stage, scheme: Any) -> None:
    with place.page(None, color_scheme=scheme, bypass_csp=True, refused=422) as page:
        assert violations(page) == []
        page.fill("[name=email]", "nobody@example.org")
        page.fill("[name=password]", "wrong")
        page.press("[name=password]", "Enter")
        page.wait_for_selector("[role=alert]")
        assert violations(page) == []


@pytest.mark.parametrize("who", ["alice", "dora"])
@pytest.mark.parametrize("size", [PHONE, ZOOMED], ids=["phone", "400 percent"])
def test_no_page_scrolls_sideways_in_either_direction(place: Stage, paths: list[str], who: str, size: Any) -> None:
    """German words are longer; and for right to left the same pages are turned."""
    own = [path for path in paths if not path.startswith("/chats/") or "?q=" in path or path == "/chats/"]
    with place.page(who, viewport=size, refused=404) as page:
        wide = {}
        for path in paths if who == "alice" else own:
            page.goto(path)
            for direction in ("ltr", "rtl"):
                page.evaluate("(direction) => { document.documentElement.dir = direction }", direction)
                if found := page.evaluate(SIDEWAYS):
                    wide[path, direction] = found
    assert wide == {}


def test_nothing_moves_for_who_wants_no_motion(place: Stage, paths: list[str]) -> None:
    gate = place.writer.gate()
    place.writer.will_say("Sixty", gate, " seconds.")
    with place.page(viewport=WIDE, reduced_motion="reduce", refused=404) as page:
        for path in paths:
            page.goto(path)
            assert (path, page.evaluate(MOVING)) == (path, 0)
        page.goto("/")
        ask(page, "How long?")
        page.wait_for_selector(".prose:has-text('Sixty')")
        assert page.evaluate(MOVING) == 0
        gate.open()
        page.wait_for_selector("[data-takes]")


def test_borders_carry_the_controls_in_forced_colours(place: Stage, paths: list[str]) -> None:
    with place.page(viewport=WIDE, forced_colors="active", refused=404) as page:
        bare = {}
        for path in paths:
            page.goto(path)
            bare[path] = page.evaluate(BARE)
    assert {path: found for path, found in bare.items() if found} == {}


def test_every_stop_of_the_tab_key_is_seen(place: Stage, paths: list[str]) -> None:
    with place.page(viewport=WIDE, refused=404) as page:
        unseen = {}
        for path in paths:
            page.goto(path)
            stops = list(tab_stops(page))
            assert stops, path
            unseen[path] = [stop for stop in stops if not (stop["shows"] and stop["isSeen"])]
    assert {path: found for path, found in unseen.items() if found} == {}


def tab_stops(page: Page) -> Iterator[dict[str, Any]]:
    """Through the page once: until the focus leaves the document or comes back to the first stop."""
    first = None
    for _ in range(150):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop is None or stop == first:
            return
        first = first or stop
        yield stop


def press_to(page: Page, selector: str) -> None:
    """Tab after Tab until the focus is there."""
    for _ in range(150):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the tab key does not reach {selector}")


def test_signing_in_making_a_token_and_writing_a_source_go_by_keyboard_alone(place: Stage) -> None:
    with place.page(None) as page:
        page.keyboard.type("bob@example.org")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("[name=question]")
        page.goto("/account/tokens")
        press_to(page, "[name=name]")
        page.keyboard.type("Notebook")
        press_to(page, "[name=may]")
        page.keyboard.press("Space")
        press_to(page, "form:not([action$=revoke]) .button.go")
        page.keyboard.press("Enter")
        page.wait_for_selector(".once")
        press_to(page, ".once [data-copy]")
        page.keyboard.press("Enter")
        page.wait_for_selector(".once [aria-label=Copied]")
        assert re.fullmatch(r"\d+\|[\w-]{40}", page.evaluate("navigator.clipboard.readText()"))


def test_menus_open_and_close_by_keyboard_and_give_the_focus_back(place: Stage) -> None:
    with place.page() as page:
        page.goto("/sources")
        press_to(page, "main td button[popovertarget]")
        page.keyboard.press("Enter")
        page.wait_for_selector("main .sheet:popover-open")
        page.keyboard.press("Escape")
        comes(page, "!document.querySelector('main .sheet:popover-open')")
        comes(page, "document.activeElement.matches('[popovertarget]')")


def test_the_code_of_an_answer_is_copied_and_its_formula_is_mathml(place: Stage, paths: list[str]) -> None:
    with place.page() as page:
        page.goto(
            next(path for path in paths if path.startswith("/chats/") and path.count("/") == 3 and "?" not in path)
        )
        page.click(".prose .code [data-copy]")
        comes(page, "navigator.clipboard.readText().then((text) => text.startsWith('import os  # why'))")
        box = page.locator(".prose math[display=block] msup").bounding_box()
        assert box is not None
        assert box["height"] > 0
        assert page.locator(".prose input[type=checkbox]").count() == 2
        assert page.locator(".prose .footnotes li").count() == 1
