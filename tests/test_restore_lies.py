"""Archives that are not what they say: `manage.py restore` refuses them before it writes what they lie about."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import leg
from tests.running import manage

DATABASE = "database.sqlite3"
pytestmark = pytest.mark.skipif(leg.SERVER is not None, reason="The archive's reading knows nothing of the database.")
GOOD = {DATABASE: b"a database", "secret_key": b"s" * 64, "admin_key": b"a" * 32}


def manifest(**changes: Any) -> bytes:
    files = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in GOOD.items()}
    found = {"format": 1, "version": "0.1.0", "made_at": "2026-01-01", "vendor": "sqlite", "migrations": [], "rows": {}}
    return json.dumps(found | {"files": files} | changes).encode()


def entry(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.size = len(data)
    for field, value in fields.items():
        setattr(found, field, value)
    return found, data


def packed(target: Path, *entries: tuple[tarfile.TarInfo, bytes], said: bytes = b"") -> Path:
    """An archive of these behind a manifest."""
    with tarfile.open(target, "w:gz") as tar:
        for info, data in (entry("manifest.json", said or manifest()), *entries):
            tar.addfile(info, io.BytesIO(data))
    return target


def whole() -> list[tuple[tarfile.TarInfo, bytes]]:
    return [entry(name, data) for name, data in GOOD.items()]


def long_header(target: Path) -> Path:
    """Sixty-four megabytes of what stands before a file."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 64 << 20
    with tarfile.open(target, "w:gz") as tar:
        info, data = entry("manifest.json", manifest())
        tar.addfile(info, io.BytesIO(data))
        assert tar.fileobj
        tar.fileobj.write(header.tobuf() + bytes(header.size))
    return target


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
LIES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "more than it declares": (lambda to: packed(to, entry(DATABASE, bytes(1 << 24)), *whole()[1:]), "another size"),
    "less than it declares": (lambda to: packed(to, entry(DATABASE, b"a"), *whole()[1:]), "another size"),
    "other bytes": (lambda to: packed(to, entry(DATABASE, b"A database"), *whole()[1:]), "checksum"),
    "a link": (
        lambda to: packed(to, entry(DATABASE, type=tarfile.SYMTYPE, linkname="/etc/passwd"), *whole()[1:]),
        "no plain file",
    ),
    "a hard link": (
        lambda to: packed(to, *whole()[1:], entry(DATABASE, type=tarfile.LNKTYPE, linkname="secret_key")),
        "no plain file",
    ),
    "a device": (lambda to: packed(to, entry(DATABASE, type=tarfile.CHRTYPE), *whole()[1:]), "no plain file"),
    "a folder": (lambda to: packed(to, entry(DATABASE, type=tarfile.DIRTYPE), *whole()[1:]), "no plain file"),
    "a sparse file": (lambda to: packed(to, entry(DATABASE, b"a" * 512, pax_headers=SPARSE), *whole()[1:]), ""),
    "an old sparse file": (
        lambda to: packed(to, entry(DATABASE, b"a", type=tarfile.GNUTYPE_SPARSE), *whole()[1:]),
        "no plain file",
    ),
    "a way out": (lambda to: packed(to, *whole(), entry("../outside", b"x")), "does not know"),
    "an absolute name": (lambda to: packed(to, *whole(), entry("/outside", b"x")), "does not know"),
    "the same twice": (lambda to: packed(to, *whole(), entry(DATABASE, GOOD[DATABASE])), "does not know"),
    "a file of its own": (lambda to: packed(to, *whole(), entry("more", b"x")), "does not know"),
    "a file of its own that the manifest names": (
        lambda to: packed(to, *whole(), said=manifest(files={".bashrc": {"size": 1, "sha256": "x"}})),
        "which this program does not know",
    ),
    "more than there is room for": (
        lambda to: packed(
            to,
            *whole(),
            said=manifest(files={n: {"size": 1 << 60, "sha256": "x"} for n in GOOD}),
        ),
        "has room for",
    ),
    "a negative size": (
        lambda to: packed(to, *whole(), said=manifest(files={n: {"size": -1, "sha256": "x"} for n in GOOD})),
        "negative",
    ),
    "control characters": (lambda to: packed(to, *whole(), said=manifest(made_at="\x1b[2J")), "control characters"),
    "a long header": (long_header, "no plain file"),
    "nothing of what it names": (lambda to: packed(to), "is missing"),
    "no secret": (lambda to: packed(to, said=manifest(files={DATABASE: {"size": 1, "sha256": "x"}})), "is missing"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_archive_that_lies_is_refused_in_a_sentence(tmp_path: Path, lie: str) -> None:
    make, said = LIES[lie]
    (tmp_path / "data").mkdir()
    refused = manage(tmp_path / "data", "restore", str(make(tmp_path / "archive")))
    assert refused.returncode == 1
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert not [name for name in left if name.startswith((".work-", DATABASE))]
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "data"}
