"""Whom each may manage through contract 2: the same people as in the admin site (test_one_rule.py)."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Group, Token, User
from tests.conftest import PASSWORD
from tests.contract2.conftest import program
from tests.contract2.server import Program
from tests.test_one_rule import MANAGES, TARGETS, actor, target

ACTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "password": ("PATCH", "/users", {"password": "quite another password"}),
    "name": ("PATCH", "/users", {"name": "Taken"}),
    "groups": ("PATCH", "/users", {"groups": ["tea"]}),
    "roles": ("PATCH", "/users", {"roles": ["documents"]}),
    "public": ("PATCH", "/users", {"usePublic": False}),
    "retire": ("DELETE", "/users", {}),
    "reactivate": ("POST", "/users/reactivate", {}),
}


def snapshot(user: User) -> tuple[Any, ...]:
    found = User.objects.get(pk=user.pk)
    return (
        *(found.password, found.name, found.roles, found.may_use_public, found.is_active),
        [group.name for group in found.groups.all()],
    )


@pytest.mark.parametrize("who", MANAGES)
def test_each_manages_whom_they_may(anybody: Program, who: str) -> None:
    doer = actor(who)
    if who != "superuser":
        doer.roles = [*doer.roles, "documents"]  # to give
        doer.save()
    caller = program(anybody, doer)
    Group.objects.create(name="tea")
    for whom in TARGETS:
        for name, (method, path, body) in ACTS.items():
            sufferer = target(whom)
            if name == "reactivate":
                sufferer.retire()
            before = snapshot(sufferer)
            reply = caller.call(method, path, {"email": sufferer.email, **body})
            allowed = whom in MANAGES[who]
            assert reply.status == (200 if allowed else 403), (whom, name)
            assert (snapshot(sufferer) != before) == allowed, (whom, name)
            sufferer.delete()


def test_the_loss_of_the_system_ends_ones_agents(as_root: Program, anybody: Program) -> None:
    alice = User.objects.create_user("alice@example.org", PASSWORD, roles=["system"])
    plain = User.objects.create_user("bob@example.org", PASSWORD)
    keys = [Token.objects.issue(Token.Kind.AGENT, user)[0] for user in (alice, plain, None)]
    for user in (alice, plain):
        assert as_root.patch("/users", {"email": user.email, "roles": ["documents"]}).status == 200
    assert [Token.objects.get(pk=key.pk).state for key in keys] == ["revoked", "live", "live"]
