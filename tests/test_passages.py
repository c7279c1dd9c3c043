"""Markdown to passages: where a text is cut, and where it is not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privategpt.retrieval.passages import UNCUT, WHOLE, Passage, passages

PROSE = "The relay keeps a queue. It is first in, first out. " * 12  # about 620 characters


def texts(source: str) -> list[str]:
    return [passage.text for passage in passages(source)]


def holds(source: str, found: list[Passage]) -> bool:
    return all(source[passage.start : passage.end] == passage.text for passage in found)


def test_a_short_text_stays_whole() -> None:
    source = "# Title\n\nOne.\n\n## Part\n\nTwo."
    assert texts(source) == [source]


def test_each_section_knows_the_path_of_its_headings() -> None:
    source = f"# Guide\n\n{PROSE}\n\n## Install\n\n{PROSE}\n\n### Linux\n\n{PROSE}\n\n## Use\n\n{PROSE}"
    found = passages(source)
    assert [passage.heading for passage in found] == [
        "Guide",
        "Guide › Install",
        "Guide › Install › Linux",
        "Guide › Use",
    ]
    assert holds(source, found)


def test_underlined_headings_count() -> None:
    found = passages(f"Guide\n=====\n\n{PROSE}\n\nInstall\n-------\n\n{PROSE}\n\n{PROSE}\n\n{PROSE}")
    assert found[1].heading == "Guide › Install"


def test_code_is_not_cut() -> None:
    code = "```python\n" + "x = 1\n\n# no heading\n" * 200 + "```"
    found = texts(f"{PROSE}\n\n{code}\n\n{PROSE}")
    assert any(code in text for text in found)


def test_a_table_is_not_cut() -> None:
    table = "| name | value |\n|---|---|\n" + "| speed | high |\n" * 200
    assert any(table.strip() in text for text in texts(f"{PROSE}\n\n{table}\n\n{PROSE}"))


def test_what_is_too_large_is_cut_between_lines() -> None:
    found = texts("```\n" + "a line of code\n" * 2_000 + "```")
    assert max(map(len, found)) <= UNCUT
    assert all(text.endswith(("a line of code", "```")) for text in found)


def test_long_prose_is_cut_between_sentences() -> None:
    found = texts(PROSE.strip() * 20)
    assert len(found) > 5
    assert all(text.endswith(".") and len(text) <= WHOLE for text in found)


def test_ideographs_make_smaller_passages() -> None:
    assert max(map(len, texts("知识库保存资料。" * 1_000))) <= WHOLE // 2


def test_windows_line_ends_are_kept() -> None:
    source = f"# A\r\n\r\n{PROSE}\r\n\r\n# B\r\n\r\n{PROSE}\r\n\r\n{PROSE}\r\n\r\n{PROSE}\r\n"
    found = passages(source)
    assert [passage.heading for passage in found][:2] == ["A", "B"]
    assert holds(source, found)


@pytest.mark.parametrize("source", ["", " \n\t\n"])
def test_blank_text_has_no_passages(source: str) -> None:
    assert passages(source) == []


@given(st.text(alphabet=st.sampled_from("ab #`~|-=>\n\r\t.。中\u0301"), max_size=3_000))
def test_offsets_are_true_and_nothing_is_lost(source: str) -> None:
    found = passages(source)
    assert holds(source, found)
    rest = list(source)
    for passage in found:
        rest[passage.start : passage.end] = " " * (passage.end - passage.start)
    assert not "".join(rest).strip()


HOSTILE = {
    "one line": "a" * 1_000_000,
    "fences": "```\n" * 250_000,
    "headings": "# h\n" * 250_000,
    "quotes": ">" * 1_000_000,
    "backticks": "`" * 1_000_000,
    "blank": " " * 1_000_000,
    "nested lists": "\n".join(" " * depth + "- x" for depth in range(1_400)),
    "tables": "|a|b|\n|-|-|\n" * 80_000,
    "indented": "    x\n\n" * 140_000,
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_takes_linear_time(source: str) -> None:
    started = time.process_time()
    found = passages(source)
    assert time.process_time() - started < 10
    assert all(len(passage.text) <= UNCUT for passage in found)


def test_each_piece_of_a_table_begins_with_the_header_row() -> None:
    header = "| part | torque |\n|---|---|\n"
    source = "# Torques\n\n" + header + "".join(f"| P{number} | {number} Nm of torque |\n" for number in range(600))
    first, *others = passages(source)
    assert source[first.start : first.end] == first.text
    assert others
    for piece in others:
        assert piece.text == header + source[piece.start : piece.end]
        assert piece.heading == "Torques"


def test_a_table_that_is_not_cut_repeats_nothing() -> None:
    source = "| a | b |\n|---|---|\n| 1 | 2 |\n\nText."
    assert [piece.text for piece in passages(source)] == [source]
