"""The page Health: who sees it, what it says of each part and of what waits, and what is to be done."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from accounts.models import User
from privategpt.models import BackupState, Source
from privategpt.rundir import place
from privategpt.serving import parts
from privategpt.serving.parts import DOWN, ENDED, UNREACHABLE, UP, Note, Part
from tests.admin_site import administrator, staff
from tests.answering import source
from tests.pages import browser, text
from tests.running import ROOT
from tests.test_figures import asked


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    """A data folder of this test's own, of a server that has no embedder."""
    settings.DATA_DIR, settings.EMBEDDER = tmp_path, False
    return tmp_path


def shown(path: str = "/dashboard/health", language: str = "en") -> str:
    root = User.objects.filter(is_superuser=True).first() or administrator()
    root.language = language
    root.save()
    return text(browser(root).get(path))


def test_only_administrators_who_may_watch_see_it(alice: User) -> None:
    path = "/dashboard/health"
    assert browser().get(path)["Location"].startswith("/sign-in")
    alice.roles = ["analytics"]
    alice.save()
    assert browser(alice).get(path).status_code == 404
    assert browser(staff("users", email="u@example.org")).get(path).status_code == 404
    for member in (administrator(), staff("analytics"), staff("system", email="s@example.org")):
        assert browser(member).get(path).status_code == 200
    assert browser(staff("system", email="t@example.org")).post(path).status_code == 405


def test_the_way_to_it_stands_beside_the_dashboard(db: None) -> None:
    assert 'href="/dashboard/health"' in browser(administrator()).get("/dashboard").content.decode()


def test_every_part_is_told_with_what_to_do(db: None, folder: Path) -> None:
    told = [Part("The web server", UP), Part("The ingest worker 2", DOWN, 3), Part("The built-in agent", ENDED)]
    parts.note(folder, told)
    words = shown()
    assert "Web server Runs" in words
    assert "Worker 2 It ended and starts again by itself" in words
    assert "Down, started again 3 times" in words
    assert "Built-in agent It cannot run here" in words
    parts.forget(folder)
    assert "Every part runs by itself here" in shown()


def test_what_a_supervisor_said_that_is_gone_does_not_count(db: None, folder: Path) -> None:
    parts.note(folder, [Part("The web server", UP)])
    (note,) = place(folder).glob("parts-*.json")
    assert parts.known(folder)
    note.write_bytes(msgspec.json.encode(Note(time.time() - 60, [Part("The web server", UP)])))
    note.with_name("parts-1.json").write_bytes(b"no JSON")
    assert parts.known(folder) == []
    note.rename(note.with_name("parts-2.json"))
    os.utime(note.with_name("parts-2.json"), (1, 1))
    parts.note(folder, [Part("The web server", UP)])
    assert not note.with_name("parts-2.json").exists(), "it does not lie there for ever either"


def test_supervisors_in_containers_of_one_folder_do_not_meet(folder: Path) -> None:
    program = "from pathlib import Path; from privategpt.serving import parts; import os, sys; os.getpid = lambda: 1; "
    program += "parts.note(Path(sys.argv[1]), [parts.Part(sys.argv[2], parts.UP)])"
    for name in ("The web server", "The ingest worker"):
        subprocess.run([sys.executable, "-c", program, str(folder), name], cwd=ROOT, check=True)
    assert [part.name for part in parts.known(folder)] == ["The ingest worker", "The web server"]


def test_the_dashboard_names_a_part_that_is_not_there(db: None, folder: Path) -> None:
    assert "not there just now" not in shown("/dashboard")
    parts.note(folder, [Part("The embedder", UNREACHABLE), Part("The web server", UP)])
    words = shown("/dashboard")
    assert "Embedder: not there just now. Health says what to do." in words
    assert "Web server" not in words


def test_an_embedder_that_runs_elsewhere_is_looked_for(db: None, settings: Any) -> None:
    settings.EMBEDDER = True
    assert "Cannot be reached" in shown()


def test_work_that_waits_and_answers_that_failed_are_told(alice: User) -> None:
    for state in ("complete", "failed"):
        asked(alice, timezone.now(), state)
    waits = source("Pumps", "The pumps are oiled.")
    Source.objects.filter(pk=waits.pk).update(
        state=Source.State.PROCESSING, passages_total=5, passages_done=2, updated_at=timezone.now() - timedelta(hours=3)
    )
    words = shown()
    assert "1 source; passages to do: 3" in words
    assert "The oldest made no step for 3 hours" in words
    assert "1 of 2" in words
    assert "The log names each failure" in words


def test_the_last_backup_is_told_and_one_that_is_missing_or_old(db: None, folder: Path) -> None:
    assert "Make one with manage.py backup, and let a timer" in shown()
    made = place(folder) / "last_backup"
    made.touch()
    assert "Last backup 0 seconds ago" in shown() or "Last backup 1 second ago" in shown()
    long_ago = time.time() - 5 * 86400
    os.utime(made, (long_ago, long_ago))
    words = shown()
    assert "5 days ago" in words
    assert "does the timer run?" in words


def test_a_scheduled_backup_is_told_that_another_machine_made_and_one_that_failed(db: None, settings: Any) -> None:
    settings.BACKUP_EVERY = 24
    BackupState.objects.create(pk=1, made_at=timezone.now() - timedelta(hours=5), host="elsewhere")
    words = shown()
    assert "Last backup 5 hours ago" in words
    assert "Make one with" not in words
    BackupState.objects.update(error="No space is left.", failed_at=timezone.now())
    assert "Last backup The last try failed: No space is left. 5 hours ago" in shown()
    settings.BACKUP_EVERY = 0
    assert "No space is left." not in shown(), "nothing is tried any more"


def test_one_that_is_made_every_week_is_not_old_after_three_days(db: None, settings: Any) -> None:
    settings.BACKUP_EVERY = 7 * 24
    BackupState.objects.create(pk=1, made_at=timezone.now() - timedelta(days=10))
    assert "does the timer run?" not in shown()
    BackupState.objects.update(made_at=timezone.now() - timedelta(days=15))
    assert "does the timer run?" in shown()


def test_it_speaks_german(db: None, folder: Path) -> None:
    parts.note(folder, [Part("The embedder", UNREACHABLE, 1)])
    words = shown(language="de")
    assert "Zustand" in words
    assert "Nicht erreichbar, 1-mal neu gestartet" in words
