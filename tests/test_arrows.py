"""Who may import whom: the house's picture as a table, and a walk over every import that runs.

Imports that only the type checker sees do not count. Within an app a module may import
those of its own layer and of the layers under it; no two modules import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Which of our packages each one may import besides itself.
APPS = {
    "project": {"accounts", "relay", "privategpt"},
    "privategpt": {"accounts"},
    "relay": {"accounts"},
    "accounts": set(),
}
# The doors between apps that a single module holds.
# To ask an agent, and to look at who is connected: the latter needs no backend and reads a database row.
DOORS = {("privategpt.llm.relay", "relay"), ("privategpt.llm.relay_status", "relay")}

# First the edges, last the nouns. A package stands for all modules in it.
LAYERS = {
    "relay": [
        {"api", "consumers", "routing", "admin"},
        {"exchange", "loopback"},
        {"dispatch", "watch", "repeats", "registry"},
        {"lending", "nodes", "revocations"},  # an agent of another process is one of the pool
        {"pool", "line", "conversations", "commits", "admitted"},
        {"links", "carrier"},
        {"notes"},
        {"failures", "frames", "gojson", "ids", "limits", "models", "tally"},
    ],
    "privategpt": [
        {"api", "openai_api", "pages", "urls", "admin", "templatetags", "management", "checks"},  # how it is asked
        # what is done
        {
            "answers",
            "claims",
            "follow",
            "desk",
            "generation",
            "ingest",
            "worker",
            "turns",
            "figures",
            "health",
            "knowledge",
            "sweeping",
            "storable",
            "reading",
            "manual",
            "agent",
            "serving",
            "operations",
        },
        # means: no request in here, values go in and out
        {
            "prompts",
            "llm",
            "retrieval",
            "rendering",
            "colouring",
            "formulas",
            "grounding",
            "citing",
            "growing",
            "saving",
            "writing",
            "orphan",
            "pulse",
            "rundir",
            "file_kinds",
            "fitting",
            "followups",
            "hidden",
            "markdown",
            "structure",
            "blocks",
            "unfinished",
            "spans",
            "citing_lines",
            "withheld",
            "gate",
            "streams",
            "waking",
            "tally",
        },
        {"models"},  # nouns
    ],
}
# Where Django wants a module that belongs to no layer; it imports nothing of ours that matters.
DJANGOS_OWN = {"apps", "migrations"}
# Means take querysets and values from above, never people.
NO_PEOPLE = {"privategpt.prompts", "privategpt.llm", "privategpt.retrieval", "privategpt.orphan"}


@dataclass(frozen=True)
class Arrow:
    """One module imports another."""

    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.importer} -> {self.imported}"


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    files = [path for app in APPS for path in sorted((ROOT / app).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


MODULES = modules()


def running(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports under a node, without those in `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from running(ast.Module([other], []))
        else:
            yield from running(child)


def names(importer: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The dotted names that an import statement loads; `from package import module` loads the module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        is_package = MODULES[importer].name == "__init__.py"
        parts = importer.split(".")
        kept = parts[: len(parts) - node.level + is_package]
        base = ".".join([*kept, base]).strip(".")
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in MODULES else base


def arrows_of(importer: str, source: str) -> list[Arrow]:
    """The arrows from one module's source to our own packages."""
    imported = {name for node in running(ast.parse(source)) for name in names(importer, node)}
    return [Arrow(importer, name) for name in sorted(imported) if name.split(".")[0] in APPS and name != importer]


ARROWS = [arrow for name, path in MODULES.items() for arrow in arrows_of(name, path.read_text())]


def layer(module: str) -> int | None:
    """The module's layer, 0 being the edge; None when it stands in no layer."""
    app, *rest = module.split(".")
    found = [depth for depth, layer in enumerate(LAYERS.get(app, [])) if rest and rest[0] in layer]
    return found[0] if found else None


def is_allowed(arrow: Arrow) -> bool:
    """Whether the picture has this arrow."""
    here, there = arrow.importer.split(".")[0], arrow.imported.split(".")[0]
    if here == there:
        up, down = layer(arrow.importer), layer(arrow.imported)
        return up is None or down is None or up <= down
    if there == "accounts" and any(f"{arrow.importer}.".startswith(f"{means}.") for means in NO_PEOPLE):
        return False
    return there in APPS[here] or (arrow.importer, there) in DOORS


def test_no_import_goes_against_the_arrows() -> None:
    assert [str(arrow) for arrow in ARROWS if not is_allowed(arrow)] == []


@pytest.mark.parametrize("app", LAYERS)
def test_every_module_has_its_layer(app: str) -> None:
    parts = {name.split(".")[1] for name in MODULES if name.startswith(f"{app}.")}
    assert sorted(parts - set().union(*LAYERS[app]) - DJANGOS_OWN) == []


def test_no_imports_form_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for arrow in ARROWS:
        if MODULES[arrow.importer].name != "__init__.py":  # a package's front gathers what is in it
            graph.setdefault(arrow.importer, set()).add(arrow.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


def test_the_walk_sees_what_is_imported() -> None:
    assert Arrow("relay.dispatch", "relay.pool") in ARROWS
    assert Arrow("relay.watch", "relay.dispatch") not in ARROWS  # for the type checker only
    assert Arrow("project.asgi", "relay.api.lane") in ARROWS


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("relay.pool", "from relay.dispatch import Pending"),
        ("relay.pool", "def late():\n    from relay import dispatch"),
        ("relay.models", "import relay.pool"),
        ("relay.pool", "from . import dispatch"),
        ("relay.api.views", "from project import settings"),
        ("accounts.models", "from relay.models import Agent"),
        ("privategpt.serving.run", "import relay.exchange"),
        ("privategpt.orphan", "from accounts.models import User"),
        ("privategpt.orphan", "from privategpt.serving import run"),
    ],
)
def test_a_forbidden_import_is_found(importer: str, source: str) -> None:
    found = arrows_of(importer, source)
    assert found
    assert not any(map(is_allowed, found))


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("relay.dispatch", "from relay.pool import Pool"),
        ("relay.pool", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from relay.dispatch import Pending"),
        ("privategpt.llm.relay", "from relay.dispatch import Dispatcher"),
        ("project.asgi", "from privategpt import serving"),
        ("relay.registry", "from accounts.models import Token"),
    ],
)
def test_an_allowed_import_passes(importer: str, source: str) -> None:
    assert all(map(is_allowed, arrows_of(importer, source)))
