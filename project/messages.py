"""Compiles the translations: `python -m project.messages`. Django's own command needs the gettext tools installed."""

from __future__ import annotations

from pathlib import Path

import polib

LOCALE = Path(__file__).resolve().parent.parent / "locale"


def compile_messages(folder: Path = LOCALE) -> list[Path]:
    """Writes what is missing or older than its source. Returns what was written."""
    written = []
    for po in sorted(folder.glob("*/LC_MESSAGES/*.po")):
        mo = po.with_suffix(".mo")
        if not mo.exists() or mo.stat().st_mtime < po.stat().st_mtime:
            fresh = mo.with_suffix(".new")
            polib.pofile(str(po)).save_as_mofile(str(fresh))
            fresh.replace(mo)  # whole or not at all: several processes may do this at once
            written.append(mo)
    return written


if __name__ == "__main__":
    compile_messages()
