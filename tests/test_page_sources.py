"""Sources in the browser: the list, storing, reading with the passage marked, moving, deleting with undo."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Group, User
from privategpt import ingest, sweeping
from privategpt.models import UNDO, Passage, Source
from privategpt.reading import read
from privategpt.retrieval.passages import passages
from tests.pages import browser, text

TIDES = "# Tide tables\n\nHigh water at noon.\n\n## Gates\n\nThe gates close an hour before.\n\nThen they open.\n"


@pytest.fixture
def engineering(alice: User, bob: User) -> Group:
    """Alice keeps its sources, Bob reads them, Charlie is not in it."""
    group = Group.objects.create(name="Engineering")
    group.members.set([alice, bob])
    alice.roles = ["documents"]
    alice.save()
    return group


@pytest.fixture
def tides(alice: User, engineering: Group) -> Source:
    return ingest.store(alice, title="Tide tables", content=TIDES, groups=[engineering], public=False)


def markdown(name: str, content: bytes | str) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content.encode() if isinstance(content, str) else content)


def upload(client: Client, to: str, *files: SimpleUploadedFile) -> Any:
    return client.post("/sources", {"files": files, "to": to}, follow=True)


# -- the list ------------------------------------------------------------------------------------


def test_members_see_the_source_and_others_do_not(tides: Source, bob: User, charlie: User) -> None:
    assert "Tide tables" in text(browser(bob).get("/sources"))
    assert "Tide tables" not in text(browser(charlie).get("/sources"))


def test_only_who_may_change_a_source_is_offered_to(tides: Source, alice: User, bob: User) -> None:
    assert f"/sources/{tides.pk}/delete" in browser(alice).get("/sources").content.decode()
    page = browser(bob).get("/sources").content.decode()
    assert "/delete" not in page
    assert 'type="file"' not in page


def test_the_list_is_filtered_by_title_group_and_state(tides: Source, alice: User, engineering: Group) -> None:
    ingest.store(alice, title="Crane handbook", content="Cranes.", groups=[], public=True)
    client = browser(alice)
    for query, shown in (
        ("q=tide", {"Tide tables"}),
        (f"group={engineering.pk}", {"Tide tables"}),
        ("group=public", {"Crane handbook"}),
        ("state=creation", {"Tide tables", "Crane handbook"}),
        ("state=error", set()),
        ("state=nonsense&group=999&page=x", {"Tide tables", "Crane handbook"}),
    ):
        page = client.get(f"/sources?{query}").content.decode()
        assert {title for title in ("Tide tables", "Crane handbook") if f">{title}</a>" in page} == shown, query


def test_the_list_costs_the_same_queries_however_long_it_is(alice: User, engineering: Group) -> None:
    client = browser(alice)

    def queries(more: int) -> int:
        for number in range(more):
            ingest.store(alice, title=f"s{number}", content="x", groups=[engineering], public=False)
        with CaptureQueriesContext(connection) as found:
            client.get("/sources")
        return len(found)

    assert queries(2) == queries(10)


def test_what_moves_is_asked_for_and_brings_its_row(tides: Source, alice: User, charlie: User) -> None:
    client = browser(alice)
    assert f"id={tides.pk}" in client.get("/sources").content.decode()
    Source.objects.update(state="processing", passages_done=2, passages_total=3)
    page = client.get(f"/sources/moving?id={tides.pk}")
    assert "2 of 3 passages" in text(page)
    assert 'hx-swap-oob="true"' in page.content.decode()
    Source.objects.update(state="vectorized")
    assert "hx-get" not in client.get(f"/sources/moving?id={tides.pk}").content.decode()
    assert "Tide" not in text(browser(charlie).get(f"/sources/moving?id={tides.pk}"))
    assert client.get("/sources/moving?id=x").status_code == 404


def test_a_failure_says_why_and_can_be_tried_again(tides: Source, alice: User, bob: User) -> None:
    Source.objects.update(state="error", state_reason="The worker ended.")
    assert "The worker ended." in text(browser(alice).get("/sources"))
    assert browser(bob).post(f"/sources/{tides.pk}/again").status_code == 404
    browser(alice).post(f"/sources/{tides.pk}/again")
    tides.refresh_from_db()
    assert (tides.state, tides.state_reason) == ("creation", "")


def test_titles_and_groups_are_shown_as_text(alice: User, engineering: Group) -> None:
    engineering.name = "<script>alert(1)</script>"
    engineering.save()
    hostile = '"><img src=x onerror=alert(1)>'
    ingest.store(alice, title=hostile, content=f"# {hostile}\n\n{hostile}", groups=[engineering], public=False)
    source = Source.objects.get()
    for path in ("/sources", f"/sources/{source.pk}/", f"/sources/{source.pk}/edit", f"/sources/{source.pk}/move"):
        page = browser(alice).get(path).content.decode()
        assert "<img" not in page
        assert "<script>alert" not in page


# -- storing -------------------------------------------------------------------------------------


def test_many_files_are_stored_and_found_by_their_words(alice: User, engineering: Group) -> None:
    page = upload(browser(alice), str(engineering.pk), markdown("a.md", TIDES), markdown("notes.txt", "No heading."))
    assert "2 sources are saved" in text(page)
    assert set(Source.objects.values_list("title", flat=True)) == {"Tide tables", "notes"}
    assert Passage.objects.filter(source__groups=engineering).exists()
    assert not Source.objects.filter(is_public=True).exists()


def test_a_file_that_cannot_be_read_is_named_with_its_line_and_the_others_are_stored(
    alice: User, engineering: Group
) -> None:
    files = [markdown("bad.md", b"one\ntwo \xff\n"), markdown("empty.md", " \n"), markdown("good.md", "# Good")]
    page = text(upload(browser(alice), str(engineering.pk), *files))
    assert "bad.md: Line 2 is not valid UTF-8." in page
    assert "empty.md: The file is empty." in page
    assert [source.title for source in Source.objects.all()] == ["Good"]


def test_without_the_right_nothing_is_stored(alice: User, bob: User, engineering: Group) -> None:
    other = Group.objects.create(name="Support")
    assert upload(browser(bob), str(engineering.pk), markdown("a.md", TIDES)).status_code == 404
    upload(browser(alice), str(other.pk), markdown("a.md", TIDES))
    alice.may_use_public = False
    alice.save()
    upload(browser(alice), "public", markdown("a.md", TIDES))
    written = {"content": TIDES, "public": "on"}
    assert browser(alice).post("/sources/write", written).status_code == 422
    assert browser(bob).get("/sources/write").status_code == 404
    assert not Source.objects.exists()


def test_a_text_is_looked_at_before_it_is_saved(alice: User, engineering: Group) -> None:
    client = browser(alice)
    written = {"content": TIDES.replace("\n", "\r\n"), "groups": [engineering.pk]}
    page = client.post("/sources/write", written | {"preview": "1"})
    assert '<h2 id="h27">' not in page.content.decode()
    assert "High water at noon." in text(page)
    assert not Source.objects.exists()
    assert client.post("/sources/write", written).status_code == 302
    source = Source.objects.get()
    assert (source.title, source.content) == ("Tide tables", TIDES)


@pytest.mark.parametrize("wrong", [{"content": " "}, {"content": "No heading"}, {"groups": []}, {"public": "on"}])
def test_what_cannot_be_saved_says_so_and_keeps_the_text(
    alice: User, engineering: Group, wrong: dict[str, Any]
) -> None:
    page = browser(alice).post("/sources/write", {"content": TIDES, "groups": [engineering.pk]} | wrong)
    assert page.status_code == 422
    assert 'class="wrong"' in page.content.decode()
    assert not Source.objects.exists()


def test_an_edit_is_searched_and_belongs_to_who_may_make_it(tides: Source, alice: User, bob: User) -> None:
    path = f"/sources/{tides.pk}/edit"
    new = {"title": "Tides", "content": "Low water at six."}
    assert browser(bob).post(path, new).status_code == 404
    assert browser(alice).post(path, new).status_code == 302
    assert [row.text for row in Passage.objects.filter(source=tides)] == ["Low water at six."]


def test_moving_changes_who_reads(tides: Source, alice: User, bob: User, charlie: User) -> None:
    path = f"/sources/{tides.pk}/move"
    foreign = Group.objects.create(name="Support")
    assert browser(bob).post(path, {"public": "on"}).status_code == 404
    assert browser(alice).post(path, {"groups": [foreign.pk]}).status_code == 422
    assert browser(alice).post(path, {}).status_code == 422
    assert browser(charlie).get(f"/sources/{tides.pk}/").status_code == 404
    browser(alice).post(path, {"public": "on"})
    assert browser(charlie).get(f"/sources/{tides.pk}/").status_code == 200


def test_a_source_shared_with_a_foreign_group_cannot_be_changed(tides: Source, alice: User) -> None:
    tides.groups.add(Group.objects.create(name="Support"))
    assert browser(alice).post(f"/sources/{tides.pk}/delete").status_code == 404


# -- deleting ------------------------------------------------------------------------------------


def test_a_deleted_source_is_gone_at_once_and_comes_back_as_it_was(tides: Source, alice: User, bob: User) -> None:
    client = browser(alice)
    page = client.post(f"/sources/{tides.pk}/delete", follow=True)
    assert "“Tide tables” is deleted." in text(page)
    assert browser(bob).get(f"/sources/{tides.pk}/").status_code == 404
    assert not Source.objects.visible_to(bob).exists()
    assert browser(bob).post(f"/sources/{tides.pk}/undo").status_code == 404
    assert "as it was" in text(client.post(f"/sources/{tides.pk}/undo", follow=True))
    assert browser(bob).get(f"/sources/{tides.pk}/").status_code == 200


def test_after_a_while_it_is_deleted_for_good(tides: Source, alice: User) -> None:
    client = browser(alice)
    client.post(f"/sources/{tides.pk}/delete")
    sweeping.sweep(10)
    assert Source.objects.exists()
    Source.objects.update(deleted_at=timezone.now() - UNDO - timedelta(seconds=1))
    assert "too late" in text(client.post(f"/sources/{tides.pk}/undo", follow=True))
    sweeping.sweep(10)
    assert not Source.objects.exists()
    assert not Passage.objects.exists()


def test_deleting_takes_a_post(tides: Source, alice: User) -> None:
    assert browser(alice).get(f"/sources/{tides.pk}/delete").status_code == 405


# -- reading -------------------------------------------------------------------------------------


def test_the_passage_is_marked_and_its_heading_named(tides: Source, bob: User) -> None:
    start = TIDES.index("The gates")
    page = browser(bob).get(f"/sources/{tides.pk}/?start={start}&end={start + 31}").content.decode()
    passage = page.split('id="passage"')[1].split("</div>")[0]
    assert "The gates close an hour before." in passage
    assert "Then they open." not in passage
    assert 'aria-current="true">Gates</a>' in page
    assert page.count("Tide tables</h") == 1  # the title is not said twice


def test_nobody_reads_what_is_not_theirs(tides: Source, charlie: User) -> None:
    assert browser(charlie).get(f"/sources/{tides.pk}/?start=0&end=9").status_code == 404


@pytest.mark.parametrize("query", ["start=9&end=2", "start=x&end=-1", "start=0&end=99999999", "part=99", "start=1e9"])
def test_nonsense_in_the_address_shows_the_page(tides: Source, bob: User, query: str) -> None:
    assert browser(bob).get(f"/sources/{tides.pk}/?{query}").status_code == 200


def test_a_library_comes_in_parts_and_a_passage_opens_its_own() -> None:
    content = "\n\n".join(f"## Chapter {number}\n\n{'words ' * 400}" for number in range(100))
    start = content.index("## Chapter 77")
    first, holding = read(content), read(content, range(start, start + 40))
    assert first.parts > 4
    assert len(first.headings) < 30
    assert holding.number > first.number
    assert any("Chapter 77" in piece for stretch in holding.stretches if stretch.is_passage for piece in stretch.pieces)


def test_every_passage_of_a_text_can_be_marked() -> None:
    content = (
        TIDES + "\n- one\n- two\n\n```python\n# no heading\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n" + "word " * 900
    )
    for found in passages(content):
        stretches = read(content, range(found.start, found.end)).stretches
        assert [stretch.is_passage for stretch in stretches].count(True) == 1


def test_nothing_in_a_source_loads_by_itself(alice: User, engineering: Group) -> None:
    content = "![x](https://evil.example/x.png)\n\n<img src=https://evil.example/y>\n\n[l](javascript:alert(1))\n"
    source = ingest.store(alice, title="Hostile", content=content, groups=[engineering], public=False)
    page = browser(alice).get(f"/sources/{source.pk}/").content.decode()
    assert "<img" not in page
    assert 'href="javascript' not in page
    assert 'src="https' not in page
