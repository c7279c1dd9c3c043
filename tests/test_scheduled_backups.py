"""Backups by themselves: made once, verified, kept in number; `backup --verify` tells a whole one from a broken one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from privategpt.models import BackupState
from privategpt.operations import backup, schedule
from privategpt.operations.archive import BadArchive
from privategpt.operations.stores import CannotStore
from privategpt.serving.workplace import workplace
from tests import databases, leg
from tests.running import manage, migrated, until

pytestmark = pytest.mark.django_db(transaction=True)


class Maker:
    """Stands for the making of a backup, which other tests do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Path] = []
        self.folder = folder
        self.fault: Exception | None = None
        self.meanwhile: Callable[[], object] | None = None
        monkeypatch.setattr(backup, "back_up", self.back_up)
        monkeypatch.setattr(backup, "verify", self.verify)

    def back_up(self, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"all")
        self.made.append(target)
        if self.meanwhile:
            self.meanwhile()

    def verify(self, target: Path) -> None:
        if self.fault:
            raise self.fault


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Maker:
    settings.DATA_DIR, settings.BACKUP_EVERY, settings.BACKUP_KEEP = tmp_path, 24, 2
    return Maker(tmp_path, monkeypatch)


def a_day_later() -> None:
    BackupState.objects.update(made_at=timezone.now() - timedelta(hours=25))


def test_one_is_made_when_it_is_due_and_so_many_are_kept(maker: Maker, tmp_path: Path) -> None:
    by_hand = tmp_path / "backups" / "switchboard-1.tar.gz"
    by_hand.parent.mkdir()
    by_hand.touch()
    for _ in range(4):
        assert schedule.make_if_due()
        assert schedule.make_if_due() is None, "the day is not over"
        a_day_later()
    assert sorted((tmp_path / "backups").glob("scheduled-*")) == maker.made[-2:]
    assert by_hand.exists(), "what was made by hand is nobody's to delete"
    state = schedule.state()
    assert state
    assert (state.file, state.size, state.error) == (str(maker.made[-1]), 3, "")


def test_none_is_made_where_none_is_wanted(maker: Maker, settings: Any) -> None:
    settings.BACKUP_EVERY = 0
    assert schedule.make_if_due() is None
    assert not maker.made


def test_of_many_workers_one_makes_it(maker: Maker) -> None:
    gate = threading.Barrier(4, timeout=20)

    def work() -> None:
        try:
            gate.wait()
            schedule.make_if_due()
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(maker.made) == 1


def test_one_that_is_not_whole_is_no_backup_and_is_tried_again(maker: Maker, tmp_path: Path) -> None:
    maker.fault = CannotStore("It is torn.")
    assert schedule.make_if_due() is None
    assert not list((tmp_path / "backups").glob("scheduled-*"))
    state = schedule.state()
    assert state
    assert state.error == "It is torn."
    maker.fault = None
    assert schedule.make_if_due() is None, "it rests after a failure"
    BackupState.objects.update(failed_at=timezone.now() - timedelta(hours=1))
    assert schedule.make_if_due()


def test_a_maker_that_was_killed_has_lost_its_turn(maker: Maker) -> None:
    BackupState.objects.create(pk=1, claimed_until=timezone.now() + timedelta(seconds=60))
    assert schedule.make_if_due() is None
    BackupState.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert schedule.make_if_due()


def claim() -> Any:
    return BackupState.objects.get(pk=1).claimed_until


def test_who_makes_one_says_so_again_and_again(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "RENEWED_EVERY", 0.01)

    def meanwhile() -> None:
        first = claim()
        until(lambda: claim() > first, "it is renewed")

    maker.meanwhile = meanwhile
    assert schedule.make_if_due()
    assert claim() is None


@pytest.mark.parametrize("fault", [None, CannotStore("It is torn.")])
def test_what_has_become_anothers_turn_is_not_given_back(maker: Maker, fault: Exception | None) -> None:
    others = timezone.now() + timedelta(hours=1)
    maker.fault, maker.meanwhile = fault, lambda: BackupState.objects.update(claimed_until=others)
    schedule.make_if_due()
    assert claim() == others
    assert BackupState.objects.get(pk=1).error == "", "what another makes now may come out well"


def test_no_fault_ends_the_making_of_backups(maker: Maker) -> None:
    thread = schedule.Schedule()

    def fail() -> None:
        thread.stop()
        raise ZeroDivisionError

    maker.meanwhile = fail
    thread.run()
    assert claim() is None
    maker.meanwhile = None
    assert schedule.make_if_due(), "and none waits for it"


def test_drafts_of_others_that_are_under_way_are_left_alone(maker: Maker, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    with workplace(tmp_path / "backups") as folder:
        os.utime(folder, (0, 0))
        assert schedule.make_if_due()
        assert folder.exists()


def test_only_what_could_be_restored_is_the_last_backup(maker: Maker, tmp_path: Path) -> None:
    maker.fault = BadArchive("It is torn.")
    assert schedule.make_if_due() is None
    with pytest.raises(BadArchive):
        backup.make(tmp_path / "by hand")
    assert not (tmp_path / "by hand").exists()
    assert backup.last_made() is None
    maker.fault = None
    backup.make(tmp_path / "by hand")
    assert backup.last_made()


def test_a_backup_that_another_machine_made_is_one(maker: Maker) -> None:
    assert schedule.last_made() is None
    made = timezone.now() - timedelta(hours=3)
    BackupState.objects.create(pk=1, made_at=made)
    assert schedule.last_made() == made.timestamp()
    backup.make(maker.folder / "by hand")
    assert schedule.last_made() == backup.last_made()


@pytest.mark.skipif(leg.SERVER is not None, reason="tests/test_backup.py says why")
def test_verify_tells_a_whole_one_from_a_broken_one(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "one.tar.gz"
    data.mkdir()
    databases.clone(migrated(), data)
    (data / "secret_key").write_text("a key that a first start would have made\n")
    assert manage(data, "backup", str(file)).returncode == 0
    done = manage(data, "backup", str(file), "--verify")
    assert done.returncode == 0, done.stderr
    assert "is whole: sqlite" in done.stdout
    with file.open("rb") as medium:  # as on one that takes no files
        assert manage(data, "backup", f"/proc/{os.getpid()}/fd/{medium.fileno()}", "--verify").returncode == 0
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"x" + whole[1:], whole[:2000] + b"\0\0" + whole[2002:]):
        file.write_bytes(broken)
        torn = manage(data, "backup", str(file), "--verify")
        assert torn.returncode == 1
        assert "cannot be restored" in torn.stderr
        assert "Traceback" not in torn.stderr
    assert manage(data, "backup", "--verify").returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "one.tar.gz"], "nothing is left behind"
