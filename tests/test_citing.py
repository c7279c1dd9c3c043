"""Numbers in an answer: those that were supplied stay, wherever the deltas were cut."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privategpt.citing import Citing, named, without_markers
from privategpt.rendering import Cited, render


def cited(*pieces: str, supplied: int = 3) -> tuple[str, set[int]]:
    citing = Citing(range(1, supplied + 1))
    text = "".join(citing.feed(piece) for piece in pieces)
    return text + citing.finish(), citing.cited


@pytest.mark.parametrize(
    ("said", "shown", "numbers"),
    [
        ("Tea [1].", "Tea [1].", {1}),
        ("Tea [4].", "Tea.", set()),
        ("Tea[9]. It is [2, 7] good [1][8].", "Tea. It is [2] good [1].", {1, 2}),
        ("Ranges [1-3] and [2–5].", "Ranges [1-3] and [2, 3].", {1, 2, 3}),
        ("Other brackets 【2】 and 【5】.", "Other brackets [2] and.", {2}),
        ("Foot [^1] and [^5]", "Foot [^1] and [^5]", {1}),
        ("In `a[9]` and ``b`[9]`` stays, [9] goes.", "In `a[9]` and ``b`[9]`` stays, goes.", set()),
        ("```py\nx[9]\n\ny[9]\n```\nz [9]", "```py\nx[9]\n\ny[9]\n```\nz", set()),
        ("An open ` tick\n\nends with its paragraph [9].", "An open ` tick\n\nends with its paragraph.", set()),
        ("- [ ] a task, [a] and [link](u)", "- [ ] a task, [a] and [link](u)", set()),
        ("Ends open [1", "Ends open [1", set()),
        ("Year [1999999999999]", "Year [1999999999999]", set()),
        ("Nothing was found [0]", "Nothing was found", set()),
        ('She said "so": [1] and "no": [7]', 'She said "so": [1] and "no":', {1}),
        ("See [2]: it says 'so': [1]\n", "See [2]: it says 'so': [1]\n", {1, 2}),
    ],
)
def test_what_stays_and_what_goes(said: str, shown: str, numbers: set[int]) -> None:
    assert cited(said) == (shown, numbers)
    assert cited(*said) == (shown, numbers)


# What looks like a marker and is none, beside one that is.
TEXTS = {
    "a root's index": "\\(\\sqrt[3]{x}\\) so [1]",
    "math in brackets": "\\[\\sqrt[3]{x} = [2]\\] so [1]",
    "a set in dollars": "$x \\in [0, 1]$ and $$y \\in [2, 3]$$ so [1]",
    "math on its own": "$$\n\\sqrt[3]{x}\n$$\n\nso [1]",
    "an environment": "\\begin{align}\nx \\\\[2] y\n\\end{align}\n\nso [1]",
    "indices": "a[0], x[2][3], arr[2], foo.bar[2], f(x)[2], items_2[3] and rowCount[2] so [1]",
    "an assignment": "value[2] = 3, x = [2, 3] so [1]",
    "JSON": '{"ids": [2, 3], "rows": [[2, 3], [3, 2]]} so [1]',
    "JSON in lines": '{\n  "ids": [2],\n  "more": [3]\n} so [1]',
    "JSON whose beginning is far": '{"a": "%s", "ids": [2], "more": [3]} so [1]' % ("word " * 20),
    "years": "As of [2024] and [1999, 2003] so [1]",
    "sets with zero": "within [0, 2] so [1]",
    "a link's text": "[see [2]](https://x.org) and [2](https://x.org) so [1]",
    "a picture": "![fig [2]](https://x.org/i.png) so [1]",
    "a footnote": "Tea[^2] so [1]\n\n[^2]: A note.",
    "an inline note": "Tea^[2] so [1]",
    "an address's name": "[2]: https://x.org\n\nso [1]",
    "code within a list": "- a\n\n  ```\n  x [2]\n  ```\n- so [1]",
    "code in a quote": "> ```\n> x [2]\n> ```\n\nso [1]",
    "indented code": "Thus:\n\n    x [2]\n\nso [1]",
    "tildes": "~~~\n```\n[2]\n~~~\nso [1]",
    "backticks in a line": "``` [2] ``` so [1]",
    "an escaped bracket": "\\[2] so [1]",
    "a backward range": "[5-2] so [1]",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_what_is_no_marker_stays_and_counts_for_nothing(text: str) -> None:
    assert cited(text) == (text, {1})
    assert cited(*text) == (text, {1})


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_the_page_links_what_the_check_counted(text: str) -> None:
    html = render(text, Cited("m1", frozenset({1, 2, 3})))
    assert re.findall(r'class="mark" href="#m1-s(\d)"', html) == ["1"]


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("Tea[1] is [2][3].", {1, 2, 3}),
        ("茶[1]。", {1}),
        ("(since 2019)[1] and **tea.**[2]", {1, 2}),
        ("It costs $5 [1] or $6 [2].", {1, 2}),
        ("One ` tick [1], one $ [2].", {1, 2}),
        ("- a [1]\n\n  text in a list [2]", {1, 2}),
        ("| a [1] | ` |\n|---|---|\n| ` | b [2] |", {1, 2}),
        ("Pumps [1](page 3)", {1}),
        ("[2-3] [1;2]", {1, 2, 3}),
        ("Set $HOME [1] or ${PATH} [2].", {1, 2}),
    ],
)
def test_a_marker_that_stands_behind_a_statement_counts(said: str, numbers: set[int]) -> None:
    assert cited(said) == (said, numbers)
    assert cited(*said) == (said, numbers)
    assert named(said, [1, 2, 3]) == numbers


def test_a_word_that_may_be_of_a_program_is_read_once() -> None:
    def cost(text: str) -> float:
        begin = time.thread_time()
        named(text, [1])
        return time.thread_time() - begin

    hostile, plain = ("aA_1" * 15 + ")[1] ") * 300, ("aa a" * 15 + ".[1] ") * 300
    assert any(
        cost(hostile) < 12 * cost(plain) for _ in range(5)
    )  # many times as much where each character begins anew


def test_an_excerpt_does_without_markers_and_keeps_the_rest() -> None:
    assert without_markers("Tea [1] of [2024] and `a[0]` [2, 3].") == "Tea of [2024] and `a[0]`."


SIGNS = r"[ ] 1 9 , ` ``` a [2] [7] - 【 $ $$ \( \) \[ \] \ ( ) [^1] : | ~~~ Tea = ! ^ \begin{align} \end{align}"
PIECES = [*SIGNS.split(), " ", "\n", "\n\n", "> ", "- ", "    ", "# ", "= ", "| ", '"a": ', "\t"]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_it_does_not_matter_where_the_deltas_were_cut(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    whole = cited(text)
    assert cited(*pieces) == whole
    assert cited(*(text[at : at + size] for at in range(0, len(text), size))) == whole


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
