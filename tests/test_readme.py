"""The README's tables say what the code does: every URL with its methods, every setting with its default."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from relay.routing import websocket_urlpatterns

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
APPS = ("accounts", "relay", "privategpt", "project")
HELPERS = {"text", "switch", "number", "whole", "names", "one_of", "redis_url"}  # of project.environment
OURS_ALONE = re.compile(r"SWITCHBOARD_|DJANGO_SETTINGS_MODULE")  # between our own processes
METHODS = {"get": "GET", "post": "POST", "put": "PUT", "patch": "PATCH", "delete": "DELETE"}
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "s": 1}


def table(heading: str) -> list[list[str]]:
    """The cells of the table under this heading, without its head."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


# -- URLs -------------------------------------------------------------------------------------------


def routes(patterns: list[Any], prefix: str = "/") -> Iterator[tuple[str, str]]:
    """Method and path of every route; the admin site is one, a path with a slash more is none of its own."""
    for entry in patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from [("GET", path)] if entry.namespace == "admin" else routes(entry.url_patterns, path)
        elif isinstance(entry, URLPattern) and not _leads_elsewhere(path, patterns, prefix):
            yield from ((method, path) for method in methods(entry.callback))


def _leads_elsewhere(path: str, patterns: list[Any], prefix: str) -> bool:
    return path.endswith("/") and any(prefix + str(entry.pattern) == path[:-1] for entry in patterns)


def methods(view: Any) -> Iterator[str]:
    """The methods that a class-based view serves; OPTIONS where it is more than a refusal."""
    found = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if found is None:
        return  # the browser's pages, which people find by links
    yield from (name for handler, name in METHODS.items() if hasattr(found, handler))
    if "options" in vars(found):
        yield "OPTIONS"


def test_every_url_stands_in_the_table_and_no_other() -> None:
    sockets = {("WS", "/" + re.sub(r"<\w+:", "<", str(entry.pattern))) for entry in websocket_urlpatterns}
    served = set(routes(get_resolver().url_patterns)) | sockets | {("GET", "/static/")}
    assert {(method, path.strip("`")) for method, path, *_ in table("URLs")} == served


# -- settings ---------------------------------------------------------------------------------------


def variables() -> Iterator[tuple[str, ast.Call | None]]:
    """Every variable of the environment that the code reads, with the call that gives its default."""
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                yield from _read(node)


def _read(node: ast.AST) -> Iterator[tuple[str, ast.Call | None]]:
    match node:
        case ast.Call(func=ast.Name(id=helper), args=[ast.Constant(value=str(name)), *_]) if helper in HELPERS:
            if name.isupper():
                yield name, node
        case ast.Call(func=ast.Attribute(value=inner), args=[ast.Constant(value=str(name)), *_]) if _environ(inner):
            yield name, None
        case ast.Subscript(value=inner, slice=ast.Constant(value=str(name))) if _environ(inner):
            yield name, None
        case ast.Compare(left=ast.Constant(value=str(name)), comparators=[inner]) if _environ(inner):
            yield name, None


def _environ(node: ast.expr) -> bool:
    return ast.unparse(node) == "os.environ"


def default(call: ast.Call) -> Any:
    """The call's default where it is written as a constant, else None."""
    given = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "default")]
    if not given or any(isinstance(part, ast.Name | ast.Call | ast.Attribute) for part in ast.walk(given[0])):
        return None
    return eval(compile(ast.Expression(given[0]), "default", "eval"))  # noqa: S307 - our own constants


def said(cell: str) -> Any:
    """A default as the table words it."""
    amount, _, unit = cell.partition(" ")
    if amount.isdecimal() and unit in {"", *UNITS}:
        return int(amount) * UNITS.get(unit, 1)
    return {"on": True, "off": False}.get(cell, cell.strip("`"))


def test_every_setting_stands_in_the_table_and_no_other() -> None:
    read = {name for name, _ in variables() if not OURS_ALONE.match(name)}
    assert {row[0].strip("`") for row in table("Settings")} == read


def test_the_defaults_in_the_table_are_the_codes() -> None:
    told = {row[0].strip("`"): said(row[1]) for row in table("Settings")}
    written = {name: default(call) for name, call in variables() if call}
    known = {name: value for name, value in written.items() if value not in {None, ""}}
    assert len(known) > 15  # the walk finds them at all
    assert {name: told[name] for name in known} == known


# -- files ------------------------------------------------------------------------------------------


def test_every_linked_file_is_there() -> None:
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert linked
    assert [target for target in linked if not (ROOT / target).exists()] == []


def test_every_named_command_is_there() -> None:
    commands = " ".join(row[0] for row in table("Commands"))
    targets = set(re.findall(r"^([a-z]+(?:-[a-z]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", README)) <= targets
    for name in re.findall(r"manage\.py (\w+)", commands):
        assert list(ROOT.glob(f"*/management/commands/{name}.py")), name
