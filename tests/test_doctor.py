"""`manage.py doctor`: a line for each thing, with what to do; the exit status says whether something is bad."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import databases
from tests.running import manage, migrated


def line(text: str, what: str) -> str:
    return next(each for each in text.splitlines() if each.split()[1:2] == [what])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    databases.clone(migrated(), folder)
    for path in folder.iterdir():
        path.chmod(0o600)
    return folder


def test_where_all_is_well_it_says_so(data: Path) -> None:
    done = manage(data, "doctor", PORT="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {each.split()[0] for each in done.stdout.splitlines()} <= {"ok", "warn"}
    for what in ("settings", "files", "space", "limits", "database", "redis", "port", "proxy", "backups", "versions"):
        assert line(done.stdout, what)


@pytest.mark.parametrize(
    ("given", "what", "says"),
    [
        ({"DEBUG": "on"}, "settings", "unset DEBUG"),
        ({"REDIS_URL": "redis://127.0.0.1:1"}, "redis", "REDIS_URL"),
    ],
)
def test_what_is_bad_is_said_with_what_to_do(data: Path, given: dict[str, str], what: str, says: str) -> None:
    done = manage(data, "doctor", **given)
    assert done.returncode == 1
    assert line(done.stdout, what).startswith("bad")
    assert says in line(done.stdout, what)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "what", "says"),
    [
        ({"HOST": "0.0.0.0"}, "settings", "BEHIND_TLS=on"),  # noqa: S104 - it is what is warned of
        ({"ALLOWED_HOSTS": "*"}, "settings", "name the site"),
        ({"ADMIN_KEY": "short"}, "settings", "set a longer one"),
        ({"BEHIND_TLS": "on", "ALLOWED_HOSTS": "switchboard.invalid"}, "proxy", "deploy/nginx.conf"),
        ({"BACKUP_EVERY": "24"}, "backups", "is a worker running?"),
    ],
)
def test_what_may_go_wrong_is_a_warning(data: Path, given: dict[str, str], what: str, says: str) -> None:
    done = manage(data, "doctor", **given)
    assert any(each.startswith("warn") and says in each for each in done.stdout.splitlines()), done.stdout


def test_a_backup_that_another_machine_made_is_known(data: Path) -> None:
    made = f"'{datetime.now(UTC):%Y-%m-%d %H:%M:%S}'"  # both databases keep UTC
    columns = "id, made_at, file, size, host, error"
    databases.sql(data, f"INSERT INTO privategpt_backupstate ({columns}) VALUES (1, {made}, '', 0, 'elsewhere', '')")  # noqa: S608
    done = manage(data, "doctor", BACKUP_EVERY="24")
    assert line(done.stdout, "backups").startswith("ok    backups    the last one is 0 hours old")
    databases.sql(data, "UPDATE privategpt_backupstate SET error = 'No space is left.'")
    assert "the last try failed: No space is left." in manage(data, "doctor", BACKUP_EVERY="24").stdout


def test_rights_of_files(data: Path) -> None:
    (data / "secret_key").write_text("s" * 50)
    (data / "secret_key").chmod(0o644)
    done = manage(data, "doctor")
    assert done.returncode == 1
    assert f"chmod 600 {data / 'secret_key'}" in line(done.stdout, "files")


def test_a_port_that_something_else_has(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = manage(data, "doctor", PORT=str(other.getsockname()[1]))
    assert line(done.stdout, "port").startswith("bad")
    assert done.returncode == 1


def test_a_database_that_is_not_migrated(tmp_path: Path) -> None:
    done = manage(tmp_path / "new", "doctor")
    assert line(done.stdout, "database").startswith("bad")
    assert done.returncode == 1
