"""Permission is one queryset: whoever looks for sources or chats on somebody's behalf begins with `visible_to`."""

from __future__ import annotations

import ast
from pathlib import Path

from accounts.models import User
from privategpt.models import Source
from tests.answering import group, source

ROOT = Path(__file__).resolve().parent.parent / "privategpt"
ASKED_BY_PEOPLE = sorted(
    path
    for pattern in ("api/*.py", "pages/*.py", "management/commands/*.py", "answers.py", "follow.py")
    for path in ROOT.glob(pattern)
)

# Of the manager's verbs: those that look at rights, and those that only make or tidy.
GOOD = {"Source": {"visible_to"}, "Chat": {"visible_to", "restorable_by", "create"}}
# Whoever needs more stands here with the reason.
KNOWN = {
    ("pages/bench.py", "Source.all"): "what a superuser's test bench counts as withheld",
    ("management/commands/explain.py", "Source.all"): "what `explain` counts as withheld",
    ("pages/keeping.py", "Source.exclude"): "a deleted source is visible to nobody; `may_change` follows",
    ("answers.py", "Chat.filter"): "by the id of a chat whose owner was compared; it writes",
    ("pages/dashboard.py", "Source.kept"): "counts for administrators; titles go through `visible_to`",
    ("pages/guide.py", "Source.kept"): "whether there is any, for administrators",
    ("management/commands/reindex.py", "Source.not_deleted"): "progress, for whoever runs the server",
}


def looks(path: Path) -> set[tuple[str, str]]:
    """`Source.objects.verb` and `Chat.objects.verb` of a module, by its path and "Model.verb"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute)):
            continue
        manager, verb = node.value, node.attr
        if manager.attr != "objects" or not isinstance(manager.value, ast.Name):
            continue
        model = manager.value.id
        if verb not in GOOD.get(model, {verb}):
            found.add((path.relative_to(ROOT).as_posix(), f"{model}.{verb}"))
    return found


def test_nobody_makes_a_filter_of_their_own() -> None:
    found = {look for path in ASKED_BY_PEOPLE for look in looks(path)}
    assert found - KNOWN.keys() == set()
    assert KNOWN.keys() - found == set(), "stands in the list and is not needed any more"


def test_each_part_of_the_door_narrows_and_none_widens(alice: User, charlie: User) -> None:
    """Groups, the token's groups, the question's groups: a source has to pass all three."""
    red, blue, foreign = group("red", alice), group("blue", alice), group("foreign", charlie)
    every = {
        name: source(name, name, *held) for name, held in (("red", [red]), ("blue", [blue]), ("both", [red, blue]))
    }
    every |= {"foreign": source("foreign", "foreign", foreign), "public": source("public", "public")}

    def seen(narrowed: list[str] | None, asked: list[str], *, public: bool) -> set[str]:
        groups = {"red": red, "blue": blue, "foreign": foreign}
        rows = Source.objects.visible_to(alice, None if narrowed is None else [groups[name] for name in narrowed])
        return set(rows.among([groups[name].pk for name in asked], public=public).values_list("title", flat=True))

    assert seen(None, ["red", "blue", "foreign"], public=True) == {"red", "blue", "both", "public"}
    assert seen(None, ["red", "foreign"], public=False) == {"red", "both"}
    assert seen(["blue"], ["red", "blue", "foreign"], public=False) == {"blue", "both"}
    assert seen(["foreign"], ["red", "foreign"], public=True) == {"public"}
    assert seen([], ["red"], public=False) == set()
    alice.may_use_public = False
    alice.save()
    assert seen(None, [], public=True) == set()
    every["red"].deleted_at = every["red"].created_at
    every["red"].save()
    assert seen(None, ["red"], public=False) == {"both"}
