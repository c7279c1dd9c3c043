"""The cast of contract 2. Alice owns the group "alpha", Bob shares it, Charlie has only his own. Root may all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from accounts.models import Group, Token, User
from privategpt import desk
from tests.conftest import PASSWORD
from tests.contract2.model import Echo
from tests.contract2.server import Loop, Program

if TYPE_CHECKING:
    from pytest_django import Settings

ROLE = ["documents"]


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    found = Loop()
    yield found
    found.close()


@pytest.fixture
def db(transactional_db: None, loop: Loop, settings: Settings) -> Iterator[None]:
    """The server's threads must see what a test wrote; what it still writes is written before the next test."""
    settings.LLM_BACKENDS, settings.LLM_BACKEND = {"echo": {"BACKEND": "tests.contract2.model.Echo"}}, "echo"
    yield
    Echo.after = None
    loop.run(desk.close())


@pytest.fixture
def alpha(db: None) -> Group:
    return Group.objects.create(name="alpha")


@pytest.fixture
def gamma(db: None) -> Group:
    return Group.objects.create(name="gamma")


def person(name: str, *groups: Group, **fields: Any) -> User:
    fields = {"name": name.title(), "roles": ROLE} | fields
    user = User.objects.create_user(f"{name}@example.org", PASSWORD, **fields)
    user.groups.set(groups)
    return user


@pytest.fixture
def alice(alpha: Group) -> User:
    return person("alice", alpha)


@pytest.fixture
def bob(alpha: Group) -> User:
    return person("bob", alpha)


@pytest.fixture
def charlie(gamma: Group) -> User:
    return person("charlie", gamma)


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root@example.org", PASSWORD, name="Root")


@pytest.fixture
def anybody(loop: Loop, db: None) -> Program:
    return Program(loop)


def program(anybody: Program, user: User, **token: Any) -> Program:
    return anybody.with_token(Token.objects.issue(Token.Kind.API, user, **token)[1])


@pytest.fixture
def as_alice(anybody: Program, alice: User) -> Program:
    return program(anybody, alice)


@pytest.fixture
def as_bob(anybody: Program, bob: User) -> Program:
    return program(anybody, bob)


@pytest.fixture
def as_charlie(anybody: Program, charlie: User) -> Program:
    return program(anybody, charlie)


@pytest.fixture
def as_root(anybody: Program, root: User) -> Program:
    return program(anybody, root)
