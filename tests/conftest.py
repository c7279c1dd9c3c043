"""For all tests: a fast password hasher and the fixed cast. Alice owns, Bob shares, Charlie may not."""

from __future__ import annotations

import contextlib
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from django.db import connections

from accounts.models import User
from privategpt import desk
from project.messages import compile_messages
from tests import leg
from tests.answering import BACKENDS, Scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pytest_django import Settings

pytest_plugins = ["tests.isolation", "tests.reports", "tests.wire_fixtures", "tests.socket_fixtures"]

PASSWORD = "a long enough password"
collect_ignore_glob = leg.WITHOUT_DATABASE if leg.NAME == "postgres" else []


# What schemathesis's plugin imports at the end of a run only. pytest rewrites these when they are imported, and
# Python before 3.11.8 may fail at that with a SystemError when other threads run: all tests pass, and the run fails.
LATE = ("core.schema_analysis", "engine.summary", "reporting.html.writer", "reporting.junitxml", "reporting.recorders")


def pytest_configure() -> None:
    """Tests run from a tree that `make` has not been through as well."""
    for name in LATE:
        with contextlib.suppress(ImportError):
            import_module(f"schemathesis.{name}")
    compile_messages()
    leg.empty_quickly()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, for pytest-xdist alone: it asks for `--no-loadscope-reorder` to keep that."""
    if leg.WORKER:
        items.sort(key=lambda item: _place(item.path.name))


def _place(name: str) -> int:
    return leg.LONGEST.index(name) if name in leg.LONGEST else len(leg.LONGEST)


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


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file, as in service: SQLite's memory, shared by threads, has other locks than a file has."""
    if leg.SERVER is not None:
        return
    path = tmp_path_factory.mktemp("database") / "test.sqlite3"
    described = connections["default"].settings_dict
    described["TEST"]["NAME"] = str(path)
    # Nobody's data: a crash of the machine may take it, and no commit waits for the disk.
    described["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """pytest-django's, which migrates, and drops the database in the end: whoever is still connected is sent away."""
    leg.leave_what_is_filled()
    yield
    if leg.SERVER is not None:
        leg.SERVER.send_away(connections["default"].settings_dict["NAME"])


@pytest.fixture
async def scripted(settings: Settings, transactional_db: None) -> AsyncIterator[type[Scripted]]:
    """Answers come from a backend that says what the test tells it to."""
    settings.LLM_BACKENDS, settings.LLM_BACKEND = BACKENDS, "scripted"
    Scripted.reset()
    yield Scripted
    await desk.close()
