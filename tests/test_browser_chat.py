"""Chat as people meet it: a real browser, a real server, and a model whose every word the test writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import Stage, ask, comes, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUESTION = "How long may an agent be silent, and what happens to its question?"
FIRST = "An agent is dropped after **60 seconds** [1], and its"
REST = " question goes to another agent [2].\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```bash\nexport A=1\n```\n"
PHONE = {"width": 390, "height": 844}
TRAP = (
    "<script>document.title='trapped'</script><img src=/trap onerror=\"document.title='trapped'\">"
    "![x](http://127.0.0.1:9/trap.png) [a](javascript:document.title='trapped')"
    "<svg onload=\"document.title='trapped'\">"
    "\n\n```html\n<script>document.title='trapped'</script>\n```"
    "\n\n![r][r]\n\n[r]: http://127.0.0.1:9/trap.png\n\n[1] \u202etxt"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("browser") / "data") as found:
        yield found


def finished(page: Page) -> None:
    page.wait_for_selector(".exchange:last-of-type .acts [data-takes]")


def answered(place: Stage, page: Page, question: str = QUESTION) -> None:
    place.writer.will_say(FIRST, REST)
    ask(page, question)
    finished(page)


def test_an_answer_streams_and_is_then_rendered(place: Stage) -> None:
    gate = place.writer.gate()
    place.writer.will_say(FIRST, gate, REST)
    with place.page() as page:
        ask(page, QUESTION)
        page.wait_for_selector("strong:has-text('60 seconds')")
        assert page.inner_text(".exchange h2") == QUESTION
        assert page.is_visible("button:has-text('Stop')")
        assert page.inner_text(".source:visible") != ""
        gate.open()
        finished(page)
        assert page.inner_text(".prose strong") == "60 seconds"
        assert page.locator(".prose table").count() == 1
        assert page.inner_text("[data-said]") == "Answer complete."
        assert page.is_visible("button:has-text('Ask')")


def test_the_next_question_appears_without_a_reload_and_keeps_the_focus(place: Stage) -> None:
    with place.page() as page:
        answered(place, page)
        page.evaluate("window.stayed = true")
        place.writer.will_say("Twice.")
        ask(page, "How often is it asked elsewhere?")
        page.wait_for_selector("text=Twice.")
        finished(page)
        assert page.evaluate("window.stayed")
        assert page.locator(".exchange").count() == 2
        comes(page, "document.activeElement.name === 'question'")
        assert page.input_value("[name=question]") == ""


def test_shift_enter_breaks_the_line(place: Stage) -> None:
    with place.page() as page:
        page.fill("[name=question]", "One")
        page.press("[name=question]", "Shift+Enter")
        page.type("[name=question]", "Two")
        assert page.input_value("[name=question]") == "One\nTwo"


def test_stop_ends_the_answer_and_keeps_what_was_written(place: Stage) -> None:
    gate = place.writer.gate()
    place.writer.will_say(FIRST, gate, REST)
    with place.page() as page:
        ask(page, QUESTION)
        page.wait_for_selector("strong:has-text('60 seconds')")
        page.press("[name=question]", "Escape")
        page.wait_for_selector("text=Stopped. What was written is kept.")
        assert "60 seconds" in page.inner_text(".prose")
        assert "goes to another agent" not in page.content()
        comes(page, "document.activeElement.name === 'question'")
    gate.open()


def test_a_reload_and_a_second_tab_join_in(place: Stage) -> None:
    gate = place.writer.gate()
    place.writer.will_say(FIRST, gate, REST)
    with place.page() as page:
        ask(page, QUESTION)
        page.wait_for_selector("strong:has-text('60 seconds')")
        page.reload()
        page.wait_for_selector("strong:has-text('60 seconds')")
        with place.page() as other:
            other.goto(page.url)
            other.wait_for_selector("strong:has-text('60 seconds')")
            gate.open()
            for each in (page, other):
                finished(each)
                assert each.inner_text(".prose > p").endswith("goes to another agent2.")


def test_leaving_does_not_stop_the_answer(place: Stage) -> None:
    gate = place.writer.gate()
    place.writer.will_say(FIRST, gate, REST)
    with place.page() as page:
        ask(page, QUESTION)
        page.wait_for_selector("strong:has-text('60 seconds')")
        url = page.url
        page.goto("/chats/")
        gate.open()
        page.goto(url)
        finished(page)
        assert "goes to another agent" in page.inner_text(".prose")


def test_a_citation_is_tied_to_its_passage_and_opens_it_in_the_source(place: Stage) -> None:
    with place.page(viewport={"width": 1280, "height": 800}) as page:
        answered(place, page)
        page.click(".prose .mark >> nth=1")
        assert page.get_attribute(".prose .mark >> nth=1", "aria-current") == "true"
        chosen = page.locator(".source:has(> [aria-current])")
        assert chosen.get_attribute("data-number") == "2"
        assert page.locator(".cord.fall").evaluate("cord => getComputedStyle(cord).display") == "block"
        passage = chosen.locator("q").inner_text()
        chosen.locator("a").nth(1).click()
        page.wait_for_url("**/sources/**")
        marked = page.inner_text("#passage")
        assert passage.rstrip("….")[:40] in " ".join(marked.split())


def test_citations_are_links_while_the_answer_grows(place: Stage) -> None:
    gate, end = place.writer.gate(), place.writer.gate()
    place.writer.will_say(
        "Dropped after `a[1]` 60 seconds [", "1].", gate, " Asked elsewhere [2] [77]", end, " at once."
    )
    with place.page(viewport={"width": 1280, "height": 800}) as page:
        ask(page, QUESTION)
        page.wait_for_selector("[data-grown]:has-text('60 seconds')")
        assert [mark.inner_text() for mark in page.locator("[data-grown] .mark").all()] == ["1"]
        assert page.locator(".source:visible").count() == 1
        page.click("[data-grown] .mark")
        assert page.locator(".source:has(> [aria-current])").get_attribute("data-number") == "1"
        assert page.locator(".cord.fall").evaluate("cord => getComputedStyle(cord).display") == "block"
        gate.open()
        page.wait_for_selector("[data-grown] .mark >> nth=1")
        page.reload()
        page.wait_for_selector("[data-grown] .mark >> nth=1")
        assert page.locator(".source:visible").count() == 2
        end.open()
        page.wait_for_selector("[data-takes]")
        assert page.inner_text(".prose > p") == "Dropped after a[1] 60 seconds1. Asked elsewhere2 at once."


def test_an_answer_can_be_asked_again_edited_and_copied(place: Stage) -> None:
    with place.page() as page:
        answered(place, page)
        page.click("[data-takes]")
        page.wait_for_selector("text=Copied")
        assert page.evaluate("navigator.clipboard.readText()") == FIRST + REST
        place.writer.will_say("The second try.")
        page.click("text=Ask again")
        page.wait_for_selector("text=The second try.")
        finished(page)
        assert page.locator(".exchange").count() == 1
        page.click("[aria-label='Edit the question']")
        place.writer.will_say("The third.")
        page.fill("#edited", "What is a gland nut?")
        page.click(".edit >> text=Ask again")
        page.wait_for_selector("text=The third.")
        finished(page)
        assert page.inner_text(".exchange h2") == "What is a gland nut?"
        assert page.locator(".exchange").count() == 1


def test_a_failure_says_what_happened_and_can_be_tried_again(place: Stage) -> None:
    place.writer.will_say(FIRST, breaks=True)
    with place.page() as page:
        ask(page, QUESTION)
        page.wait_for_selector("[role=alert]:has-text('The answer broke off.')")
        assert "60 seconds" in page.inner_text(".prose")
        place.writer.will_say("Whole now.")
        page.click("text=Try again")
        page.wait_for_selector("text=Whole now.")
        finished(page)


def test_everything_works_without_script(place: Stage) -> None:
    gate = place.writer.gate()
    place.writer.will_say(FIRST, gate, REST)
    sign_in_first(place, "bob")
    with place.page("bob", java_script_enabled=False) as page:
        page.fill("[name=question]", QUESTION)
        page.click("button:has-text('Ask')")
        assert page.inner_text(".exchange h2") == QUESTION
        gate.open()
        page.click("noscript a")
        assert page.inner_text(".prose strong") == "60 seconds"
        page.click(".prose .mark >> nth=0")
        assert page.locator(".source:target q").is_visible()
        second = place.writer.gate()
        place.writer.will_say("Twi", second, "ce.")
        page.fill("[name=question]", "How often?")
        page.click("button:has-text('Ask')")
        second.open()
        page.click("noscript a")
        page.wait_for_selector("text=Twice.")
        page.click("[aria-label=More]")
        page.click("button:has-text('Rename')")
        page.fill("[name=title]", "Silent agents")
        page.click("button:has-text('Save')")
        assert page.inner_text("h1") == "Silent agents"
        page.click("[aria-label=Pin]")
        assert "Pinned" in page.inner_text(".history")
        page.fill("[name=q]", "twice")
        page.press("[name=q]", "Enter")
        assert page.inner_text("main mark").lower() == "twice"
        page.click("main .history a:has(mark)")
        page.click("[aria-label=More]")
        page.click("button:has-text('Delete')")
        page.click("button:has-text('Undo')")
        assert page.inner_text("h1") == "Silent agents"


def sign_in_first(place: Stage, who: str) -> None:
    with place.page(who):
        """Leaves the session behind."""


def test_all_goes_by_keyboard(place: Stage) -> None:
    with place.page() as page:
        answered(place, page)
        page.keyboard.press("Tab")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("i")
        comes(page, "document.activeElement.name === 'question'")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("/")
        comes(page, "document.activeElement.name === 'q'")
        page.evaluate("document.activeElement.blur()")
        page.focus(".prose .mark")
        assert page.locator(".source:has(> [aria-current])").get_attribute("data-number") == "1"
        page.keyboard.press("Enter")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("?")
        page.wait_for_selector("#keys:popover-open")
        page.keyboard.press("Escape")
        page.keyboard.press("2")
        page.wait_for_url("**/sources/**")


def test_a_second_question_waits_for_the_first_and_is_not_lost(place: Stage) -> None:
    with place.page() as page, place.page(refused=409) as other:
        answered(place, page)
        other.goto(page.url)
        gate = place.writer.gate()
        place.writer.will_say("One", gate, " two.")
        ask(page, "The first?")
        page.wait_for_selector("text=One")
        with other.expect_response("**/ask") as response:
            ask(other, "The second?")
        assert response.value.status == 409
        other.wait_for_selector("#foot:has-text('under way')")
        assert other.input_value("[name=question]") == "The second?"
        gate.open()
        page.wait_for_selector("text=One two.")
        finished(page)


def test_search_finds_while_one_types(place: Stage) -> None:
    with place.page() as page:
        answered(place, page)
        page.fill("[data-finds]", "another agent")
        page.wait_for_selector(".history mark")
        page.fill("[data-finds]", "")
        page.wait_for_selector(".history h2:has-text('Today')")


def test_no_sources_is_kept_and_nothing_is_cited(place: Stage) -> None:
    with place.page() as page:
        page.click("[popovertarget=scope]")
        page.check("[name=scope][value=none]")
        assert "No sources" in page.inner_text("[popovertarget=scope]")
        page.keyboard.press("Escape")
        place.writer.will_say("From memory [1].")
        ask(page, "Who are you?")
        page.wait_for_selector("text=From memory")
        finished(page)
        assert page.locator(".source").count() == 0
        page.reload()
        assert "No sources" in page.inner_text("[popovertarget=scope]")
        assert "source [1]" not in str(place.writer.served.requests[-1].body)


def test_a_payload_runs_nothing_and_fetches_nothing(place: Stage) -> None:
    place.writer.will_say(TRAP)
    with place.page() as page:
        fetched: list[str] = []
        page.on("request", lambda request: fetched.append(request.url))
        ask(page, TRAP)
        finished(page)
        page.reload()
        page.goto("/chats/?q=trapped")
        assert "trapped" not in page.title()
        assert not [url for url in fetched if "trap" in url and "q=trapped" not in url]
        assert page.locator("img, iframe, object, embed").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_and_never_scrolls_sideways(place: Stage, scheme: str) -> None:
    with place.page(viewport=PHONE, color_scheme=scheme) as page:
        answered(place, page)
        for path in (page.url, "/", "/chats/"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(19, 23, 22)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_a_german_reader_reads_german(place: Stage) -> None:
    with place.page("dora", locale="de-DE") as page:
        answered(place, page)
        assert page.get_attribute("html", "lang") == "de"
        words = page.inner_text("main") + page.inner_text(".history")
        assert "Noch einmal fragen" in words
        assert not re.search(r"\b(Ask|Stop|Copy|Search|Sources|New chat|Today|passages)\b", words)


def test_the_first_page_is_small_and_nothing_moves(place: Stage) -> None:
    """Sizes as they were on the wire, headers included; what `ready to type` takes is for `python -m bench.pages`."""
    with place.page() as page:
        wire = page.context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.send("Network.setCacheDisabled", {"cacheDisabled": True})
        sizes: list[float] = []
        wire.on("Network.loadingFinished", lambda found: sizes.append(found["encodedDataLength"]))
        page.add_init_script(
            "window.moved = 0; new PerformanceObserver((list) => list.getEntries().forEach((entry) => "
            "{ moved += entry.value; })).observe({ type: 'layout-shift', buffered: true });"
        )
        page.goto("/", wait_until="networkidle")
        print(len(sizes), sum(sizes))
        assert 5 < len(sizes) <= 12
        assert sum(sizes) < 90_000
        assert page.evaluate("moved") == 0
        answered(place, page)
        page.reload(wait_until="networkidle")
        assert page.evaluate("moved") == 0


def test_nobody_else_reads_it(place: Stage) -> None:
    with place.page() as page:
        answered(place, page)
        url = page.url.split("#")[0]
        grows = page.get_attribute(".exchange", "data-piece")
    sign_in_first(place, "charlie")
    with place.page("charlie") as page:
        for path in (url, grows, f"{grows}events"):
            assert path
            assert page.request.get(path).status == 404
