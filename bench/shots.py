"""Pictures made from the real pages: `make shots`, or `python -m bench.shots [FOLDER]`.

Starts a server on a scratch data folder with sample people, sources and answers, drives Chromium over its pages and
writes PNGs to look at into FOLDER (default: shots/, which is not committed). docs/chat.svg is the picture of the
README: the same page's HTML and CSS as one text, light or dark as its reader's device is."""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser import Stage, ask, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "chat.svg"
CAPTURE = (ROOT / "bench" / "capture.js").read_text()
SIZE = {"width": 1280, "height": 720}
PHONE = {"width": 390, "height": 844}
RIGHTS = "from accounts.models import User; User.objects.filter(name='Alice').update(roles=['documents', 'system'])"
MODEL = "sample-model"  # the answers below were written for the picture
LASTS = 1_300  # milliseconds that an answer takes at least: 0.0 s looks like an error
QUESTION = "How long may an agent be silent, and what becomes of its question?"
ANSWERS = {
    "What does ASK_TIMEOUT do?": "It says how many seconds a question may wait for its whole answer [1].",
    "When is an agent asked again?": "As soon as it is back in the pool [1].",
    QUESTION: (
        "An agent that misses two heartbeats, **60 seconds** in all, is taken out of the pool and its socket is "
        "closed [3]. The limit can be changed [1]:\n\n```bash\nexport AGENT_TTL=90   # seconds\n```\n\n"
        "Its question is not lost: before the first piece of the answer it goes back to the front of the line and "
        "another agent gets it. That happens at most twice [2]."
    ),
}
PAGES = {
    "home": "/",
    "chats": "/chats/?q=agent",
    "sources": "/sources",
    "write": "/sources/write",
    "bench": "/sources/bench?q=How+long+may+an+agent+be+silent%3F",
    "agents": "/agents",
    "account": "/account",
    "tokens": "/account/tokens",
    "sessions": "/account/sessions",
    "second-factor": "/account/second-factor",
}
# How many of a thousand pixels differ in colour so that one would see it.
DIFFERENCE = """async ([one, other]) => {
    const drawn = async (png) => {
        const image = new Image();
        image.src = `data:image/png;base64,${png}`;
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
        canvas.drawImage(image, 0, 0);
        return canvas.getImageData(0, 0, image.width, image.height).data;
    };
    const [a, b] = [await drawn(one), await drawn(other)];
    if (a.length !== b.length) return 1000;
    let differing = 0;
    for (let at = 0; at < a.length; at += 4)
        if ([0, 1, 2].some((part) => Math.abs(a[at + part] - b[at + part]) > 32)) differing++;
    return Math.round(differing / (a.length / 4) * 1000);
}"""


def ask_everything(place: Stage, lasts: int = LASTS) -> str:
    """The sample chats, whose answers take so many milliseconds; the path of the last one."""
    with place.page(viewport=SIZE) as page:
        for question, answer in ANSWERS.items():
            page.goto("/")
            gate = place.writer.gate()
            place.writer.will_say(answer[:40], gate, answer[40:])
            ask(page, question)
            page.wait_for_timeout(lasts)
            gate.open()
            page.wait_for_selector(".exchange:last-of-type [data-takes]")
        return page.url.split("#")[0].removeprefix(place.server.url)


@contextmanager
def chat_page(place: Stage, path: str, **options: Any) -> Iterator[Page]:
    """The chat with its last citation chosen, so that the cord is plugged."""
    with place.page(**({"viewport": SIZE, "reduced_motion": "reduce"} | options)) as page:
        page.goto(path)
        page.click(".prose .mark >> nth=-1")
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.mouse.move(0, 0)
        yield page


def capture(place: Stage, path: str) -> str:
    """The chat as SVG."""
    with chat_page(place, path) as page:
        found: str = page.evaluate(CAPTURE, [SIZE["width"], SIZE["height"]])
    return "\n".join(line.rstrip() for line in found.splitlines()) + "\n"


def difference(place: Stage, path: str, picture: Path, scheme: Any) -> int:
    """Pixels in a thousand by which the picture, in an `img`, is another than the page."""
    with chat_page(place, path, color_scheme=scheme) as page:
        real = page.screenshot()
    context = place.browser.new_context(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        drawn = base64.b64encode(picture.read_bytes()).decode()
        page.set_content(f'<body style="margin:0"><img src="data:image/svg+xml;base64,{drawn}">')
        page.wait_for_function("document.images[0].complete")
        shown = page.screenshot()
        texts = [base64.b64encode(png).decode() for png in (real, shown)]
        found: int = page.evaluate(DIFFERENCE, texts)
    finally:
        context.close()
    return found


def photograph(place: Stage, path: str, folder: Path) -> None:
    """Every page as PNG: wide and on a phone, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        for viewport in (SIZE, PHONE):
            ending = f"{viewport['width']}-{scheme}.png"
            with chat_page(place, path, viewport=viewport, color_scheme=scheme) as page:
                page.screenshot(path=folder / f"chat-{ending}")
                for name, address in PAGES.items():
                    page.goto(address)
                    page.screenshot(path=folder / f"{name}-{ending}", full_page=True)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.shots", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "shots", help="for the PNGs (default: shots)")
    folder = parser.parse_args(arguments).folder
    with (
        tempfile.TemporaryDirectory() as folder_of_server,
        stage(Path(folder_of_server) / "data", MODEL, RIGHTS) as place,
    ):
        path = ask_everything(place)
        PICTURE.write_text(capture(place, path))
        photograph(place, path, folder)
        for scheme in ("light", "dark"):
            print(f"{PICTURE.name}, {scheme}: {difference(place, path, PICTURE, scheme)} of 1000 pixels differ.")
    print(f"{PICTURE.name}: {PICTURE.stat().st_size} bytes. The PNGs are in {folder}.")


if __name__ == "__main__":
    main(sys.argv[1:])
