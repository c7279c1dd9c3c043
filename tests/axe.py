"""The accessibility checker axe-core in a page. It is not in the repository: AXE_PATH names its axe.min.js."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE_PATH = os.environ.get("AXE_PATH", "")
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What a sticky bar covers would count as hidden.
UNSTICK = """document.querySelectorAll(".bar, .head, .composer").forEach(part => { part.style.position = "static" })"""
RUN = """levels => axe.run({ runOnly: levels }).then(
    found => found.violations.map(rule => rule.id + ": " + rule.nodes.map(node => node.html).join(" | ")))"""

needs_axe = pytest.mark.skipif(not AXE_PATH, reason="AXE_PATH does not name an axe.min.js")


def violations(page: Page) -> list[str]:
    """Which rules the page breaks, and where."""
    page.evaluate(UNSTICK)
    page.evaluate(Path(AXE_PATH).read_text())
    found: list[str] = page.evaluate(RUN, LEVELS)
    return found
