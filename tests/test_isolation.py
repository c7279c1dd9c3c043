"""A test that leaves something behind fails and is named; one whose parent ignores signals has them all the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.patience import PATIENCE
from tests.running import ROOT

FAULTS = {
    "the environment: LEFT": "os.environ['LEFT'] = 'here'",
    "a setting: LOGIN_URL": "settings.LOGIN_URL = '/elsewhere'",
    "a receiver of a signal of Django: post_save": "post_save.connect(print)",
    "a handler of a signal: ": "signal.signal(signal.SIGUSR1, print)",
    "the clock": "time.monotonic = lambda: 5.0",
    "the folder": "os.chdir('/')",
    "the level of logs": "logging.disable(logging.ERROR)",
}
HEAD = """
import logging, os, signal, time
from django.conf import settings
from django.db.models.signals import post_save
from django.utils import translation
"""
NEXT = """

def test_next_{number}():
    assert signal.getsignal(signal.SIGHUP) == signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert "LEFT" not in os.environ
    assert translation.get_language() == settings.LANGUAGE_CODE


def test_leaves_{number}():
    {body}
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of tests that leave something, each between two that look, started as `nohup` does."""
    folder = tmp_path_factory.mktemp("inner")
    bodies = [*FAULTS.values(), "translation.activate('de')", "pass"]
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.isolation"]')
    tests = [NEXT.format(number=number, body=body) for number, body in enumerate(bodies)]
    (folder / "test_inner.py").write_text(HEAD + "".join(tests))
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-c", str(ROOT / "pyproject.toml"), str(folder)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=kept, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    return done.stdout + done.stderr


@pytest.mark.parametrize("named", FAULTS)
def test_what_a_test_leaves_is_named(said: str, named: str) -> None:
    assert re.search(rf"^left behind: .*{re.escape(named)}", said, re.MULTILINE), said


def test_the_next_one_is_spared_and_a_page_in_another_language_is_no_fault(said: str) -> None:
    assert f"{2 * (len(FAULTS) + 2)} passed, {len(FAULTS)} errors" in said, said
