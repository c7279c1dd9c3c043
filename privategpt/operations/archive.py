"""A backup as one file: a gzipped tar whose first member, the manifest, says what follows.

Nothing of an archive is trusted: only members that the manifest names are read, their sizes and
checksums are compared, and none of them chooses where it is written."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import msgspec

FORMAT = 1
MANIFEST = "manifest.json"
LONGEST_MANIFEST = 4 << 20  # bytes
LONGEST_HEADER = 4096  # bytes of what tar says about a file before it
PIECE = 1 << 20  # bytes that are read at a time
COMPRESSION = 1  # of 9: vectors do not get smaller, and the rest is quick to read


class BadArchive(Exception):
    """The file is no backup, or not whole. Says why."""


class Member(msgspec.Struct, frozen=True):
    """One file of a backup."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds, and of which state of which program."""

    format: int
    version: str
    made_at: str
    vendor: str  # of the database
    migrations: list[str]  # "app.name", as applied
    rows: dict[str, int]  # of each table
    files: dict[str, Member]


@dataclass(frozen=True, slots=True)
class Contents:
    """The manifest's part that the database's side knows."""

    version: str
    made_at: str
    vendor: str
    migrations: list[str]
    rows: dict[str, int]


def write(target: Path, contents: Contents, files: Mapping[str, Path], *, drafts: Path) -> Manifest:
    """Writes the archive in the folder of drafts, for the owner alone, and moves it when it is on the disk."""
    manifest = Manifest(
        FORMAT,
        contents.version,
        contents.made_at,
        contents.vendor,
        contents.migrations,
        contents.rows,
        {name: _member(path) for name, path in files.items()},
    )
    draft = drafts / "archive.part"
    try:
        with _private(draft) as out:
            packed = gzip.GzipFile(fileobj=out, mode="wb", compresslevel=COMPRESSION, filename="")
            with packed, tarfile.open(fileobj=packed, mode="w|") as tar:
                _add(tar, MANIFEST, BytesIO(encoded := msgspec.json.encode(manifest)), len(encoded))
                for name, path in files.items():
                    with path.open("rb") as source:
                        _add(tar, name, source, manifest.files[name].size)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """What the archive says it holds. Raises BadArchive, OSError."""
    with _opened(path) as tar:
        return _manifest(tar)


class _Plain(tarfile.TarInfo):
    """A file and nothing else: no link, device or sparse file, and no header that is read into memory whatever its
    length. Refused before anything behind it is read."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        is_size = self.type == tarfile.XHDTYPE and self.size <= LONGEST_HEADER  # of files beyond 8 GiB
        if self.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} and not is_size:
            raise tarfile.ReadError("it holds something that is no plain file")
        try:
            found = super()._proc_member(archive)  # type: ignore[misc]
        except ValueError as fault:  # the standard library's reading of headers expects honest ones
            raise tarfile.ReadError(f"a header cannot be read: {fault}") from fault
        if found.issparse():
            raise tarfile.ReadError("it holds a sparse file")
        return found


def extract(path: Path, folder: Path) -> Manifest:
    """Writes every file that the manifest names into the folder and compares it. Raises BadArchive, OSError."""
    with _opened(path) as tar:
        manifest = _manifest(tar)
        missing = dict(manifest.files)
        needed, free = sum(member.size for member in missing.values()), shutil.disk_usage(folder).free
        if needed > free:
            raise BadArchive(f"{path} holds {needed} bytes, and {folder} has room for {free}.")
        while entry := tar.next():
            wanted = missing.pop(entry.name, None)
            if wanted is None or "/" in entry.name or entry.name.startswith(".."):
                raise BadArchive(f"{path} holds {entry.name!r}, which its manifest does not know.")
            if entry.size != wanted.size:
                raise BadArchive(f"{entry.name} is not what was backed up: it has another size.")
            _extract(tar, entry, wanted, folder / entry.name)
    if missing:
        raise BadArchive(f"{path} is not whole: {', '.join(missing)} is missing.")
    return manifest


def _extract(tar: tarfile.TarFile, entry: tarfile.TarInfo, wanted: Member, target: Path) -> None:
    source = tar.extractfile(entry)
    digest = hashlib.sha256()
    with _private(target) as out:
        while source and (piece := source.read(PIECE)):
            digest.update(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != wanted.sha256:
        raise BadArchive(f"{entry.name} is not what was backed up: its checksum is another.")


def _manifest(tar: tarfile.TarFile) -> Manifest:
    entry = tar.next()
    source = tar.extractfile(entry) if entry and entry.name == MANIFEST and entry.size <= LONGEST_MANIFEST else None
    if source is None:
        raise BadArchive("This is no backup of Switchboard: it does not begin with a manifest.")
    try:
        found = msgspec.json.decode(source.read(), type=Manifest)
    except msgspec.MsgspecError as fault:
        raise BadArchive(f"The backup's manifest cannot be read: {fault}.") from fault
    if found.format != FORMAT:
        raise BadArchive(f"The backup has format {found.format}, and this program knows {FORMAT}; use a newer one.")
    if not all(map(str.isprintable, (found.version, found.made_at, found.vendor, *found.migrations))):
        raise BadArchive("The backup's manifest cannot be read: it holds control characters.")
    if any(member.size < 0 for member in found.files.values()):
        raise BadArchive("The backup's manifest cannot be read: a size is negative.")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, mode="r|gz", tarinfo=_Plain) as tar:
            yield tar
    except (tarfile.TarError, EOFError) as fault:
        raise BadArchive(f"{path} is no backup, or not whole ({fault}).") from fault
    except OSError as fault:
        if fault.errno is None:  # gzip's own: a bad checksum, or no gzip at all
            raise BadArchive(f"{path} is no backup, or not whole ({fault}).") from fault
        raise


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _add(tar: tarfile.TarFile, name: str, source: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    tar.addfile(entry, source)


def _member(path: Path) -> Member:
    with path.open("rb") as source:
        return Member(path.stat().st_size, hashlib.file_digest(source, "sha256").hexdigest())
