"""Code in three colours: words of the language, strings and numbers, comments. Everything else is ink."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from itertools import groupby
from typing import Any

from django.utils.html import escape
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, String, _TokenType
from pygments.util import ClassNotFound

LONGEST_LINE = 2_000  # characters: some lexers need the square of a line's length
MOST_COLOURED = 50_000  # characters of one text
# Those that people paste. Pygments knows 600 more, some of which hang on hostile text.
KNOWN = (
    "bash sh shell zsh console c c++ cpp csharp c# css diff docker dockerfile go golang graphql html ini java "
    "javascript js json kotlin lua makefile make nginx perl php powershell python py python3 r ruby rb rust rs scala "
    "sql swift toml ts typescript xml yaml yml"
)


def coloured(code: str, language: str, env: MutableMapping[str, Any]) -> str:
    """The code as HTML. `env` holds what is left of one text's share."""
    left = env.get("uncoloured", MOST_COLOURED)
    lexer = _lexer(language) if len(code) <= left and _has_short_lines(code) else None
    if lexer is None:
        return escape(code)
    env["uncoloured"] = left - len(code)
    return "".join(_spans(lexer, code))


def _has_short_lines(code: str) -> bool:
    return max(map(len, code.splitlines()), default=0) <= LONGEST_LINE


def _lexer(language: str) -> Lexer | None:
    if language.lower() not in KNOWN.split():
        return None
    try:
        return get_lexer_by_name(language.lower(), stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _spans(lexer: Lexer, code: str) -> Iterator[str]:
    for name, run in groupby(lexer.get_tokens(code), lambda pair: _class(pair[0])):
        text = escape("".join(text for _, text in run))
        yield f'<span class="{name}">{text}</span>' if name else text


def _class(kind: _TokenType) -> str:
    if kind in Comment:  # type: ignore[comparison-overlap]
        return "c"
    if kind in String or kind in Number:  # type: ignore[comparison-overlap]
        return "s"
    return "k" if kind in Keyword or kind in Name.Tag or kind in Name.Builtin else ""  # type: ignore[comparison-overlap]
