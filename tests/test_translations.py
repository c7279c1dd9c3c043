"""German is complete: every string of the pages has its translation, with the same placeholders."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest
from django.utils.translation.template import templatize

from tests.test_arrows import ROOT

PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")
CALLS = {"gettext", "gettext_lazy", "gettext_noop", "ngettext", "_"}
GERMAN = polib.pofile(str(ROOT / "locale/de/LC_MESSAGES/django.po"))


def strings(source: str) -> Iterator[str]:
    """The first argument of each call that translates."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def of_template(path: Path) -> Iterator[str]:
    """Django's own reading of a template, as gettext's tools get it."""
    for line in re.findall(r"n?gettext\(.*?\)(?= |$)", templatize(path.read_text()), re.MULTILINE | re.DOTALL):
        yield from strings(line)


def used() -> set[str]:
    code = [path for app in ("accounts", "privategpt", "relay", "project") for path in (ROOT / app).rglob("*.py")]
    pages = (ROOT / "templates").rglob("*.html")
    found = {text for path in code for text in strings(path.read_text())}
    return found | {text for path in pages for text in of_template(path)}


def test_every_string_is_in_the_german_file() -> None:
    assert len(used()) > 200
    assert used() - {entry.msgid for entry in GERMAN} == set()


def test_nothing_is_left_untranslated() -> None:
    assert [entry.msgid for entry in GERMAN if not entry.translated() or entry.fuzzy] == []


@pytest.mark.parametrize("entry", GERMAN, ids=lambda entry: entry.msgid[:40])
def test_placeholders_are_the_same(entry: polib.POEntry) -> None:
    wanted = set(PLACEHOLDER.findall(entry.msgid_plural or entry.msgid))
    for text in [entry.msgstr, *entry.msgstr_plural.values()]:
        assert not text or set(PLACEHOLDER.findall(text)) == wanted
