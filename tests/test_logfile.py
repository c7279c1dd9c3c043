"""The log in files: turned over by size and count, by several processes at once, without logrotate."""

from __future__ import annotations

import logging
import multiprocessing
import stat
from pathlib import Path

import pytest

from project.logfile import LogFile
from project.logs import LineFormatter
from tests.running import manage


def handler(path: Path, most_bytes: int = 1000, kept: int = 3) -> LogFile:
    made = LogFile(str(path), most_bytes, kept)
    made.setFormatter(LineFormatter())
    return made


def say(log: LogFile, text: str) -> None:
    log.handle(logging.makeLogRecord({"msg": text, "levelno": 20, "levelname": "INFO", "name": "test"}))


def lines(folder: Path) -> list[str]:
    return [line for path in folder.glob("log*") for line in path.read_text().splitlines()]


def test_it_is_turned_over_by_size_and_so_many_are_kept(tmp_path: Path) -> None:
    log = handler(tmp_path / "log")
    for number in range(200):
        say(log, f"line {number}")
    log.close()
    assert sorted(path.name for path in tmp_path.glob("log*")) == ["log", "log.1", "log.2", "log.3"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.glob("log*"))
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.glob("log*"))
    assert "line 199" in (tmp_path / "log").read_text()


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    log = handler(tmp_path / "log", kept=0)
    for number in range(50):
        say(log, f"line {number}")
    assert [path.name for path in tmp_path.glob("log*")] == ["log"]
    assert "line 49" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("way", ["moved", "deleted"])
def test_a_file_that_somebody_takes_away_is_opened_anew(tmp_path: Path, way: str) -> None:
    path = tmp_path / "log"
    log = handler(path)
    say(log, "before")
    if way == "moved":
        path.rename(tmp_path / "elsewhere")
    else:
        path.unlink()
    say(log, "after")
    assert "after" in path.read_text()
    assert "before" not in path.read_text()


def _write(path: Path, name: int) -> None:
    log = handler(path, most_bytes=4000, kept=100)
    for number in range(300):
        say(log, f"<{name} {number}>")


def test_processes_that_write_at_once_lose_no_line_and_tear_none(tmp_path: Path) -> None:
    started = [
        multiprocessing.get_context("spawn").Process(target=_write, args=(tmp_path / "log", n)) for n in range(3)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    found = sorted(line.split("test: ")[1] for line in lines(tmp_path))
    assert found == sorted(f"<{name} {number}>" for name in range(3) for number in range(300))


def test_what_cannot_be_written_is_counted_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    log = handler(tmp_path / "log")
    say(log, "lost")
    (tmp_path / "log").rmdir()
    say(log, "kept")
    assert "1 lines of the log were lost" in (tmp_path / "log").read_text()


def test_the_setting_sends_the_log_there(tmp_path: Path) -> None:
    program = "import logging; logging.getLogger('privategpt').warning('said')"
    data = tmp_path / "data"
    done = manage(data, "shell", "--no-imports", "-c", program, LOG_FILE=str(tmp_path / "logs" / "log"))
    assert "said" in (tmp_path / "logs" / "log").read_text()
    assert "said" not in done.stderr
    assert "LOG_FILES" in manage(data, "check", LOG_FILE=str(tmp_path / "log"), LOG_FILES="some").stderr
