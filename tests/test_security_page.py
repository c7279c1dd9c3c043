"""docs/security.md names tests that are there, and leaves out none of the numbers that have to be held."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()
ATTACKS = {6, *range(8, 16), *range(17, 37), 38, 43, 44, *range(60, 65), *range(67, 77), 85, 86, 87}
FAULTS = {9, 10, *range(12, 20), *range(21, 30), 32, 33, 34}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def numbers(text: str) -> set[int]:
    """ "1-3, 5" is 1, 2, 3 and 5."""
    found = re.findall(r"(\d+)(?:-(\d+))?", text)
    return {number for first, last in found for number in range(int(first), int(last or first) + 1)}


def test_each_row_names_tests_that_are_there() -> None:
    for heading in ("Attacks", "Faults", "At the edge"):
        for what, done, shown in rows(heading):
            files = re.findall(r"`([\w/]+\.py)`", shown)
            assert files, what
            assert done, what
            assert [name for name in files if not (ROOT / "tests" / name).is_file()] == [], what


def test_no_number_is_left_out() -> None:
    for heading, wanted in (("Attacks", ATTACKS), ("Faults", FAULTS)):
        assert wanted - {number for what, *_ in rows(heading) for number in numbers(what.split(":")[0])} == set()
