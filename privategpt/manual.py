"""The manual as sources: so the first question about Switchboard gets a cited answer.

Each page has one id for ever, so none is ever loaded twice; what was loaded is noted in the data folder,
so a page that an administrator deleted does not come back."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path
from uuid import UUID, uuid5

from django.conf import settings
from django.db import DatabaseError, transaction

from accounts.models import Group, User
from privategpt.models import Source

logger = logging.getLogger(__name__)

GROUP = "Switchboard"
PAGES = UUID("7d0d3f5e-5a51-4a9b-9f0a-2b4f4d4b8c11")  # the name space of the pages' ids
TITLE = re.compile(r"^#\s+(.+)$", re.MULTILINE)
PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n+", re.MULTILINE)  # of the page that is being read, for who is reading it


def load_if_possible() -> None:
    """A start goes on without it: the server is useful all the same, and a password is still to be shown."""
    try:
        load()
    except (DatabaseError, OSError, ValueError) as fault:
        logger.warning("The manual could not be loaded: %s", fault)


def load() -> int:
    """Brings the sources to the state of `docs/`; the first time into a group of the first administrator.

    Returns how many changed; 0 when there is no administrator yet, or the group was deleted.
    """
    note = Path(settings.DATA_DIR) / "manual.json"
    group = Group.objects.filter(name=GROUP).first() or (None if note.exists() else _group())
    if group is None:
        return 0
    known = _noted(note)
    pages = _pages()
    changed = sum(_load(name, text, group, known) for name, text in pages.items())
    for name in set(known) - set(pages):
        changed += Source.objects.kept().filter(pk=_id(name)).count()
        _delete(Source(pk=_id(name)))
    note.write_text(json.dumps({name: _digest(text) for name, text in pages.items()}))
    return changed


def _group() -> Group | None:
    administrator = User.objects.filter(is_superuser=True, is_active=True).order_by("created_at").first()
    if administrator is None:
        return None
    with transaction.atomic():
        group = Group.objects.create(name=GROUP, description="The manual.")
        group.members.add(administrator)
    return group


def _pages() -> dict[str, str]:
    folder = Path(settings.BASE_DIR)
    files = [folder / "README.md", *sorted((folder / "docs").glob("*.md"))]
    return {file.name: PICTURE.sub("", file.read_text(encoding="utf-8")) for file in files if file.is_file()}


def _load(name: str, text: str, group: Group, known: dict[str, str]) -> bool:
    """True when the page was stored or edited."""
    if known.get(name) == _digest(text):
        return False
    from privategpt import ingest  # here, for it brings numpy: most starts of a supervisor change nothing

    match = TITLE.search(text)
    title = match[1].strip() if match else name
    source = Source.objects.kept().filter(pk=_id(name)).first()
    if source is None:
        if name in known:
            return False  # an administrator deleted it
        ingest.store(None, title=title, content=text, groups=[group], public=False, source_id=_id(name))
        return True
    if (source.title, source.content) == (title, text):
        return False
    ingest.edit(source, title=title, content=text)
    return True


def _delete(source: Source) -> None:
    from privategpt import ingest

    ingest.delete(source)


def _id(name: str) -> UUID:
    return uuid5(PAGES, name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _noted(note: Path) -> dict[str, str]:
    """Page to digest, as of the last time."""
    try:
        found = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
