"""Backups by themselves: made once, verified, kept in number; `backup --verify` tells a whole one from a broken one."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from privategpt.models import BackupState
from privategpt.operations import backup, schedule
from privategpt.operations.stores import CannotStore
from tests import databases, leg
from tests.running import manage, migrated

pytestmark = pytest.mark.django_db(transaction=True)


class Maker:
    """Stands for the making of a backup, which other tests do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Path] = []
        self.fault: Exception | None = None
        monkeypatch.setattr(backup, "back_up", self.back_up)
        monkeypatch.setattr(backup, "verify", self.verify)

    def back_up(self, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"all")
        self.made.append(target)

    def verify(self, target: Path) -> None:
        if self.fault:
            raise self.fault


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Maker:
    settings.DATA_DIR, settings.BACKUP_EVERY, settings.BACKUP_KEEP = tmp_path, 24, 2
    return Maker(monkeypatch)


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


def test_a_maker_that_was_killed_has_lost_its_turn_and_its_drafts_go(maker: Maker, tmp_path: Path) -> None:
    BackupState.objects.create(pk=1, claimed_until=timezone.now() - timedelta(seconds=1))
    draft = tmp_path / "backups" / ".scheduled-x.tar.gz.1.part"
    draft.parent.mkdir()
    draft.touch()
    assert schedule.make_if_due()
    assert not draft.exists()


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
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"x" + whole[1:], whole[:2000] + b"\0\0" + whole[2002:]):
        file.write_bytes(broken)
        torn = manage(data, "backup", str(file), "--verify")
        assert torn.returncode == 1
        assert "cannot be restored" in torn.stderr
        assert "Traceback" not in torn.stderr
    assert manage(data, "backup", "--verify").returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "one.tar.gz"], "nothing is left behind"
