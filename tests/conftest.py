"""For all tests: a fast password hasher and the fixed cast. Alice owns, Bob shares, Charlie may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import connections

from accounts.models import User
from tests import standins
from tests.wire_server import User as Asker
from tests.wire_server import Web, empty_database

standins.install()

if TYPE_CHECKING:
    from pytest_django import Settings

PASSWORD = "a long enough password"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database file, as in use: in memory, the connections of several threads lock each other out for good."""
    found = connections["default"].settings_dict
    found["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
    found["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"


@pytest.fixture(autouse=True)
def _fast_hasher(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice@example.org", PASSWORD, name="Alice")


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob@example.org", PASSWORD, name="Bob")


@pytest.fixture
def charlie(db: None) -> User:
    return User.objects.create_user("charlie@example.org", PASSWORD, name="Charlie")


# -- real web servers, one for each way in to `POST /api/ask` ---------------------------------------

SHORT = {  # so that what runs out in a test runs out soon
    "AGENT_TIMEOUT": "1.2",
    "AGENT_RETURN": "0.3",
    "QUEUE_WAIT": "2",
    "QUEUE_SIZE": "30",
    "QUEUE_PER_USER": "20",
    "HEAD_TIMEOUT": "1",
    "BODY_TIMEOUT": "1",
}


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_database(tmp_path_factory.mktemp("empty"))


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


@pytest.fixture(params=["lane", "view"])
def web(request: pytest.FixtureRequest) -> Web:
    """Both, one after the other: whatever an ask does, it does on both ways in."""
    found: Web = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def asker(web: Web) -> Asker:
    """A user with a relay token of the server."""
    return web.user()


# At the end, so that other helpers' fixtures stand together above.
from tests.socket_fixtures import (  # noqa: E402
    data_template,
    door,
    hasty,
    hasty_web,
    new_web,
    steady_web,
)

__all__ = ["data_template", "door", "hasty", "hasty_web", "new_web", "steady_web"]
