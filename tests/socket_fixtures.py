"""Servers for the tests of the agents' side, one process for each set of settings and run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.socket_server import Door, Web, copied, door_to, template

# So that what runs out in a test runs out soon.
HASTY = {
    "PING_EVERY": "0.2",
    "PONG_WITHIN": "0.6",
    "AGENT_TIMEOUT": "1.5",
    "ASK_TIMEOUT": "3",
    "QUEUE_WAIT": "1",
    "AGENT_RETURN": "1",
    "CONFIRM_WITHIN": "0.5",
    "CLAIM_PING": "0.5",
    "AGENT_REST": "1",
    "QUEUE_SIZE": "12",
    "QUEUE_PER_USER": "8",
}


@pytest.fixture(scope="session")
def data_template() -> Path:
    return template()


@pytest.fixture(scope="session")
def steady_web(tmp_path_factory: pytest.TempPathFactory, data_template: Path) -> Iterator[Web]:
    """A server with the settings of every day."""
    with Web(copied(data_template, tmp_path_factory.mktemp("steady"))) as web:
        yield web


@pytest.fixture(scope="session")
def hasty_web(tmp_path_factory: pytest.TempPathFactory, data_template: Path) -> Iterator[Web]:
    """A server whose every patience is short."""
    with Web(copied(data_template, tmp_path_factory.mktemp("hasty")), **HASTY) as web:
        yield web


@pytest.fixture
async def door(steady_web: Web) -> AsyncIterator[Door]:
    async with door_to(steady_web) as found:
        yield found


@pytest.fixture
async def hasty(hasty_web: Web) -> AsyncIterator[Door]:
    async with door_to(hasty_web) as found:
        yield found


NewWeb = Callable[..., Web]


@pytest.fixture
def new_web(tmp_path: Path, data_template: Path) -> Iterator[NewWeb]:
    """Makes a server for one test alone, with these settings: one that will be killed, or locked, or drained."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Web(copied(data_template, tmp_path / "data"), **settings))
