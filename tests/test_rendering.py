"""What a model wrote, as HTML: what becomes of Markdown, and that nothing hostile survives."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from django.utils.safestring import SafeString
from hypothesis import given, settings
from hypothesis import strategies as st

from privategpt import rendering
from privategpt.blocks import Blocks
from privategpt.rendering import CLASSES, TAGS, Cited, Rendered, render, visible

CITED = Cited("m1", frozenset({1, 2, 3}), frozenset({4}))
ALLOWED = TAGS | {"svg", "use"}  # the copy button's icon
HANDLER = re.compile(r"^on|^style$|^src|^srcdoc$|^formaction$|^action$")


class Seen(HTMLParser):
    """Tags, attributes and addresses of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.classes: set[tuple[str, str]] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "href" and tag == "a":
                self.links.append(value or "")
            if name == "class" and tag not in {"button", "svg"}:
                self.classes |= {(tag, word) for word in (value or "").split()}


def is_inert(html: str) -> bool:
    seen = Seen(html)
    return (
        seen.tags <= ALLOWED
        and not any(HANDLER.search(name) for name in seen.attributes)
        and all(re.match(r"https?://|mailto:|#", link) for link in seen.links)
        and all(word in CLASSES.get(tag, ()) for tag, word in seen.classes)
    )


# -- what it makes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("**a** *b* ~~c~~ `d`", "<p><strong>a</strong> <em>b</em> <s>c</s> <code>d</code></p>"),
        ("| a | b |\n|---|--:|\n| 1 | 2 |", '<td class="end">2</td>'),
        ("- [ ] a", '<input disabled="" aria-label="Not done" type="checkbox">'),
        ("- [x] a", 'aria-label="Done" checked=""'),
        ("a[^n]\n\n[^n]: note", '<section class="footnotes">'),
        ("$x^2$", "<msup><mi>x</mi><mn>2</mn></msup>"),
        ("\\(x\\)", "<mi>x</mi>"),
        ("$$\nx\n$$", 'display="block"'),
        ("\\[\nx\n\\]", 'display="block"'),
        ("$\\nosuch{x}$", "<code>\\nosuch{x}</code>"),
        ("It is $5 or $6.", "<p>It is $5 or $6.</p>"),
        ('```python\ndef f(): return "s"  # c\n```', '<span class="k">def</span> f'),
        ("```nosuch\na < b\n```", "a &lt; b"),
        ("[a](https://x.org/)", '<a href="https://x.org/" rel="noopener noreferrer nofollow">a</a>'),
        ("![a](https://x.org/i.png)", '<a href="https://x.org/i.png" rel="noopener noreferrer nofollow">a</a>'),
        ("![a][i]\n\n[i]: https://x.org/i.png", '<a href="https://x.org/i.png"'),
    ],
)
def test_markdown_becomes_html(markdown: str, html: str) -> None:
    assert html in render(markdown)


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("a<br>b H<sub>2</sub>O <kbd>Ctrl</kbd>", "<p>a<br>b H<sub>2</sub>O <kbd>Ctrl</kbd></p>"),
        ("| a<br/>b |\n|---|\n| `<br>` |", "<th>a<br>b</th>"),
        ("an <sub>open one and </sup>", "an &lt;sub&gt;open one and &lt;/sup&gt;"),
        ("**“重要”**中文 **（a）**文", "<strong>“重要”</strong>中文 <strong>（a）</strong>文"),
        (
            "See https://x.org/a_b_c.",
            '<a href="https://x.org/a_b_c" rel="noopener noreferrer nofollow">https://x.org/a_b_c</a>.',
        ),
        ("(https://x.org/)", '(<a href="https://x.org/"'),
        ("Set $HOME/$USER or ${A}:${B}", "<p>Set $HOME/$USER or ${A}:${B}</p>"),
        ("$5 and 6$, US$5", "<p>$5 and 6$, US$5</p>"),
        ("$`a`$", "<p>$<code>a</code>$</p>"),
        ("the $n$th", "the <math"),
        (
            "\\begin{align}\nx &= 1 \\\\\ny &= 2\n\\end{align}",
            '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">',
        ),
        ("<h1>Title</h1>", "<h3>Title</h3>"),
        ("<!--\n# Title\n-->", "<p>&lt;!--\n# Title\n--&gt;</p>"),
    ],
)
def test_what_people_write_is_drawn(markdown: str, html: str) -> None:
    assert html in render(markdown)


NEEDED = [
    "ភាសា\u200bខ្មែរ",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "❤\ufe0f\u200d🔥",
    "שלום \u2066abc\u2069 עולם",
    "葛\U000e0100",
]


@pytest.mark.parametrize("text", NEEDED)
def test_hidden_characters_that_a_script_needs_stay(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "text", ["a\u200bb", "a\u200db", "a\u2066b\u2069", "שלום \u2067a", "a\ufe0f", "a\U000e0067\U000e007f", "a\u3164b"]
)
def test_those_that_nothing_needs_are_shown(text: str) -> None:
    assert "⟨U+" in visible(text)


def test_a_line_ends_alike_however_it_was_sent() -> None:
    assert visible("a\r\nb\rc") == "a\nb\nc"


@pytest.mark.parametrize("text", ["[" * 190_000, "^[" * 95_000, "- " * 60 + "a"])
def test_beyond_its_budget_a_text_is_plain_and_says_so(text: str) -> None:
    assert "shown as plain text" in render(text)


def test_headings_stand_under_the_question() -> None:
    assert re.findall(r"<h(\d)>", render("# a\n\n## b\n\n# c\n\n### d")) == ["3", "4", "3", "4"]
    assert re.findall(r"<h(\d)>", render("### a\n\n# b")) == ["3", "3"]


# -- citations ------------------------------------------------------------------------------------


def test_a_supplied_number_becomes_a_jack_that_leads_to_its_entry() -> None:
    html = render("So it is [2].", CITED)
    assert '<p>So it is<a class="mark" href="#m1-s2" aria-label="Source 2"' in html


@pytest.mark.parametrize(("marker", "numbers"), [("[1, 3]", "13"), ("[1-3]", "123"), ("[^2]", "2"), ("【2】", "2")])
def test_several_numbers_become_several_jacks(marker: str, numbers: str) -> None:
    assert re.findall(r"#m1-s(\d)", render(f"a {marker}", CITED)) == list(numbers)


@pytest.mark.parametrize("text", ["`[1]`", "```\n[1]\n```", "[[1]](https://x.org)", "[9]", "a[1", "$[1]$"])
def test_other_brackets_stay(text: str) -> None:
    assert 'class="mark"' not in render(text, CITED)


def test_a_source_that_may_not_be_read_any_more_is_said_and_not_linked() -> None:
    html = render("a [4]", CITED)
    assert "[4: no longer yours to read]" in html
    assert "m1-s4" not in html


def test_each_reader_gets_what_is_theirs() -> None:
    assert 'href="#m1-s4"' in render("a [4]", Cited("m1", frozenset({4})))
    assert 'href="#m1-s4"' not in render("a [4]", CITED)


def test_rights_of_any_length_have_renderings_of_their_own() -> None:
    """Forty numbers that one reader may follow; another may follow all but the last."""
    numbers = frozenset(range(1, 41))
    assert 'href="#m1-s40"' in render("a [40]", Cited("m1", numbers))
    html = render("a [40]", Cited("m1", numbers - {40}, frozenset({40})))
    assert 'href="#m1-s40"' not in html
    assert "[40: no longer yours to read]" in html


@pytest.mark.parametrize(
    "text",
    [
        "a [1](https://evil.example)",
        "a [[1]](https://evil.example)",
        "a [**1**](https://evil.example)",
        "a [1, 3](https://evil.example)",
        "a ![1](https://evil.example)",
        "a [1]\n\n[1]: https://evil.example",
        "a [\u2460](https://evil.example)",
    ],
)
def test_a_link_that_looks_like_a_number_says_where_it_leads(text: str) -> None:
    html = render(text, Cited())
    assert " (evil.example)</a>" in html
    assert 'class="mark"' not in html


def test_a_link_with_words_is_shown_as_it_is() -> None:
    assert ">the manual</a>" in render("[the manual](https://x.org)", CITED)


def test_a_link_is_no_marker_while_the_answer_grows() -> None:
    growing = Blocks(Cited("m1", frozenset({1})))
    growing.feed("a [1](https://evil.example) [1]")
    assert growing.show().html.count('class="mark"') == 1


# -- attacks --------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>@import 'http://x.org/a.css'</style>",
    "<a href='javascript:alert(1)'>a</a>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<form action=//x.org><button>a</button></form>",
    "<!--><img src=x onerror=alert(1)>-->",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](java\tscript:alert(1))",
    "[a](<javascript:alert(1)>)",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](vbscript:x)",
    "[a](//x.org/)",
    "[a](/admin/users/delete)",
    "[a](\x01javascript:alert(1))",
    "<javascript:alert(1)>",
    "[a]: javascript:alert(1)\n\n[a]",
    "![a](javascript:alert(1))",
    "![a](data:image/svg+xml,<svg onload=alert(1)>)",
    '![a](https://x.org/i.png" onerror="alert(1))',
    '[a](https://x.org "" onmouseover=alert(1) a=")',
    "![<img src=x onerror=alert(1)>](https://x.org/)",
    "[![a](https://x.org/i.png)](https://x.org/)",
    '```"><script>alert(1)</script>\na\n```',
    "```html\n<script>alert(1)</script>\n```",
    "`<script>alert(1)</script>`",
    "$<script>alert(1)</script>$",
    "$\\text{<img src=x onerror=alert(1)>}$",
    "$\\href{javascript:alert(1)}{x}$",
    "$$\\style{color:red}{x} \\class{a}{b}$$",
    '[^"><script>alert(1)</script>]\n\n[^"><script>alert(1)</script>]: a',
    "| <script>alert(1)</script> |\n|---|\n| <img src=x onerror=alert(1)> |",
    "- [x] <img src=x onerror=alert(1)>",
    '<button data-copy=""></button>',
    "\\<script>alert(1)\\</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "{{ 7*7 }} {% load static %} ${IFS} `id`",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert(text: str) -> None:
    assert is_inert(render(text, CITED))
    assert is_inert(render(f"> - a\n>   {text}", CITED))


@pytest.mark.parametrize("text", ["![a](https://x.org/i.png)", "![][i]\n\n[i]: https://x.org/i.png", "https://x.org/"])
def test_nothing_is_fetched_by_itself(text: str) -> None:
    assert not Seen(render(text)).tags & {"img", "picture", "video", "audio", "object", "embed", "link", "iframe"}


def test_template_and_shell_syntax_passes_untouched() -> None:
    assert "{{ 7*7 }} {% x %} ${IFS}" in render("{{ 7*7 }} {% x %} ${IFS}")


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\x1b", "\x00", "\U000e0041", "\ufeff", "\u2028"])
def test_hidden_characters_are_spelt_out(character: str) -> None:
    html = render(f"a{character}b `c{character}d`")
    assert character not in html
    assert html.count(f"⟨U+{ord(character):04X}⟩") == 2


@pytest.mark.parametrize(
    "text", ["אבג abc", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "👩\u200d🚀", "e\u0301\u0302"]
)
def test_writing_is_left_alone(text: str) -> None:
    assert visible(text) == text
    assert text in render(text)


PIECES = [
    *"<>&\"'`*_~[]()!#-+|:$\\^{}=\n\t /aX1.\u202e\x00",
    "javascript:",
    "https://x.org",
    "<script>",
    "$$",
    "```",
    "[^a]",
    "[1]",
]


@given(st.lists(st.sampled_from(PIECES), max_size=80).map("".join))
@settings(max_examples=300, deadline=None)
def test_no_tag_outside_of_the_list_comes_out(text: str) -> None:
    assert is_inert(render(text, CITED))


# -- cost -----------------------------------------------------------------------------------------

SLOW = {
    "brackets": "[",
    "images": "![",
    "notes": "^[",
    "note marks": "[^a]",
    "links": "[a](",
    "angles": "[a](<b",
    "emphasis": "*a _b ",
    "strong": "**a *b ",
    "struck": "~~a",
    "entities": "&",
    "quotes": "> ",
    "lists": "- ",
    "formulas": "$a ",
    "parentheses": "\\(",
    "marks": "[1] ",
    "autolinks": "<http:",
    "escapes": "\\",
}


@pytest.mark.parametrize("piece", SLOW.values(), ids=SLOW.keys())
def test_twice_the_text_costs_twice_the_time(piece: str) -> None:
    def cost(length: int) -> float:
        text = (piece * length)[:length]
        begin = time.thread_time()
        rendering._render(text, CITED)
        return time.thread_time() - begin

    # A busy machine errs now and then, but not three times in a row.
    assert any(cost(40_000) < 8 * max(cost(10_000), 0.05) for _ in range(3))


@pytest.mark.parametrize("text", ["a" * (1 << 20), "[" * (1 << 20), "a\n" * (1 << 19), "\u202e" * (1 << 20)])
def test_a_text_too_long_is_shown_as_it_was_written(text: str) -> None:
    begin = time.process_time()
    assert render(text).startswith("<p>Too long or too intricate to be laid out: shown as plain text.</p><pre")
    assert time.process_time() - begin < 5


def test_deep_nesting_ends() -> None:
    assert is_inert(render(">" * 5_000 + "a"))
    assert is_inert(render("$" + "{" * 900 + "}" * 900 + "$"))
    assert is_inert(render("[" * 2_000 + "a" + "](https://x.org)" * 2_000))


def test_what_is_kept_is_bounded() -> None:
    store = Rendered(100)
    for number in range(50):
        store.keep(b"%d" % number, SafeString("<p>" + "x" * 20))
    assert store.get(b"0") is None
    assert store.get(b"49") is not None
    assert sum(len(html) for html in store._html.values()) <= 100
