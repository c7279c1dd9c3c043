"""The test bench: what is found and with which scores, and as somebody else for administrators only."""

from __future__ import annotations

import pytest

from accounts.models import AuditEntry, Group, User
from privategpt import ingest
from privategpt.models import Source
from tests.admin_site import administrator
from tests.pages import browser, text

QUESTION = "/sources/bench?q=when+do+the+gates+close"


@pytest.fixture
def tides(alice: User) -> Source:
    group = Group.objects.create(name="Harbour office")
    group.members.add(alice)
    content = "# Tides\n\nThe <b>gate</b> closes an hour before high water."
    return ingest.store(alice, title="Tide tables", content=content, groups=[group], public=False)


def test_what_is_found_is_shown_with_its_words_marked(tides: Source, alice: User) -> None:
    page = browser(alice).get(QUESTION)
    assert f"/sources/{tides.pk}/?start=" in page.content.decode()
    assert "<mark>gate</mark>" in page.content.decode()
    assert "&lt;b&gt;" in page.content.decode()
    assert "1 passage in" in text(page)


def test_nobody_finds_what_they_may_not_read(tides: Source, bob: User) -> None:
    page = text(browser(bob).get(QUESTION))
    assert "Nothing in these sources answers this." in page
    assert "Tide" not in page


def test_an_administrator_sees_what_another_user_gets_and_the_look_is_in_the_audit_log(
    tides: Source, alice: User, bob: User
) -> None:
    root = administrator()
    page = text(browser(root).get(f"{QUESTION}&as=bob@example.org"))
    assert "1 withheld: Bob is not in Harbour office." in page
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.what.split(":")[0]) == (root, "search as", "bob@example.org")
    page = text(browser(root).get(f"{QUESTION}&as=alice@example.org"))
    assert "Tide tables" in page
    assert "withheld" not in page


def test_nobody_else_searches_as_somebody_else(tides: Source, alice: User, bob: User) -> None:
    bob.roles = ["system", "users", "documents"]
    bob.is_staff = True
    bob.save()
    assert browser(bob).get(f"{QUESTION}&as=alice@example.org").status_code == 404
    assert "As user" not in text(browser(bob).get("/sources/bench"))
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("query", ["limit=x&group=99999999999", "group=public", "limit=24", "group=-1"])
def test_nonsense_in_the_address_is_no_fault(tides: Source, alice: User, query: str) -> None:
    assert browser(alice).get(f"{QUESTION}&{query}").status_code == 200
