"""What a text is made of, as the parser sees it that draws the page."""

from __future__ import annotations

import pytest

from privategpt.structure import blocks, title_in


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# C#\n", "C#"),
        ("# Closed ##\n", "Closed"),
        ("Title\n=====\n", "Title"),
        ("# **Bold** [link](https://x.org) `code`\n", "Bold link code"),
        ("# Tom &amp; \\*Jerry\\*\n", "Tom & *Jerry*"),
        ('<h1 align="center">The <b>title</b></h1>\n', "The title"),
        ('---\ntitle: "From: here"\ntags: [a]\n---\n\nText.\n\n# Other\n', "From: here"),
        ("---\n\nText\n\n---\n\n# Title\n", "Title"),
        ("<!--\n# No title\n-->\n\n# Title\n", "Title"),
        ("``` in line ```\n\n# Title\n", "Title"),
        ("- item\n---\n\n# Title\n", "Title"),
        ("```\n# No title\n```\n# Title\n", "Title"),
        ("\\# No title\n\n# Title\n", "Title"),
        ("    # No title\n\n# Title\n", "Title"),
        ("> # No title\n\n# Title\n", "Title"),
        ("#No title\n\ntext", ""),
    ],
)
def test_the_title_is_what_the_page_shows_as_one(text: str, title: str) -> None:
    assert title_in(text) == title


def test_headings_behind_backticks_in_a_line_are_headings() -> None:
    assert [block.title for block in blocks("``` a ```\n# One\ntext\n## Two\n") if block.level] == ["One", "Two"]


def test_front_matter_is_a_block_of_its_own() -> None:
    first, second, *_ = blocks("---\ntitle: A\n---\nText follows.\n")
    assert (first.kind, first.level, second.kind) == ("front", 0, "")


def test_a_long_text_is_cut_alike_whatever_stands_before() -> None:
    section = "# Head\n\ntext\n\n- a\n- b\n\n```\ncode\n\n# no head\n```\n\n"
    assert [block.title for block in blocks(section * 500) if block.level] == ["Head"] * 500


def test_text_beyond_the_budget_is_paragraphs_and_none_is_lost() -> None:
    text = "# a\n" * 500_000
    found = list(blocks(text))
    assert found[-1].end == len(text) - 1
    assert sum(bool(block.level) for block in found) < 200_000


def test_carriage_returns_end_lines_and_move_nothing() -> None:
    text = "Title\r\n===\r\n\r\n```\r\n# no\r\n```\r\n\r\n# Next #\r\n"
    found = list(blocks(text))
    assert [(block.title, text[block.start : block.end].strip()[:5]) for block in found if block.level] == [
        ("Title", "Title"),
        ("Next", "# Nex"),
    ]
