"""What `manage.py serve` does to the database before it starts, and when it refuses to start."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests import databases, leg
from tests.patience import PATIENCE
from tests.running import ROOT, Server, environment, manage, migrated, until

on_sqlite = pytest.mark.skipif(leg.SERVER is not None, reason="about files; PostgreSQL is copied by its own means")

on_postgres = pytest.mark.skipif(leg.SERVER is None, reason="SQLite is copied by itself")


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    databases.clone(source, target)
    return target


@pytest.fixture
def current(tmp_path: Path) -> Path:
    """A data folder whose database has every migration."""
    return copied(migrated(), tmp_path / "data")


@pytest.fixture(scope="module")
def before_the_relay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder to be copied, whose database is in the state before the relay's migrations."""
    data = copied(migrated(), tmp_path_factory.mktemp("before") / "data")
    assert manage(data, "migrate", "relay", "zero", "--skip-checks").returncode == 0
    return data


@pytest.fixture
def earlier(before_the_relay: Path, tmp_path: Path) -> Path:
    return copied(before_the_relay, tmp_path / "data")


def change(data: Path, statement: str) -> None:
    """Changes the database behind the server's back."""
    databases.sql(data, statement)


def refusal(data: Path) -> str:
    """The one sentence with which the start is refused."""
    done = manage(data, "serve", "0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]  # what the log said before it is no refusal


@on_sqlite
def test_pending_migrations_run_after_a_copy_of_which_five_are_kept(earlier: Path) -> None:
    backups = earlier / "backups"
    backups.mkdir()
    for day in range(10, 17):
        (backups / f"switchboard-202001{day}T000000.000000Z.sqlite3").touch()
    with Server(earlier) as server:
        assert server.get("/ready").status_code == 200
    copies = sorted(backups.iterdir())
    assert len(copies) == 5
    assert copies[0].name.startswith("switchboard-20200113")
    assert stat.S_IMODE(copies[-1].stat().st_mode) == 0o600
    with sqlite3.connect(copies[-1]) as before:
        assert before.execute("SELECT count(*) FROM django_migrations WHERE app = 'relay'").fetchone() == (0,)
        assert before.execute("SELECT count(*) FROM django_migrations WHERE app = 'accounts'").fetchone() != (0,)


def test_a_migration_that_fails_stops_the_start_and_names_the_copy(current: Path) -> None:
    change(current, "DELETE FROM django_migrations WHERE app = 'relay'")  # its tables stand in the way now
    said = refusal(current)
    assert "Migrating the database failed" in said
    if leg.SERVER is None:
        (copy,) = (current / "backups").iterdir()
        assert str(copy) in said


@on_sqlite
def test_a_copy_that_cannot_be_made_stops_the_start(earlier: Path) -> None:
    (earlier / "backups").write_text("a file where the folder should be")
    assert "could not be copied" in refusal(earlier)
    with sqlite3.connect(earlier / "switchboard.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM django_migrations WHERE app = 'relay'").fetchone() == (0,)


# In place of pg_dump.
DUMPS = """#!/bin/sh
for word in "$@"; do case "$word" in --file=*) echo dump > "${word#--file=}"; echo "$word" > '%s';; esac; done
"""
FAILS = "#!/bin/sh\necho 'pg_dump: error: %s' >&2\nexit 1\n"


def with_pg_dump(folder: Path, script: str) -> str:
    """A path to look for programs in, where this is pg_dump."""
    folder.mkdir()
    (folder / "pg_dump").write_text(script)
    (folder / "pg_dump").chmod(0o700)
    return f"{folder}:{os.environ['PATH']}"


@on_postgres
def test_a_copy_of_postgresql_is_made_where_a_killed_one_is_cleared_away(earlier: Path, tmp_path: Path) -> None:
    path = with_pg_dump(tmp_path / "bin", DUMPS % (tmp_path / "told"))
    done = manage(earlier, "setup", PATH=path)
    assert done.returncode == 0, done.stderr
    draft = Path((tmp_path / "told").read_text().strip().removeprefix("--file="))
    assert draft.parent.name.startswith(".work-")
    assert draft.parent.parent == earlier / "backups"
    (copy,) = (earlier / "backups").iterdir()
    assert copy.read_text() == "dump\n"


@on_postgres
def test_a_copy_of_postgresql_that_fails_stops_the_start_and_one_without_its_program_does_not(
    earlier: Path, tmp_path: Path
) -> None:
    full = with_pg_dump(tmp_path / "full", FAILS % "could not write: No space left on device")
    done = manage(earlier, "setup", PATH=full)
    assert done.returncode == 1
    assert "could not be copied" in done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    old = with_pg_dump(tmp_path / "old", FAILS % "aborting because of server version mismatch")
    done = manage(earlier, "setup", PATH=old)
    assert done.returncode == 0, done.stderr
    assert "migrated without a copy from before" in done.stderr
    assert list((earlier / "backups").iterdir()) == []


def test_a_database_of_a_newer_version_is_refused(current: Path) -> None:
    change(current, "INSERT INTO django_migrations (app, name, applied) VALUES ('relay', '0999_later', '2030-01-01')")
    assert "newer than this program (it knows relay.0999_later)" in refusal(current)


@on_sqlite
def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "switchboard.sqlite3").write_text("no database, but long enough to be looked at as one" * 100)
    assert "cannot be opened" in refusal(tmp_path)


def test_a_new_database_beside_others_is_a_loud_warning_once(tmp_path: Path) -> None:
    (tmp_path / "old.sqlite3").touch()
    with Server(tmp_path) as server:
        assert "THE DATABASE IS NEW AND EMPTY" in server.screen
        assert str(tmp_path / "old.sqlite3") in server.screen
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    with Server(tmp_path) as server:
        assert "NEW AND EMPTY" not in server.screen
        assert not (tmp_path / "backups").exists()  # nothing was pending


def recorded(data: Path) -> int:
    """How many migrations have been written down."""
    try:
        return int(databases.sql(data, "SELECT count(*) FROM django_migrations")[0][0])
    except Exception:  # no table yet, or locked just now
        return 0


def test_a_migration_that_was_killed_goes_on_at_the_next_start(tmp_path: Path) -> None:
    migrating = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0", "--skip-checks"],
        env=environment(tmp_path),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    until(lambda: recorded(tmp_path) > 3 or migrating.poll() is not None, "some migrations are done")
    migrating.kill()
    migrating.wait(PATIENCE)
    assert manage(tmp_path, "migrate", "--verbosity", "0").returncode == 0
    assert recorded(tmp_path) == recorded(migrated())


# What keeps any migration of the relay from being written down, and what lifts that again.
UNWRITTEN = (
    "CREATE TRIGGER full BEFORE INSERT ON django_migrations WHEN new.app = 'relay' "
    "BEGIN SELECT raise(ABORT, 'full'); END",
    "DROP TRIGGER full",
)
if leg.SERVER is not None:
    UNWRITTEN = (
        "ALTER TABLE django_migrations ADD CONSTRAINT \"full\" CHECK (app <> 'relay')",
        'ALTER TABLE django_migrations DROP CONSTRAINT "full"',
    )


def test_a_migration_that_could_not_be_written_down_has_done_nothing(earlier: Path) -> None:
    change(earlier, UNWRITTEN[0])
    failed = manage(earlier, "migrate", "--verbosity", "0")
    assert failed.returncode == 1
    assert "full" in failed.stderr
    change(earlier, UNWRITTEN[1])
    assert manage(earlier, "migrate", "--verbosity", "0").returncode == 0
    assert recorded(earlier) == recorded(migrated())


def test_several_starts_at_once_migrate_once(tmp_path: Path) -> None:
    if leg.SERVER is None:
        pytest.skip("one machine, one file: the second start finds the port taken, or waits for the file")
    first = Server(tmp_path / "one")
    second = Server(tmp_path / "two", **databases.settings(tmp_path / "one"))
    with first as one, second as two:
        assert one.get("/ready").status_code == two.get("/ready").status_code == 200
    assert recorded(tmp_path / "one") == recorded(migrated())
