"""What the parts of the server are called on pages."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_lazy as _

from privategpt.serving.parts import Part

NAMES: Final = {
    "The web server": _("Web server"),
    "The ingest worker": _("Worker"),
    "The embedder": _("Embedder"),
    "The built-in agent": _("Built-in agent"),
}


def named(part: Part) -> str:
    """In the reader's language; several of one kind are numbered."""
    name, number = part.name, ""
    if part.name not in NAMES:
        name, _space, number = part.name.rpartition(" ")
    return f"{NAMES.get(name, name)} {number}".strip()
