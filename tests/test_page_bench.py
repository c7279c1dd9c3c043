"""The test bench: what is found and with which scores, and as somebody else for administrators only."""

from __future__ import annotations

from uuid import uuid4

import pytest

from accounts.models import AuditEntry, Group, User
from privategpt import ingest
from privategpt.models import Scenario, Source
from privategpt.pages import bench
from privategpt.retrieval.search import Found, Hit
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


def found(**more: object) -> Found:
    """Two sources, the second far from the question."""
    facts = {"title": "Tides", "heading": "", "start": 0, "end": 5, "text": "gates", "language": "en", "score": 1.0}
    hits = [
        Hit(passage=n, source=uuid4(), cosine=cosine, **(facts | more))  # type: ignore[arg-type]
        for n, cosine in enumerate((0.9, 0.2))
    ]
    return Found(hits, [hit.source for hit in hits], [])


class Searching:
    """A search that finds what the test says."""

    def __init__(self, found: Found) -> None:
        self.found = found

    def search(self, *_: object) -> Found:
        return self.found


def test_what_a_scenario_cuts_is_grey_with_the_reason(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "searcher", lambda: Searching(found()))
    scenario = Scenario.objects.create(name="Strict", description="d", active=True, similarity_threshold=0.35, k=5)
    page = browser(alice).get(f"{QUESTION}&scenario={scenario.pk}")
    assert page.content.decode().count('<li class="cut">') == 1
    assert "Below 0.35: would not be shown to the model." in text(page)
    assert "Below" not in text(browser(alice).get(QUESTION))


def test_sources_behind_those_that_an_answer_is_given_are_grey(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "searcher", lambda: Searching(found()))
    scenario = Scenario.objects.create(name="One", description="d", active=True, k=1)
    page = browser(alice).get(f"{QUESTION}&scenario={scenario.pk}")
    assert page.content.decode().count('<li class="cut">') == 1
    assert "Behind the first 1 source: would not be shown to the model." in text(page)


def test_a_scenario_of_somebody_else_is_no_choice(tides: Source, alice: User, bob: User) -> None:
    scenario = Scenario.objects.create(name="Draft", description="d", owner=bob)
    page = browser(alice).get(f"{QUESTION}&scenario={scenario.pk}")
    assert page.status_code == 200
    assert "Draft" not in text(page)
