"""The benches of recovery and of backups measure what they say, and tell a promise that was not kept."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from bench.recovery import told
from tests.patience import PATIENCE
from tests.running import ROOT


def test_one_slow_recovery_of_twenty_is_a_promise_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert told({"Redis": [0.5] * 20})
    assert not told({"Redis": [0.5] * 19 + [5.1]})
    assert "p50 0.50 s, p99 5.10 s of 20 (must 5 s)" in capsys.readouterr().out


def test_a_backup_is_made_restored_and_counted() -> None:
    command = [sys.executable, "-m", "bench.backup", "--gigabytes", "0.001", "--only", "sqlite"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    found = re.search(r"([\d,]+) rows, tables that differ: none", done.stdout)
    assert found
    assert int(found[1].replace(",", "")) > 1000  # passages, vectors and words
