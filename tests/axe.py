"""The accessibility checker axe-core in a page; the package axe-playwright-python carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playwright.sync_api import Page, ViewportSize

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]  # the only rules whose verdict hangs on light or dark
# What a sticky bar covers would count as hidden, and a colour on its way to the other scheme as the page's own.
STILL = """if (!document.querySelector("style.still")) {
    const style = document.head.appendChild(document.createElement("style"));
    style.className = "still";
    style.textContent =
        ".bar, .head, .composer { position: static !important } *, ::before, ::after { transition: none !important }";
}"""


def violations(page: Page, only: list[str] = LEVELS) -> list[str]:
    """Which rules of these levels or names the page breaks, and where. The page's context needs `bypass_csp`, for axe
    comes from outside."""
    pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(STILL)
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    options = {"runOnly": only, "resultTypes": ["violations"]}
    found = page.evaluate("async (options) => (await axe.run(options)).violations", options)
    return [f"{rule['id']}: {' | '.join(node['html'][:160] for node in rule['nodes'])}" for rule in found]


def violations_everywhere(page: Page, sizes: Iterable[ViewportSize]) -> dict[str, list[str]]:
    """The same for the loaded page at each size in light and dark, as long as it breaks any."""
    found = {}
    for size in sizes:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme="light")
        found[f"{size['width']}, light"] = violations(page)
        page.emulate_media(color_scheme="dark")
        found[f"{size['width']}, dark"] = violations(page, COLOURS)
    page.emulate_media(color_scheme="light")
    return {way: broken for way, broken in found.items() if broken}
