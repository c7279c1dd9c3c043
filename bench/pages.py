"""`python -m bench.pages`: what a person waits for in the browser, with 500 chats and 10,000 messages.

Server times are taken over one connection that is kept, as the time from the request to the end of its answer; the
rest in headless Chromium. Exit status 1 when a promise was not kept, 2 when a server did not start.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from typing import TYPE_CHECKING, Any

import httpx

from bench import wire
from bench.processes import Server, busy_elsewhere
from bench.timed_upstream import WORDS

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

SERVE = "{python} manage.py serve {port} {key}"
UPSTREAM = "{python} -m bench.timed_upstream {port}"
EMAIL, PASSWORD = "bench@example.org", "a password for a bench"
PAGE_MUST, SEARCH_MUST, READY_MUST, TOKEN_MUST = 40.0, 100.0, 300.0, 60.0  # milliseconds at p50
WIRE_MUST, REQUESTS_MUST = 90_000, 12
STREAMS = 50
SEED = """
from accounts.models import User
from privategpt import ingest
from privategpt.models import Chat, Citation, Message
alice = User.objects.get(email=EMAIL)
source = ingest.store(alice, title="Guide", content="# Guide\\n\\nThe gate closes at nine.", groups=[], public=True)
text = "The quick brown fox jumps over the *lazy* dog, again and again [1].\\n\\n" * 12
chats = Chat.objects.bulk_create(Chat(owner=alice, title=f"Chat number {n}", use_public=True) for n in range(500))
def message(chat, place):
    return Message(chat=chat, position=place, question=f"Question {place}?", answer=text, state="complete")
rows = [message(chats[0], place) for place in range(200)]
rows += [message(chat, place) for chat in chats[1:] for place in range(20)][:9800]
rows[777].answer += " zebra"
Message.objects.bulk_create(rows, batch_size=2000)
Citation.objects.bulk_create(Citation(message=row, source=source, number=1, is_cited=True, heading="Guide", start=9,
    end=33, context="The gate closes at nine.", score=1.0) for row in rows[:200])
print(chats[0].pk)
"""


class Reader:
    """Somebody who is signed in, over one connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._line = http.client.HTTPConnection(wire.HOST, port, timeout=60)
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> str:
        return self._send("GET", path, headers=headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> str:
        body = httpx.QueryParams(fields)
        return self._send("POST", path, str(body), {"Content-Type": "application/x-www-form-urlencoded", **headers})

    def _send(self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> str:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self._line.request(method, path, body or None, {"Cookie": cookie, **(headers or {})})
        answer = self._line.getresponse()
        text = answer.read().decode()
        for header in answer.headers.get_all("Set-Cookie", []):
            name, value = header.split(";")[0].split("=", 1)
            self.cookies[name] = value
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]}")
        return text

    def sign_in(self) -> None:
        self.post("/sign-in", {"email": EMAIL, "password": PASSWORD, **token_in(self.get("/sign-in"))})
        if "sessionid" not in self.cookies:
            raise RuntimeError("Signing in failed.")


def token_in(page: str) -> dict[str, str]:
    """The page's token against forged forms."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    return {"csrfmiddlewaretoken": unescape(found[1]) if found else ""}


def median_ms(work: Callable[[], object], count: int) -> float:
    """Of `count` times, after three to warm up."""
    times = []
    for turn in range(count + 3):
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * 1000 if turn >= 3 else 0.0)
    return statistics.median(times[3:])


def seed(server: Server) -> str:
    """Fills the database; the id of the chat with 200 messages."""
    script = f"EMAIL = {EMAIL!r}\n{SEED}"
    environment = os.environ | {"DATA_DIR": str(server.data), "LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.split()[-1]


# -- the server alone -----------------------------------------------------------------------------


def server_times(server: Server, chat: str, count: int) -> Iterator[bool]:
    reader = Reader(server.port)
    reader.sign_in()
    before, elsewhere, begun = server.cpu(), busy_elsewhere(), time.perf_counter()
    page = median_ms(lambda: reader.get(f"/chats/{chat}/"), count)
    spent, length = server.cpu() - before, time.perf_counter() - begun
    others = (busy_elsewhere() - elsewhere - spent) / length / (os.cpu_count() or 1)
    yield told("chat page, 500 chats, 200 messages", page, "ms", PAGE_MUST)
    print(
        f"  CPU time of the server: {1000 * spent / (count + 3):.1f} ms a page; others took {others:.0%} of the machine"
    )
    for words in ("zebra", "nosuchword lazy", "lazy"):
        path = f"/chats/?{httpx.QueryParams(q=words)}"
        found = median_ms(partial(reader.get, path, **{"X-Piece": "1"}), count // 3)
        yield told(f"search for {words!r} in 10,000 messages", found, "ms", SEARCH_MUST)


async def many_streams(port: int) -> bool:
    """STREAMS readers of as many answers at once; each has to hear every word."""
    reader = Reader(port)
    reader.sign_in()
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in reader.cookies.items())}
    limits = httpx.Limits(max_connections=2 * STREAMS)
    async with httpx.AsyncClient(
        base_url=f"http://{wire.HOST}:{port}", headers=headers, timeout=60, limits=limits, trust_env=False
    ) as client:
        fields = {"question": "Count.", "scope": "none", **token_in((await client.get("/")).text)}
        texts = await asyncio.gather(*[_one_stream(client, fields) for _ in range(STREAMS)])
    wanted = "".join(f"word{number} " for number in range(WORDS))
    whole = sum(text.partition("ms: ")[2] == wanted.strip() for text in texts)
    return told(f"whole answers of {STREAMS} streams at once", whole, "", STREAMS, is_least=True)


async def _one_stream(client: httpx.AsyncClient, fields: dict[str, str]) -> str:
    begun = await client.post("/chats/new", data=fields, headers={"X-Piece": "1"})
    place = re.search(r'data-grows="([^"]+)"', begun.text)
    if place is None:
        raise RuntimeError(f"No answer began: {begun.status_code} {begun.text[:300]}")
    closed = shown = ""
    async with client.stream("GET", place[1]) as stream:
        kind = ""
        async for line in stream.aiter_lines():
            kind = line[7:] if line.startswith("event: ") else kind
            if line.startswith("data: ") and kind == "text":
                piece = json.loads(line[6:])
                closed, shown = closed + piece["closed"], piece["open"]
            elif line.startswith("data: ") and kind == "done":
                break
    return re.sub(r"<[^>]+>", "", closed + shown).strip()


# -- in the browser -------------------------------------------------------------------------------


@contextlib.contextmanager
def chromium(port: int) -> Iterator[Callable[[], "BrowserContext"]]:
    """Makes contexts of somebody who is signed in; each has an empty cache."""
    from playwright.sync_api import sync_playwright

    reader = Reader(port)
    reader.sign_in()
    cookies: list[Any] = [
        {"name": name, "value": value, "url": f"http://{wire.HOST}:{port}"} for name, value in reader.cookies.items()
    ]
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])

        def context() -> "BrowserContext":
            found = browser.new_context(base_url=f"http://{wire.HOST}:{port}")
            found.add_cookies(cookies)
            return found

        yield context
        browser.close()


def first_page(context: Callable[[], "BrowserContext"], count: int) -> Iterator[bool]:
    """The first page with an empty cache: until the composer has the focus and the scripts have run."""
    ready, sizes = [], []
    for _ in range(count):
        with contextlib.closing(context()) as fresh:
            page = fresh.new_page()
            sizes.append(_weigh(page))
            page.goto("/", wait_until="networkidle")
            ready.append(page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
            if page.evaluate("document.activeElement.name") != "question":
                raise RuntimeError("The composer has not the focus.")
    yield told("ready to type, empty cache", statistics.median(ready), "ms", READY_MUST)
    yield told("first page on the wire", statistics.median(map(sum, sizes)), "bytes", WIRE_MUST)
    yield told("requests for it", statistics.median(map(len, sizes)), "", REQUESTS_MUST)


def _weigh(page: "Page") -> list[float]:
    sizes: list[float] = []
    wire_tap = page.context.new_cdp_session(page)
    wire_tap.send("Network.enable")
    wire_tap.on("Network.loadingFinished", lambda found: sizes.append(found["encodedDataLength"]))
    return sizes


SEEN = """() => new Promise((told) => {
  const look = () => {
    const found = /^at (\\d+) ms/.exec([...document.querySelectorAll("[data-grown]")].at(-1)?.textContent || "");
    if (!found) return false;
    requestAnimationFrame(() => setTimeout(() => told(Date.now() - found[1])));
    return true;
  };
  const watch = new MutationObserver(() => look() && watch.disconnect());
  watch.observe(document.body, { childList: true, subtree: true, characterData: true });
  document.querySelector("[name=question]").value = "Count.";
  document.querySelector("[data-asks]").requestSubmit();
})"""


def first_token(context: Callable[[], "BrowserContext"], chat: str, count: int) -> Iterator[bool]:
    """From the endpoint's first word to the frame that shows it, in the chat with 200 messages."""
    times = []
    with contextlib.closing(context()) as fresh:
        page = fresh.new_page()
        page.goto(f"/chats/{chat}/")
        for _ in range(count):
            times.append(page.evaluate(SEEN))
            page.wait_for_selector(".exchange:last-of-type [data-takes]")
    yield told("first word on the screen after the endpoint said it", statistics.median(times), "ms", TOKEN_MUST)
    print(f"  of {count}: {min(times):.0f} to {max(times):.0f} ms")


def told(what: str, found: float, unit: str, must: float, *, is_least: bool = False) -> bool:
    """Prints the line; whether the promise was kept."""
    print(f"{what}: {found:,.0f} {unit} (must {must:,.0f})".replace("  ", " "), flush=True)
    return found >= must if is_least else found <= must


def measure(server: Server, count: int) -> bool:
    chat = seed(server)
    kept = [*server_times(server, chat, count), asyncio.run(many_streams(server.port))]
    with chromium(server.port) as context:
        kept += [*first_page(context, max(3, count // 5)), *first_token(context, chat, max(3, count // 3))]
    return all(kept)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="requests of which the median is taken (60)")
    options = parser.parse_args()
    misdeeds: list[str] = []
    try:
        with Server("upstream", UPSTREAM, settings={}, misdeeds=misdeeds) as upstream:
            settings = {
                "OPENAI_BASE_URL": f"http://{wire.HOST}:{upstream.port}/v1",
                "OPENAI_MODEL": "timed",
                "ADMIN_EMAIL": EMAIL,
                "ADMIN_PASSWORD": PASSWORD,
                "ANSWERS_PER_USER": str(STREAMS),
            }
            with Server("server", SERVE, settings=settings, misdeeds=misdeeds) as server:
                try:
                    is_kept = measure(server, options.count)
                except RuntimeError as error:
                    raise RuntimeError(f"{error}\n{server.log()}") from error
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*misdeeds, sep="\n", end="")
    return 0 if is_kept and not misdeeds else 1


if __name__ == "__main__":
    sys.exit(main())
