"""Every page of the route list in a real browser: rules of access, widths, directions, keyboard, motion and colours.

One server and one browser; each way of looking walks all pages in one tab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import resolve

from privategpt import urls
from tests.axe import violations_everywhere
from tests.browser import PASSWORD, Stage, ask, comes, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

WIDE: ViewportSize = {"width": 1280, "height": 844}
PHONE: ViewportSize = {"width": 390, "height": 844}
ZOOMED: ViewportSize = {"width": 320, "height": 844}  # 1280 at 400 %
RICH = (
    "# Limits\n\nAfter **60 seconds** [1], twice [2].\n\n- [x] done\n- [ ] open\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n"
    "```python\nimport os  # why, in a line that is much longer than any telephone is wide, so that it has to scroll\n"
    "```\n\n$$x^2$$\n\nA note[^n] and a [link](https://x.org/) to https://example.org/a/very/long/address/without/any/blank."
    "\n\n[^n]: Here."
)
REFUSAL = "Your sources do not contain an answer to this question."
# In the dark words fade; on a phone a button has lost its name, and in the dark a link looks as the words around it.
FAULTY = """<!doctype html><html lang="en"><title>Faults</title><meta name="viewport" content="width=device-width">
<style>
    a { color: #06c; text-decoration: none } button i { display: none }
    @media (prefers-color-scheme: dark) { p { color: #eee } }
    @media (width > 400px) { a { text-decoration: underline } button i { display: inline } }
    @media (width < 400px) and (prefers-color-scheme: dark) { a { color: #111 } div { color: #000 } }
</style>
<main><h1>Faults</h1><p>Words.</p><div>Here is <a href="/">a link</a> in a line.</div>
<button><i>Act</i></button></main>"""
# Routes that are no pages: acts, which lead to a page, and what is read by scripts, programs and people's own tools.
NO_PAGES = {
    "here",
    "running-chats",
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
    with stage(tmp_path_factory.mktemp("everywhere") / "data", more=RIGHTS) as found:
        yield found


@pytest.fixture(scope="module")
def paths(place: Stage) -> list[str]:
    """Every page, the chat with an answer of each kind among them."""
    with place.page() as page:
        kinds = ((RICH, False, "Limits"), (REFUSAL, False, "Nothing in"), ("Half", True, "broke off"))
        for text, breaks, sign in kinds:
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
        "/dashboard/health",
    ]


def test_every_page_of_the_route_list_is_walked(paths: list[str]) -> None:
    walked = {resolve(path.split("?")[0]).url_name for path in paths if path != "/nowhere"} | {
        "sign-in",
        "sign-in-code",
    }
    assert walked | NO_PAGES == {entry.name for entry in urls.urlpatterns}


def test_the_checker_finds_what_is_wrong_in_one_scheme_or_at_one_size_only(place: Stage) -> None:
    """Or else nothing found would mean nothing."""
    with place.page(None, bypass_csp=True) as page:
        page.set_content(FAULTY)
        broken = violations_everywhere(page, [WIDE, PHONE])
    found = {way: sorted(line.split(":")[0] for line in lines) for way, lines in broken.items()}
    assert found == {
        "1280, dark": ["color-contrast"],
        "390, light": ["button-name"],
        "390, dark": ["color-contrast", "link-in-text-block"],
    }


def test_no_rule_of_access_is_broken(place: Stage, paths: list[str]) -> None:
    """Wide and on a phone, in light and dark."""
    with place.page(bypass_csp=True, refused=404) as page:
        broken = {}
        for path in paths:
            page.goto(path)
            broken[path] = violations_everywhere(page, [WIDE, PHONE])
    assert {path: found for path, found in broken.items() if found} == {}


def test_no_rule_of_access_is_broken_at_the_gate(place: Stage) -> None:
    with place.page(None, bypass_csp=True, refused=422) as page:
        assert violations_everywhere(page, [WIDE, PHONE]) == {}
        page.fill("[name=email]", "nobody@example.org")
        page.fill("[name=password]", "wrong")
        page.press("[name=password]", "Enter")
        page.wait_for_selector("[role=alert]")
        assert violations_everywhere(page, [WIDE, PHONE]) == {}


def test_no_rule_of_access_is_broken_while_an_answer_grows(place: Stage) -> None:
    gate = place.writer.gate()
    place.writer.will_say("Sixty [1]", gate, " seconds.")
    with place.page(viewport=WIDE, bypass_csp=True) as page:
        ask(page, "How long may an agent be silent?")
        page.wait_for_selector(".prose:has-text('Sixty')")
        assert violations_everywhere(page, [WIDE, PHONE]) == {}
        gate.open()
        page.wait_for_selector("[data-takes]")


@pytest.mark.parametrize("who", ["alice", "dora"])
def test_no_page_scrolls_sideways_in_either_direction(place: Stage, paths: list[str], who: str) -> None:
    """On a phone and at 400 percent. German words are longer; and for right to left the same pages are turned."""
    own = [path for path in paths if not path.startswith("/chats/") or "?q=" in path or path == "/chats/"]
    with place.page(who, viewport=PHONE, refused=404) as page:
        wide = {}
        for path in paths if who == "alice" else own:
            page.set_viewport_size(PHONE)
            page.goto(path)
            for size, direction in product((PHONE, ZOOMED), ("ltr", "rtl")):
                page.set_viewport_size(size)
                page.evaluate("(direction) => { document.documentElement.dir = direction }", direction)
                if found := page.evaluate(SIDEWAYS):
                    wide[path, size["width"], direction] = found
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
