"""A trap on every page: text of strangers runs nothing and fetches nothing, wherever it is shown.

Attacks 38, 69 and 77: the payloads stand in titles, questions, answers, sources, names of people, groups, keys and
agents; a browser then goes through all pages and all lists of the admin site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.browser import Stage, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

# Each calls `trapped()` or fetches something called trap; together within the 150 characters of a name.
SHORT = [
    "<img src=/trap onerror=trapped()>",
    "<svg onload=trapped()>",
    "<script>trapped()</script>",
    "\"autofocus onfocus=trapped() x='",
    "</title><script>trapped()</script>",
    "javascript:trapped()",
]
LONG = "\n\n".join(
    [
        *SHORT,
        "<iframe srcdoc='<script>parent.trapped()</script>'></iframe>",
        "<style>@import '/trap.css'; body { background: url(/trap.png) }</style>",
        "<link rel=stylesheet href=/trap.css><base href=//127.0.0.1:9/trap/>",
        "<meta http-equiv=refresh content='0;/trap'>",
        "[a](javascript:trapped()) [b](data:text/html,<script>trapped()</script>) [c](&#106;avascript:trapped())",
        "[d](JaVaScRiPt:trapped()) [e](vbscript:trapped()) <javascript:trapped()> [f](//127.0.0.1:9/trap)",
        "![x](http://127.0.0.1:9/trap.png) ![r][r] <http://127.0.0.1:9/trap>",
        "[r]: http://127.0.0.1:9/trap.png",
        "```html\n<script>trapped()</script>\n```",
        "$$\\href{javascript:trapped()}{x} \\text{<img src=/trap onerror=trapped()>}$$",
        "- [ ] <form action=/trap><button formaction=javascript:trapped()>x</button></form>",
        "| <b onmouseover=trapped()>x</b> |\n|---|\n| <details open ontoggle=trapped()>x</details> |",
        "A note[^1].\n\n[^1]: <video src=/trap.mp4 autoplay onerror=trapped()></video>",
        "\u202e{{ 7|add:7 }} ${trapped()} #{trapped()} %3Cscript%3Etrapped()%3C/script%3E",
    ]
)
SETTING = """
import json
from django.utils import timezone
from accounts import audit
from accounts.models import Group, Token, User
from privategpt import ingest
from privategpt.models import Chat, Citation, Message
SHORT, LONG = json.loads(TEXTS)
root = User.objects.create_superuser("root@example.org", PASSWORD, name=SHORT[0])
group = Group.objects.create(name=SHORT[1], description=LONG)
root.groups.add(group, Group.objects.create(name=SHORT[4]))
for number, name in enumerate(SHORT):
    user = User.objects.create_user(f"x{number}@example.org", PASSWORD, name=name)
    user.groups.add(group)
    Token.objects.issue(Token.Kind.API, root, name=name, scopes=["chats"])
    Token.objects.issue(Token.Kind.AGENT, root, name=name)
    Chat.objects.create(owner=root, title=name)
    audit.record("x", name, by=user, way=name[:30])
    source = ingest.store(root, title=name, content="# " + name + "\\n\\n" + LONG, groups=[group], public=False)
    source.state, source.state_reason = "error", LONG
    source.save()
States = Message.State
chat = Chat.objects.create(owner=root, title=SHORT[2])
for number, state in enumerate((States.COMPLETE, States.STOPPED, States.FAILED)):
    message = Message.objects.create(
        chat=chat, position=number, question=LONG, answer=LONG + " [1]", state=state, error=LONG,
        finished_at=timezone.now(), trace={"model": SHORT[0], "searched": LONG, "found": []},
    )
    Citation.objects.create(
        message=message, source=source, number=1, is_cited=True, heading=SHORT[2], start=0, end=40, context=LONG,
        score=1.0,
    )
print(chat.pk, message.pk, source.pk)
"""
HREFS = "found => found.map((one) => one.getAttribute('href'))"
SHOWN_AGAIN = ("chats/?q=", "sources?q=", "sources/bench?q=", "nowhere/")
TRAP = """window.hits = []; window.trapped = () => { window.hits.push(String(new Error().stack)) };
addEventListener("securitypolicyviolation", (event) => window.hits.push("policy: " + event.blockedURI));"""
# What a loaded page still does of itself is begun before this ends: a refresh, the events of what it opens and focuses,
# a video that is not there.
CALM = """async () => {
    for (const turn of [1, 2])
        await new Promise((done) => setTimeout(() => requestIdleCallback(() => requestAnimationFrame(done)), 25));
}"""
BAITS = [
    "<meta http-equiv=refresh content='0;/trap'>",
    "<details open ontoggle=trapped()>x</details>",
    "<input autofocus onfocus=trapped()>",
    "<video src=/trap.mp4 autoplay onerror=trapped()></video>",
    "<p onmouseover=trapped() style='position: fixed; inset: 0'>x</p>",
    "<iframe srcdoc='<script>parent.trapped()</script>'></iframe>",
    "<a href=javascript:trapped()>x</a>",
]
LIVE = """[...document.querySelectorAll("*")].flatMap((one) => [...one.attributes]
    .filter(({ name, value }) => /^on/.test(name)
        || (/^(href|src|action|formaction|srcdoc|data|xlink:href)$/.test(name)
            && /^\\s*(javascript|vbscript|data):/i.test(value)))
    .map(({ name, value }) => `${one.localName} ${name}=${value}`))
    .concat([...document.querySelectorAll("main :is(img, iframe, object, embed, video, audio, base, link, style)")]
        .filter((one) => !one.getAttribute("src")?.startsWith("/static/admin/"))
        .map((one) => one.outerHTML.slice(0, 100)))"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    more = f"TEXTS = {json.dumps([SHORT, LONG])!r}\n{SETTING}"
    with stage(tmp_path_factory.mktemp("trap") / "data", more=more) as found:
        yield found


def walk(page: Page, paths: list[str]) -> dict[str, list[str]]:
    """What was caught on each page."""
    caught: dict[str, list[str]] = {}
    fetched: list[str] = []
    home = page.url[: page.url.index("/", len("http://"))]
    page.add_init_script(TRAP)
    page.on("request", lambda request: fetched.append(request.url))
    page.on("dialog", lambda dialog: fetched.append(f"trap: a dialog says {dialog.message}"))
    for path in paths:
        fetched.clear()
        page.goto(path)
        page.mouse.move(400, 300)
        page.evaluate(CALM)
        hits: list[str] = page.evaluate("window.hits")
        strange = [url for url in fetched[1:] if "trap" in url or not url.startswith(home)]
        caught[path] = [*hits, *strange, *page.evaluate(LIVE)]
    return {path: found for path, found in caught.items() if found}


def test_the_trap_catches(place: Stage) -> None:
    """Or else no hit would mean nothing."""
    with place.page("root", refused=404) as page:
        page.add_init_script(TRAP)
        page.goto("/agents")
        with page.expect_request("**/trap"):
            page.evaluate("() => { document.querySelector('main').innerHTML = '<img src=/trap>' }")
        page.evaluate("trapped()")
        assert page.evaluate("window.hits.length") == 1
        assert page.evaluate(LIVE) == ['<img src="/trap">']


def test_the_walk_sees_what_acts_after_a_page_is_loaded(place: Stage) -> None:
    def serves(route: Route) -> None:
        bait = BAITS[int(route.request.url.rsplit("/", 1)[1])]
        route.fulfill(body=f"<!doctype html><title>x</title><main>{bait}</main>", content_type="text/html")

    with place.page(None) as page:
        page.route("**/trap*", lambda route: route.fulfill(status=204))
        page.route("**/bait/*", serves)
        paths = [f"/bait/{number}" for number in range(len(BAITS))]
        caught = walk(page, paths)
    acted = [path for path, found in caught.items() if any(line.startswith(("Error", "http")) for line in found)]
    assert acted == paths[:-1]  # not only seen standing there; nobody clicks on the last
    assert list(caught) == paths


def test_no_page_runs_or_fetches_what_strangers_wrote(place: Stage) -> None:
    chat, message, source = place.said.split()[-3:]
    paths = [
        *("/", "/chats/", "/chats/?q=trapped", f"/chats/{chat}/", f"/chats/{chat}/?edit={message}"),
        *(
            "/sources",
            "/sources?q=trap",
            "/sources/write",
            f"/sources/{source}/",
            f"/sources/{source}/?start=0&end=400",
        ),
        *(f"/sources/{source}/edit", f"/sources/{source}/move", "/sources/bench?q=trapped+script+onerror"),
        *(
            "/sources/bench?q=trapped&as=x0%40example.org",
            "/agents",
            "/account",
            "/account/tokens",
            "/account/sessions",
        ),
    ]
    with place.page("root") as page:
        assert walk(page, paths) == {}
        page.goto(f"/chats/{chat}/")
        shown = page.inner_text("main")
    assert "<svg onload=trapped()>" in shown, "it was not shown at all"


def test_no_list_of_the_admin_site_runs_or_fetches_what_strangers_wrote(place: Stage) -> None:
    with place.page("root") as page:
        page.goto("/admin/")
        links = page.eval_on_selector_all("#content-main a[href^='/admin/'], #content a[href^='/admin/']", HREFS)
        lists = sorted({link for link in links if link.count("/") >= 4 and not link.endswith(("/add/", "/change/"))})
        assert len(lists) >= 6
        rows = []
        for path in lists:
            page.goto(path)
            rows += page.eval_on_selector_all("#result_list th a", f"found => ({HREFS})(found).slice(0, 2)")
        assert walk(page, [*lists, *rows, "/admin/"]) == {}


def test_what_is_typed_where_a_page_answers_runs_nothing(place: Stage) -> None:
    """Searched words, a preview, a wrong address, a name refused: they come back on the page."""
    with place.page("root", refused=404) as page:
        caught = walk(
            page,
            [f"/{where}{payload}" for payload in (quote(text, safe="") for text in SHORT) for where in SHOWN_AGAIN],
        )
        assert caught == {}
        page.goto("/sources/write")
        page.fill("[name=content]", LONG)
        page.click("button:has-text('Preview')")
        page.wait_for_selector("#preview *")
        assert page.evaluate("window.hits") == []
        assert page.evaluate(LIVE) == []
