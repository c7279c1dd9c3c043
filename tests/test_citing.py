"""Numbers in an answer: those that were supplied stay, wherever the deltas were cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privategpt.citing import Citing


def cited(*pieces: str, supplied: int = 3) -> tuple[str, set[int]]:
    citing = Citing(range(1, supplied + 1))
    text = "".join(citing.feed(piece) for piece in pieces)
    return text + citing.finish(), citing.cited


@pytest.mark.parametrize(
    ("said", "shown", "numbers"),
    [
        ("Tea [1].", "Tea [1].", {1}),
        ("Tea [4].", "Tea.", set()),
        ("Tea[9] is [2, 7] good [1][8].", "Tea is [2] good [1].", {1, 2}),
        ("Ranges [1-3] and [2–5].", "Ranges [1-3] and [2].", {1, 2, 3}),
        ("Other brackets 【2】 and 【5】.", "Other brackets [2] and.", {2}),
        ("Foot [^1] and [^5]", "Foot [^1] and", {1}),
        ("In `a[9]` and ``b`[9]`` stays, [9] goes.", "In `a[9]` and ``b`[9]`` stays, goes.", set()),
        ("```py\nx[9]\n\ny[9]\n```\nz [9]", "```py\nx[9]\n\ny[9]\n```\nz", set()),
        ("An open ` tick\n\nends with its paragraph [9].", "An open ` tick\n\nends with its paragraph.", set()),
        ("- [ ] a task, [a] and [link](u)", "- [ ] a task, [a] and [link](u)", set()),
        ("Ends open [1", "Ends open [1", set()),
        ("Year [1999999999999]", "Year [1999999999999]", set()),
        ("Nothing was found [0]", "Nothing was found", set()),
    ],
)
def test_what_stays_and_what_goes(said: str, shown: str, numbers: set[int]) -> None:
    assert cited(said) == (shown, numbers)
    assert cited(*said) == (shown, numbers)


@given(
    st.lists(st.sampled_from(["[", "]", "1", "9", ",", " ", "`", "```", "\n", "\n\n", "a", "[2]", "[7]", "-", "【"]))
)
def test_it_does_not_matter_where_the_deltas_were_cut(pieces: list[str]) -> None:
    assert cited(*pieces) == cited("".join(pieces))


def test_words_are_not_held_back() -> None:
    citing = Citing([1])
    assert citing.feed("Tea is") == "Tea is"
    assert citing.feed(" a drink [") == " a drink"
    assert citing.feed("1") == ""
    assert citing.feed("]. It") == " [1]. It"


def test_a_bracket_that_never_closes_holds_little_back() -> None:
    citing = Citing([1])
    shown = citing.feed("[" + "1," * 500)
    assert len("[" + "1," * 500) - len(shown) < 200
