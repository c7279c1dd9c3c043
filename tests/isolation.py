"""Every test begins as in a fresh process, and what it leaves behind is named.

What Django's own test client leaves (a language, a time zone) and what a process may keep (its schedulers and caches)
is made new before each test; what a test changed by hand and did not put back fails that test."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import ReferenceType

import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone, translation

# A parent may have them ignored or blocked (`nohup make test`, a shell's `&`), and every child would inherit that.
DEFAULTS: dict[signal.Signals, Any] = {
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGQUIT: signal.SIG_DFL,
    signal.SIGUSR1: signal.SIG_DFL,
    signal.SIGUSR2: signal.SIG_DFL,
    signal.SIGCHLD: signal.SIG_DFL,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGINT: signal.default_int_handler,
}
OF_PYTEST = {"PYTEST_CURRENT_TEST", "PYTEST_VERSION"}
# Not those that modules listen to from their import on, whenever that is.
DJANGOS = {
    "django.core.signals": ("request_started", "request_finished", "got_request_exception"),
    "django.db.backends.signals": ("connection_created",),
    "django.db.models.signals": ("pre_save", "post_save", "pre_delete", "post_delete", "m2m_changed"),
    "django.contrib.auth.signals": ("user_logged_in", "user_logged_out", "user_login_failed"),
}


def start_fresh() -> None:
    """What this process inherited from whoever started it, put as a login shell would give it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for number, handler in DEFAULTS.items():
        signal.signal(number, handler)
    os.umask(0o022)


def pytest_configure() -> None:
    """Before any test starts a process."""
    start_fresh()


def begin() -> None:
    """As in a process that has served nothing yet: nothing is tied to a loop that has ended."""
    # With models, which no plugin may import before Django is up.
    from privategpt import desk
    from privategpt.retrieval import indexes, search
    from relay import exchange

    if (held := exchange.peek()) and held.loop.is_closed():
        exchange._exchange = None
    if desk._desk and desk._desk.loop.is_closed():
        desk._desk = None
    translation.deactivate()
    timezone.deactivate()
    search.searcher.cache_clear()
    indexes.index.cache_clear()


def _settings() -> dict[str, Any]:
    """A copy, since a list of them may be changed in its place."""
    return {name: copy.copy(getattr(settings, name)) for name in dir(settings) if name.isupper()}


def _receivers() -> dict[str, int]:
    found = {}
    for module, names in DJANGOS.items():
        for name in names:
            kept = [entry[1] for entry in getattr(import_module(module), name).receivers]
            found[name] = sum(not isinstance(receiver, ReferenceType) or receiver() is not None for receiver in kept)
    return found


def _running_loop() -> object:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


LOOKED_AT: dict[str, Callable[[], Any]] = {
    "the environment": lambda: {name: value for name, value in os.environ.items() if name not in OF_PYTEST},
    "a setting": _settings,
    "a receiver of a signal of Django": _receivers,
    "a handler of a signal": lambda: {number: signal.getsignal(number) for number in DEFAULTS},
    "the mask of signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, set()),
    "the clock": lambda: (time.time, time.monotonic, time.sleep, time.perf_counter, timezone.now),
    "the folder": Path.cwd,
    "the mask of new files": lambda: os.umask(0o022),
    "the path of modules": lambda: list(sys.path),
    "the level of logs": lambda: (logging.root.level, logging.root.manager.disable),
    "a wrapper of the database": lambda: {each.alias: len(each.execute_wrappers) for each in connections.all(True)},
    "a running loop": _running_loop,
}


def state() -> dict[str, Any]:
    """What is compared before and after a test."""
    return {name: look() for name, look in LOOKED_AT.items()}


def left_behind(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs, by name and with its values."""
    found = []
    for name, then in before.items():
        now = after[name]
        if isinstance(then, dict):
            found += [
                f"{name}: {key} was {then.get(key)!r} and is {now.get(key)!r}"
                for key in then.keys() | now.keys()
                if then.get(key) != now.get(key)
            ]
        elif then != now:
            found.append(f"{name}: was {then!r} and is {now!r}")
    return found


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(django_test_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails the test that left something, and puts back what can be put back, so that only that one fails."""
    begin()
    before = state()
    yield
    monkeypatch.undo()  # which it would do itself, but after this: pytest-django asks for it first
    if found := left_behind(before, state()):
        _put_back(before)
        pytest.fail("left behind: " + "; ".join(found), pytrace=False)


def _put_back(before: dict[str, Any]) -> None:
    for name in os.environ.keys() - before["the environment"].keys() - OF_PYTEST:
        del os.environ[name]
    os.environ.update(before["the environment"])
    os.chdir(before["the folder"])
    sys.path[:] = before["the path of modules"]
    start_fresh()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How to run the tests in this order again."""
    seed = config.getoption("randomly_seed", None)
    if seed is not None:
        terminalreporter.line(f"In the order of --randomly-seed={seed}")
