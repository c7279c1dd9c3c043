"""Real web servers, one for each way in to `POST /api/ask`; imported by conftest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import migrated
from tests.wire_server import User, Web

SHORT = {  # so that what runs out in a test runs out soon
    "AGENT_TIMEOUT": "1.2",
    "AGENT_RETURN": "0.3",
    "QUEUE_WAIT": "2",
    "HEAD_TIMEOUT": "1",
    "BODY_TIMEOUT": "1",
    "ADMIN_KEY_FAILURES": "100000",  # a whole session's wrong keys come from one address
}


@pytest.fixture(scope="session")
def empty_sqlite() -> Path:
    return migrated()


@pytest.fixture(scope="session")
def lane(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    """A server whose asks take the fast lane."""
    with Web(tmp_path_factory.mktemp("lane"), empty_sqlite, **SHORT) as web:
        yield web


@pytest.fixture(scope="session")
def view(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    """A server whose asks go through Django and DRF."""
    with Web(tmp_path_factory.mktemp("view"), empty_sqlite, RELAY_FAST_LANE="off", **SHORT) as web:
        yield web


PATIENT = {
    "QUEUE_SIZE": "30",
    "QUEUE_PER_USER": "20",
    "ADMIN_KEY_FAILURES": "100000",
}  # so that a busy machine ends nobody's wait


@pytest.fixture(scope="session")
def patient_lane(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("patient"), empty_sqlite, **PATIENT) as web:
        yield web


@pytest.fixture(scope="session")
def patient_view(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("patient"), empty_sqlite, RELAY_FAST_LANE="off", **PATIENT) as web:
        yield web


@pytest.fixture(params=["patient_lane", "patient_view"])
def patient(request: pytest.FixtureRequest) -> Web:
    """As `web`, with the usual long time limits and a short queue."""
    found: Web = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["lane", "view"])
def web(request: pytest.FixtureRequest) -> Web:
    """Both, one after the other: whatever an ask does, it does on both ways in."""
    found: Web = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def asker(web: Web) -> User:
    """A user with a relay token of the server."""
    return web.user()
