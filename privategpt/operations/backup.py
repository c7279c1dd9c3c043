"""Backup and restore: the database and the secrets, without which no key, session or second factor would be valid.

A backup is made while the server answers. A restore wants the data folder for itself and moves what was
there aside; it deletes nothing."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from privategpt import rundir
from privategpt.operations import archive, stores
from privategpt.operations.archive import Manifest
from privategpt.rundir import NAME as RUN
from privategpt.serving import database
from privategpt.serving.hold import NAME as HOLD
from privategpt.serving.hold import Alone
from privategpt.serving.workplace import workplace

SECRETS = ("secret_key", "admin_key")
STATE = ("built_in_agent",)  # files of the data folder that neither the database nor a new start could give back
MADE_BY_ANY_COMMAND = {*SECRETS, HOLD, RUN, "backups"}
SUFFIX = ".tar.gz"
LAST = "last_backup"  # its time is that of the last backup


class CannotRestore(Exception):
    """Says why, and what to do. Nothing was changed, unless it says so."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore. `aside` is where that went which was there before."""

    manifest: Manifest
    aside: Path | None


def default_target() -> Path:
    """Where a backup goes whose place nobody named."""
    return Path(settings.DATA_DIR) / "backups" / f"switchboard-{stamp()}{SUFFIX}"


def stamp() -> str:
    """This moment, fit for a file's name and in order when sorted."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"


def version() -> str:
    """This program's, as its project file has it; "" where that was left out."""
    file = Path(settings.BASE_DIR) / "pyproject.toml"
    return str(tomllib.loads(file.read_text())["project"]["version"]) if file.exists() else ""


# -- backup ---------------------------------------------------------------------------------------


def back_up(target: Path) -> Manifest:
    """Writes everything that is to be kept into one file. Raises CannotStore, OSError; then there is no file."""
    connection = connections[DEFAULT_DB_ALIAS]
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with workplace(target.parent) as folder:
        name = stores.file_name(connection)
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        rows = stores.dump(connection, folder / name)
        applied = sorted(".".join(each) for each in MigrationLoader(connection).applied_migrations)
        contents = archive.Contents(version(), made_at, connection.vendor, applied, rows)
        return archive.write(target, contents, {name: folder / name} | _kept(folder), drafts=folder)


def make(target: Path) -> Manifest:
    """The same, looked through once more: one of which no restore could be made goes, and is none.

    Raises CannotStore, BadArchive, CannotRestore, OSError; then there is no file.
    """
    manifest = back_up(target)
    try:
        verify(target)
    except BaseException:
        with suppress(OSError):
            target.unlink(missing_ok=True)
        raise
    _note(target)
    return manifest


def _note(target: Path) -> None:
    """When the last backup was made, wherever it went: what looks after the server tells it."""
    with suppress(OSError):
        (rundir.place(Path(settings.DATA_DIR)) / LAST).write_text(f"{target.absolute()}\n")


def last_made() -> float | None:
    """When the last backup was made here, in seconds since 1970; None when there is none."""
    folder = Path(settings.DATA_DIR)
    found = [rundir.place(folder) / LAST, *(folder / "backups").glob(f"switchboard-*{SUFFIX}")]
    return max((path.stat().st_mtime for path in found if path.is_file()), default=None)


def _kept(folder: Path) -> dict[str, Path]:
    """The secrets as they are in force, wherever they came from, and what else the data folder alone knows."""
    secrets = dict(zip(SECRETS, (settings.SECRET_KEY, settings.ADMIN_KEY), strict=True))
    known = {name: secret for name, secret in secrets.items() if secret}  # one is never made up for a backup
    for name, secret in known.items():
        (folder / name).write_text(f"{secret}\n")
    state = {name: Path(settings.DATA_DIR) / name for name in STATE}
    return {name: folder / name for name in known} | {name: at for name, at in state.items() if at.is_file()}


def verify(source: Path) -> Manifest:
    """That a restore could be made of it: every file is whole, the secrets are there, the database can be read.

    Raises BadArchive, CannotRestore, CannotStore, OSError.
    """
    with _room_beside(source) as drafts:
        manifest = archive.extract(source, drafts)
        secret_key, _ = SECRETS  # a server may have no admin key, and then none is made up
        if secret_key not in manifest.files or not (drafts / secret_key).read_text().strip():
            raise CannotRestore(f"{secret_key} is missing in {source}: no key or session would be valid.")
        file = stores.FILES.get(manifest.vendor, "")
        if file not in manifest.files:
            raise CannotRestore(f"There is no database in {source}.")
        if manifest.vendor == "sqlite":
            _compare(manifest, stores.sqlite_rows(drafts / file))
        else:
            stores.list_dump(drafts / file)
        return manifest


@contextmanager
def _room_beside(source: Path) -> Iterator[Path]:
    """Where there is room for the like of it; in the data folder where nothing can be written beside it."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(workplace(source.parent))
        except OSError:
            folder = stack.enter_context(workplace(Path(settings.DATA_DIR)))
        yield folder


# -- restore --------------------------------------------------------------------------------------


def restore(source: Path, *, replace: bool = False) -> Restored:
    """Makes the data folder and the database what they were. Raises CannotRestore, BadArchive, CannotStore, Held."""
    folder, connection = Path(settings.DATA_DIR), connections[DEFAULT_DB_ALIAS]
    manifest = archive.read_manifest(source)
    _check_fits(manifest, connection)
    with Alone(folder):
        _check_room(folder, connection, replace=replace)
        with workplace(folder) as drafts:
            archive.extract(source, drafts)
            _check_secrets(drafts)
            if connection.vendor == "sqlite":
                return Restored(manifest, _put_sqlite(manifest, drafts, connection))
            return Restored(manifest, _put_postgresql(manifest, drafts, connection))


def _check_fits(manifest: Manifest, connection: BaseDatabaseWrapper) -> None:
    if manifest.vendor != connection.vendor:
        raise CannotRestore(
            f"The backup is of {manifest.vendor}, and the database configured here is {connection.vendor}: restore it "
            "where the same kind is configured, then use `manage.py move`."
        )
    if strange := sorted(manifest.files.keys() - {stores.file_name(connection), *SECRETS, *STATE}):
        raise CannotRestore(f"The backup holds {strange[0]!r}, which this program does not know.")
    if lacking := sorted({stores.file_name(connection), "secret_key"} - manifest.files.keys()):
        raise CannotRestore(f"The backup is not whole: {', '.join(lacking)} is missing.")
    applied = {(app, name) for app, _, name in (each.partition(".") for each in manifest.migrations)}
    if strangers := database.unknown(MigrationLoader(None), applied):
        raise CannotRestore(
            f"The backup is of a newer program (it knows {', '.join(strangers)}); restore it with version "
            f"{manifest.version or 'that made it'}."
        )


def _check_room(folder: Path, connection: BaseDatabaseWrapper, *, replace: bool) -> None:
    if connection.vendor == "postgresql" and (count := stores.others(connection)):
        raise CannotRestore(f"{count} other sessions use the database; stop every server on it first.")
    if not replace and (found := _present(folder, connection)):
        raise CannotRestore(f"There is something already: {found}. `--replace` moves it aside.")


def _present(folder: Path, connection: BaseDatabaseWrapper) -> str:
    """What a restore would put out of its place, in words; "" when there is nothing."""
    if connection.vendor == "postgresql" and connection.introspection.table_names():
        return f"tables in the database {connection.settings_dict['NAME']}"
    here = [path for path in _contents(folder) if path.name not in MADE_BY_ANY_COMMAND]
    if connection.vendor == "sqlite" and (path := _sqlite(connection)).exists():
        here.append(path)
    return ", ".join(dict.fromkeys(str(path) for path in here))


def _contents(folder: Path) -> Iterable[Path]:
    """What is in the data folder, but for drafts, sockets and what earlier restores moved aside."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith((".work-", "replaced-"))
        and path.suffix != ".sock"  # and a link to one, which is none
        and path.name != "lost+found"
    )


def _check_secrets(drafts: Path) -> None:
    """A secret of the environment wins over the one in the folder: with another one all keys would be void."""
    for name in SECRETS:
        given = os.environ.get(name.upper(), "").strip()
        kept = drafts / name
        if given and kept.exists() and given != kept.read_text().strip():
            raise CannotRestore(f"{name.upper()} in the environment is not the backup's; unset it or set that one.")


def _put_sqlite(manifest: Manifest, drafts: Path, connection: BaseDatabaseWrapper) -> Path | None:
    draft, target = drafts / stores.file_name(connection), _sqlite(connection)
    _compare(manifest, stores.sqlite_rows(draft))
    connection.close()
    aside = _move_aside([target, target.with_name(target.name + "-wal"), target.with_name(target.name + "-shm")])
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.move(draft, target)
    _put_files(drafts)
    return aside


def _put_postgresql(manifest: Manifest, drafts: Path, connection: BaseDatabaseWrapper) -> Path | None:
    """A database cannot be moved aside, so it is backed up aside."""
    before = Path(settings.DATA_DIR) / "backups" / f"replaced-{stamp()}{SUFFIX}"
    has_tables = bool(connection.introspection.table_names())
    if has_tables:
        back_up(before)
    aside = _move_aside([]) or (before if has_tables else None)
    try:
        rows = stores.load_postgresql(connection, drafts / stores.file_name(connection))
    except stores.CannotStore as fault:
        rest = f"; what was in the database is in {before}" if has_tables else ""
        raise CannotRestore(f"{fault} The database is empty now{rest}.") from fault
    _compare(manifest, rows)
    _put_files(drafts)
    return aside


def _move_aside(also: list[Path]) -> Path | None:
    """Everything that a restore puts anew goes into a folder of its own. Returns it; None when there was nothing."""
    folder = Path(settings.DATA_DIR)
    here = [path for path in _contents(folder) if path.name not in {HOLD, RUN, "backups"}]
    old = [path for path in dict.fromkeys([*here, *also]) if path.exists()]
    if {path.name for path in old} <= set(SECRETS):
        return None  # any command makes these when they are missing
    aside = folder / f"replaced-{stamp()}"
    aside.mkdir(mode=0o700)
    for path in old:
        shutil.move(path, aside / path.name)
    return aside


def _put_files(drafts: Path) -> None:
    for name in (*SECRETS, *STATE):
        if (drafts / name).exists():
            (drafts / name).replace(Path(settings.DATA_DIR) / name)


def _compare(manifest: Manifest, rows: dict[str, int]) -> None:
    if wrong := sorted(
        name for name in manifest.rows.keys() | rows.keys() if manifest.rows.get(name) != rows.get(name)
    ):
        raise CannotRestore(f"Rows are missing in {', '.join(wrong)}: the backup is not what its manifest says.")


def _sqlite(connection: BaseDatabaseWrapper) -> Path:
    return Path(str(connection.settings_dict["NAME"]))
