"""`manage.py setup`: a database that the parts can start on, and the first administrator, once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import databases
from tests.running import manage


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder that was set up, and what the command said."""
    folder = tmp_path_factory.mktemp("setup")
    done = manage(folder, "setup")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def count(folder: Path, table: str) -> int:
    ((found,),) = databases.sql(folder, f"SELECT count(*) FROM {table}")  # noqa: S608 - the test's own word
    return int(found)


def test_it_shows_the_password_and_the_key_and_loads_the_manual(first: tuple[Path, str]) -> None:
    folder, said = first
    assert re.search(r"E-mail +admin@switchboard\.local", said)
    assert re.search(r"Password +\w{16}   \(shown only now\)", said)
    assert (folder / "admin_key").read_text().strip() in said
    assert count(folder, "privategpt_source") > 3


def test_running_it_again_changes_and_shows_nothing(first: tuple[Path, str]) -> None:
    folder, _ = first
    sources, people = count(folder, "privategpt_source"), count(folder, "accounts_user")
    again = manage(folder, "setup")
    assert again.returncode == 0, again.stderr
    assert "Password" not in again.stdout
    assert (folder / "admin_key").read_text().strip() not in again.stdout
    assert (count(folder, "privategpt_source"), count(folder, "accounts_user")) == (sources, people)


def test_an_impossible_administrator_is_refused_with_what_to_do(tmp_path: Path) -> None:
    done = manage(tmp_path, "setup", ADMIN_EMAIL="nobody")
    assert done.returncode == 1
    assert "ADMIN_EMAIL is 'nobody', which is no e-mail address." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_manual_that_cannot_be_loaded_does_not_take_the_password_along(tmp_path: Path) -> None:
    (tmp_path / "manual.json").symlink_to(tmp_path / "nowhere" / "manual.json")
    done = manage(tmp_path, "setup")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Password +\w{16}   \(shown only now\)", done.stdout)
    assert "The manual could not be loaded" in done.stderr
    assert not (tmp_path / ".run" / "first_start").exists()
