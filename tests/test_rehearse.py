"""`manage.py rehearse`: the upgrade on a copy, with stored questions; the database itself is not touched."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests import databases, leg
from tests.running import manage, settled

FILL = """
from accounts.models import Group, User
from privategpt import ingest
alice = User.objects.create_user("alice@example.org")
User.objects.create_user("charlie@example.org")
group = Group.objects.create(name="Pumps")
alice.groups.add(group)
for title in ("Pumps", "Valves", "Boilers"):
    source = ingest.store(alice, title=title, content=f"How {title.lower()} are oiled.", groups=[group], public=False)
    print(source.pk)
"""
pytestmark = pytest.mark.skipif(leg.SERVER is not None, reason="the copy is made by pg_dump; tests/test_move.py has it")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with three sources."""
    folder = settled(tmp_path_factory.mktemp("template"))
    done = manage(folder, "shell", "--no-imports", "-c", FILL)
    assert done.returncode == 0, done.stderr
    (folder / "ids").write_text(done.stdout)
    return folder


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return shutil.copytree(template, tmp_path / "data")


def ids(data: Path) -> list[str]:
    return (data / "ids").read_text().split()


def content(data: Path) -> str:
    return hashlib.sha256((data / "switchboard.sqlite3").read_bytes()).hexdigest()


def shell(data: Path, program: str) -> None:
    done = manage(data, "shell", "--no-imports", "-c", program)
    assert done.returncode == 0, done.stderr


def test_questions_that_find_their_sources_let_the_upgrade_pass(data: Path) -> None:
    done = manage(
        data, "rehearse", "--add", "Who oils valves?", "--source", ids(data)[1], "--user", "alice@example.org"
    )
    assert done.returncode == 0, done.stderr
    assert "Valves is number 1" in done.stdout
    before = content(data)
    done = manage(data, "rehearse")
    assert done.returncode == 0, done.stderr
    assert "none was pending" in done.stdout
    assert "ok    Who oils valves? -> Valves: number 1, was number 1" in done.stdout
    assert content(data) == before
    assert [path.name for path in data.iterdir() if path.name.startswith(".work-")] == []


def test_a_question_that_lost_its_source_fails_the_rehearsal(data: Path) -> None:
    assert manage(data, "rehearse", "--add", "Who oils valves?", "--source", ids(data)[1]).returncode == 0
    shell(data, "from privategpt.models import Passage; Passage.objects.filter(source__title='Valves').delete()")
    done = manage(data, "rehearse")
    assert done.returncode == 1
    assert "LOST  Who oils valves? -> Valves: not among the first 10" in done.stdout
    assert "Do not upgrade yet" in done.stderr


def test_pending_migrations_run_on_the_copy_alone(data: Path) -> None:
    assert manage(data, "migrate", "relay", "zero", "--verbosity", "0", "--skip-checks").returncode == 0
    done = manage(data, "rehearse")
    assert done.returncode == 0, done.stderr
    assert "relay.0001_initial" in done.stdout
    assert "No question is stored" in done.stdout
    assert databases.sql(data, "SELECT count(*) FROM django_migrations WHERE app = 'relay'") == [(0,)]


def test_a_migration_that_fails_is_found_before_it_matters(data: Path) -> None:
    databases.sql(data, "DELETE FROM django_migrations WHERE app = 'relay'")
    before = content(data)
    done = manage(data, "rehearse")
    assert done.returncode == 1
    assert "The upgrade would fail" in done.stderr
    assert content(data) == before


def test_a_question_that_finds_nothing_even_now_is_not_stored(data: Path) -> None:
    pumps = ids(data)[0]
    wrong = manage(data, "rehearse", "--add", "Zeppelin?", "--source", pumps)
    assert (wrong.returncode, "does not find" in wrong.stderr) == (1, True)
    wrong = manage(data, "rehearse", "--add", "Pumps?", "--source", pumps, "--user", "charlie@example.org")
    assert (wrong.returncode, "that charlie@example.org may read" in wrong.stderr) == (1, True)
    for unknown in ("nonsense", "00000000-0000-4000-8000-000000000000"):
        wrong = manage(data, "rehearse", "--add", "Pumps?", "--source", unknown)
        assert (wrong.returncode, "There is no source" in wrong.stderr) == (1, True)
    assert manage(data, "rehearse", "--list").stdout == ""


def test_stored_questions_are_listed_and_forgotten(data: Path) -> None:
    assert manage(data, "rehearse", "--add", "Boilers?", "--source", ids(data)[2]).returncode == 0
    assert "Boilers? -> Boilers (all sources)" in manage(data, "rehearse", "--list").stdout
    assert manage(data, "rehearse", "--remove", "1").returncode == 0
    assert manage(data, "rehearse", "--remove", "1").returncode == 1
