"""What the servers that tests started wrote meanwhile stands in the report of a test that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

import pytest

MOST = 8_000  # characters of each log
_logs: WeakKeyDictionary[object, tuple[str, Callable[[], str]]] = WeakKeyDictionary()
LENGTHS = pytest.StashKey[dict[int, int]]()


def has_log(server: object, name: str, log: Callable[[], str]) -> None:
    """From now on until the server is forgotten. `log` says all that it wrote; it must not hold the server itself."""
    _logs[server] = (name, log)


def _all() -> Iterator[tuple[int, str, str]]:
    for server, (name, log) in list(_logs.items()):
        try:
            yield id(server), name, log()
        except OSError:
            continue  # its folder went with an earlier test


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[LENGTHS] = {number: len(text) for number, _, text in _all()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        known = item.stash.get(LENGTHS, {})
        for number, name, text in _all():
            if new := text[known.get(number, 0) :]:
                report.sections.append((f"Log of {name}", new[-MOST:]))  # type: ignore[attr-defined]
    return report
