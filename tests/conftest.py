"""For all tests: a fast password hasher and the fixed cast. Alice owns, Bob shares, Charlie may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connections

from accounts.models import User
from tests import standins

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
