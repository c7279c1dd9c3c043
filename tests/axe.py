"""The accessibility checker axe-core in a page; the package axe-playwright-python carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What a sticky bar covers would count as hidden.
UNSTICK = """document.querySelectorAll(".bar, .head, .composer").forEach(part => { part.style.position = "static" })"""


def violations(page: Page) -> list[str]:
    """Which rules the page breaks, and where. The page's context needs `bypass_csp`, for axe comes from outside."""
    pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(UNSTICK)
    found = Axe().run(page, options={"runOnly": LEVELS, "resultTypes": ["violations"]}).response["violations"]
    return [f"{rule['id']}: {' | '.join(node['html'][:160] for node in rule['nodes'])}" for rule in found]
