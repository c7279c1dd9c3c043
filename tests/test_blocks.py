"""An answer that is being written, block by block: what is closed is what the finished page has, wherever it was cut,
and what is open shows no signs of Markdown."""

from __future__ import annotations

import random
import re

import pytest

from privategpt import blocks, rendering
from privategpt.blocks import Blocks
from privategpt.rendering import LONGEST, Cited

CITED = Cited("m0", frozenset({1, 2, 3}))
TABLE = "Values:\n| a | b |\n|---|--:|\n| **1** [2] | `2` |\n| 3 | 4 |\n\nAfter.\n"
LISTS = "- a\n- b\n\n- c\n  more\n\n1. one\n\n2. two\n   - deep\n\n     words\n3. three [2]\n\ntext\n"
MATH = "so\n$$\na\n# b\n$$\nand $x$, \\(y\\)\n\n\\[\nz\n\\]\ndone\n\n$$\nno end\n# Title\n"
CODE = (
    "1. First\n\n   ```py\n   x = 1  # [1]\n\n   # no title\n   ```\n\n2. Second\n\n"
    "~~~\n## no\n~~~\n\n    indented\n\n    code\n"
)
WORDS = (
    "# T\n\nIntro **bold** [1]\nsecond *line*\n\n### H\npara\n===\n## S\n\n> quote\nlazy\n\n> more\n\n***\nlast [1-3]\n"
)
LINKS = "[r]: http://example.org/x\n\nSee [r], `a[1]`, [x](http://e.org) and a note[^a].\n"
NOTES = "[^a]: Said\n    here\n\n    and on\n\nOne[^a] and ^[within], again[^a].\n\n[^b]: more\n\nTwo[^b].\n"
ENDS = "A\r\n\r\nB\r\r- c\r\n- d\r\n\r\nE\r\n1. x\r2. y"
HIDES = "\u202e[1]\n\n- \u2028x\n"
DOCUMENTS = [
    TABLE,
    LISTS,
    MATH,
    CODE,
    WORDS,
    LINKS,
    NOTES,
    ENDS,
    "\n\n",
    "",
    "no end of line",
    "\u202e[1]\n\n- \u2028x\n",
]


def grown(text: str, cuts: random.Random) -> str:
    """The HTML of an answer that came in pieces of all sizes, and was shown after each."""
    found, given, html = Blocks(CITED), 0, ""
    while given < len(text):
        size = cuts.choice([1, 1, 2, 3, 5, 8, 40])
        found.feed(text[given : given + size])
        given += size
        html += found.show().closed
    last = found.finish()
    assert found.closed == len(text)
    return html + last.closed + last.open


@pytest.mark.parametrize("text", DOCUMENTS)
def test_blocks_after_one_another_are_the_finished_page(text: str) -> None:
    for seed in range(25):
        assert grown(text, random.Random(seed)).split() == rendering.render(text, CITED).split()


def test_the_documents_one_after_another_too() -> None:
    text = "\n\n".join(DOCUMENTS[:6])
    for seed in range(5):
        assert grown(text, random.Random(seed)).split() == rendering.render(text, CITED).split()


@pytest.mark.parametrize("text", DOCUMENTS)
def test_who_comes_back_at_a_blocks_end_misses_nothing(text: str) -> None:
    first, begun = Blocks(CITED), ""
    for sign in text:
        first.feed(sign)
        begun += first.show().closed
        second = Blocks(CITED)
        second.feed(text)
        second.begin_at(first.closed)
        last = second.finish()
        assert (begun + last.closed + last.open).split() == rendering.render(text, CITED).split()


def test_a_block_is_closed_when_the_next_one_has_a_line() -> None:
    found = Blocks(CITED)
    found.feed("One.\n\nTw")
    assert (found.show().closed, found.show().open) == ("", "<p>One.</p>\n<p>Tw</p>\n")
    found.feed("o.\n")
    piece = found.show()
    assert (piece.closed, piece.open) == ("<p>One.</p>\n", "<p>Two.</p>\n")
    assert found.closed == len("One.\n\n")
    assert found.show().closed == ""


def test_a_line_that_may_go_on_with_a_list_closes_nothing() -> None:
    found = Blocks(CITED)
    found.feed("1. one\n\n2")
    assert found.show().closed == ""
    found.feed(". two\n\nAfter.\n")
    assert found.show().closed.count("<ol>") == 1


# -- what is open ---------------------------------------------------------------------------------

WRITTEN = r"""## Heading one

Intro with **bold words** and *slanted*, `code x`, ***both***, ~~gone~~ [1] and a [link](https://example.org/a_b).

- first **item**
- second `code`
  * nested _x_
- [ ] task
- [x] done

1. one
2. two

Text before:
| Name | Value |
|------|-------|
| **a** | 1 |
| b | `2` |

$$
E = mc^2
$$

Inline $x^2 + y$ and \(a\) costs 5 or 6.

\[
\int_0^1 x
\]

```python
def f():
    # no
    return "**x**"
```

~~~
plain
~~~

> quote **bold**

---

Last paragraph.
"""
RAW = re.compile(r"[*|`$~\\]|^#|^\s*[-+>] |^\s*\d+\. |\]\(|_", re.MULTILINE)


def words_of(html: str) -> str:
    text = re.sub(r"<pre.*?</pre>|<code>.*?</code>|<math.*?</math>", "", html, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", "", text)


def test_no_sign_of_markdown_is_ever_shown() -> None:
    found = Blocks(CITED)
    for at, sign in enumerate(WRITTEN):
        found.feed(sign)
        piece = found.show()
        assert not RAW.search(words_of(piece.closed + piece.open)), WRITTEN[: at + 1][-60:]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("so **bo", "<p>so <strong>bo</strong></p>\n"),
        ("so **a *b", "<p>so <strong>a <em>b</em></strong></p>\n"),
        ("see `a**", "<p>see <code>a</code></p>\n"),
        ("a [link](https://exa", "<p>a link</p>\n"),
        ("2 * 3", "<p>2 * 3</p>\n"),
        ("snake_case", "<p>snake_case</p>\n"),
        ("one [1] and [2]", None),
        ("```py\nx = 1\n``", None),
        ("costs $5 and", "<p>costs $5 and</p>\n"),
        ("Words\n-", "<p>Words</p>\n"),
        ("| a | b |\n|--", ""),
    ],
)
def test_what_has_begun_is_closed_for_the_moment(text: str, html: str | None) -> None:
    found = Blocks(CITED)
    found.feed(text)
    shown = found.show().open
    if html is not None:
        assert shown == html
    else:
        assert "``" not in shown
        assert shown.count('class="mark"') == text.count("[")


def test_nothing_of_it_runs_or_loads() -> None:
    found = Blocks(CITED)
    for sign in "<img src=x onerror=a>\n\n![x](http://e.org/p.png) <script>a</script>\n\n[x](javascript:a)\n":
        found.feed(sign)
        shown = found.show()
        assert not re.search(r"<(img|script)|javascript:a\"", shown.closed + shown.open)


# -- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["A paragraph of words.\n\n", "- item\n\nText\n\n"])
def test_what_is_rendered_again_does_not_grow_with_the_answer(unit: str) -> None:
    found = Blocks(CITED)
    for _ in range(600):
        found.feed(unit)
        found.show()
        assert found.open_size <= 2 * len(unit)


def test_a_very_long_answer_ends_as_it_was_written_there_and_on_the_finished_page() -> None:
    text = "".join(f"Paragraph **{number}** of words.\n\n" for number in range(LONGEST // 20))
    found, html = Blocks(CITED), ""
    for begin in range(0, len(text), 30_000):
        found.feed(text[begin : begin + 30_000])
        html += found.show().closed
    last = found.finish()
    html += last.closed + last.open
    assert html.split() == blocks.render(text, CITED).split()
    assert "plain text" in html
    assert html.count("<strong>") > 5_000
    assert html.count("<pre") < 10


@pytest.mark.parametrize("evil", [" ", "- ", "> ", "`", "*", "[", "$", "|", "\\", "_a", "- `", "1. ", "~", "**a", "$a"])
def test_an_open_block_of_signs_alone_is_cheap(evil: str) -> None:
    """Not timed: what is quadratic would hold the suite for minutes."""
    found = Blocks(CITED)
    found.feed("x " + evil * (40_000 // len(evil)) + "y")
    assert "x" in found.show().open  # laid out, or as it was written
