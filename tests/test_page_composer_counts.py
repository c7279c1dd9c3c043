"""The composer's menu says how many sources each choice has, as far as the reader may read them."""

from __future__ import annotations

import re

from pytest_django import DjangoAssertNumQueries

from accounts.models import Group, User
from privategpt import ingest
from tests.pages import browser


def counts(user: User) -> list[str]:
    return re.findall(r'<span class="count num">(\d+)</span>', browser(user).get("/").content.decode())


def store(user: User, *groups: Group) -> None:
    ingest.store(user, title="T", content="# T\n\nText.", groups=groups, public=not groups)


def test_own_groups_and_public_are_counted_and_no_others(alice: User, bob: User) -> None:
    harbour, support = Group.objects.create(name="Harbour"), Group.objects.create(name="Support")
    alice.groups.add(harbour, support)
    bob.groups.add(support)
    store(alice, harbour)
    store(alice, harbour, support)
    store(alice)
    assert counts(alice) == ["2", "1", "1"]
    assert counts(bob) == ["1", "1"]


def test_public_sources_are_not_counted_for_whom_they_are_switched_off(alice: User, charlie: User) -> None:
    store(alice)
    User.objects.filter(pk=charlie.pk).update(may_use_public=False)
    assert counts(charlie) == ["0"]


def test_a_deleted_source_is_not_counted(alice: User) -> None:
    store(alice)
    ingest.put_aside(alice.created_sources.get())
    assert counts(alice) == ["0"]


def test_more_groups_and_sources_take_no_more_queries(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = browser(alice)
    alice.groups.add(Group.objects.create(name="first"))
    client.get("/")
    with django_assert_num_queries(8):
        client.get("/")
    for number in range(10):
        group = Group.objects.create(name=f"g{number}")
        alice.groups.add(group)
        store(alice, group)
    with django_assert_num_queries(8):
        client.get("/")
