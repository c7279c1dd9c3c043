"""The README's picture: made from the real page, a text, and as an image the same as the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Stage, stage
from tests.test_arrows import ROOT

shots = pytest.importorskip("bench.shots")
PICTURE = ROOT / "docs" / "chat.svg"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("shots") / "data", shots.MODEL) as found:
        yield found


def test_the_readme_shows_the_picture_and_says_what_is_on_it() -> None:
    found = re.search(r"!\[([^\]]{40,})\]\(docs/chat\.svg\)", (ROOT / "README.md").read_text())
    assert found


def test_the_picture_is_small_and_loads_and_runs_nothing() -> None:
    text = PICTURE.read_text()
    assert len(text) < 60_000
    for part in ("<script", "<img", "url(http", "@import", "csrf", "hx-", "onload"):
        assert part not in text, part
    assert set(re.findall(r"\w+://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}


def test_a_new_picture_looks_as_the_page_does_in_light_and_dark(place: Stage, tmp_path: Path) -> None:
    path = shots.ask_everything(place, lasts=0)
    fresh = tmp_path / "chat.svg"
    fresh.write_text(shots.capture(place, path))
    for scheme in ("light", "dark"):
        assert shots.difference(place, path, fresh, scheme) <= 5
