"""For all tests: a fast password hasher and the fixed cast. Alice owns, Bob shares, Charlie may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accounts.models import User

if TYPE_CHECKING:
    from pytest_django import Settings

pytest_plugins = ["tests.wire_fixtures", "tests.socket_fixtures"]

PASSWORD = "a long enough password"


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
