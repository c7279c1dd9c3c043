"""Sources in the admin site: states and acts, no text; everybody acts on what is theirs, superusers on all."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from accounts.models import AuditEntry, Group, User
from privategpt import ingest, sweeping
from privategpt.models import Passage, Source, Vector
from tests.admin_site import act, administrator, page, signed_in, staff

SECRET = "The harbour master has the second key."


@pytest.fixture
def harbour(db: None) -> Group:
    return Group.objects.create(name="Harbour office")


@pytest.fixture
def source(alice: User, harbour: Group) -> Source:
    stored = ingest.store(alice, title="Tide tables", content=f"# Tides\n\n{SECRET}", groups=[harbour], public=False)
    Vector.objects.create(passage=Passage.objects.get(), embedder="small", data=b"12")
    Source.objects.update(state=Source.State.ERROR, state_reason="No <b>embedder</b>.", passages_done=1)
    stored.refresh_from_db()
    return stored


def test_the_list_says_whose_for_whom_how_large_in_which_state_and_why(source: Source) -> None:
    shown = signed_in(administrator()).get(page(Source, "changelist")).content.decode()
    for words in ("Tide tables", "alice@example.org", "Harbour office", "1 KB", "Failed", "No &lt;b&gt;embedder"):
        assert words in shown
    assert SECRET not in shown


@pytest.mark.parametrize("name", ["change", "delete", "history"])
def test_no_page_shows_the_text(source: Source, name: str) -> None:
    shown = signed_in(administrator()).get(page(Source, name, source.pk))
    assert shown.status_code == 200
    assert SECRET not in shown.content.decode()


def test_deleting_several_names_them_without_their_text(source: Source) -> None:
    shown = act(signed_in(administrator()), "delete_selected", [source]).content.decode()
    assert "Tide tables" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    "query", ["content__contains=master", "passages__text__contains=master", "creator__password__startswith=a"]
)
def test_a_filter_is_no_question_about_the_text(source: Source, query: str) -> None:
    found = signed_in(administrator()).get(f"{page(Source, 'changelist')}?{query}")
    assert found.status_code == 400


def test_a_search_goes_over_titles_alone(source: Source) -> None:
    client = signed_in(administrator())
    assert "Tide tables" in client.get(page(Source, "changelist"), {"q": "tide"}).content.decode()
    assert "Tide tables" not in client.get(page(Source, "changelist"), {"q": "master"}).content.decode()


@pytest.mark.parametrize(("query", "is_found"), [("state=error", 1), ("state=vectorized", 0), ("public=yes", 0)])
def test_filters_find_by_state_and_by_readers(source: Source, query: str, is_found: int) -> None:
    found = signed_in(administrator()).get(f"{page(Source, 'changelist')}?{query}").context["cl"]
    assert found.result_count == is_found


def test_vectorize_again_sends_it_back_to_the_worker_and_is_recorded(source: Source) -> None:
    root = administrator()
    assert "Sent back to the worker: 1." in act(signed_in(root), "vectorize_again", [source]).content.decode()
    source.refresh_from_db()
    assert (source.state, source.state_reason, source.passages_done) == (Source.State.CREATION, "", 0)
    assert not Vector.objects.exists()
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.way, entry.address) == (
        root,
        "vectorize again source",
        "admin site",
        "127.0.0.1",
    )
    assert str(source.pk) in entry.what


def test_the_text_cannot_be_changed_here(source: Source) -> None:
    client = signed_in(administrator())
    assert client.post(page(Source, "change", source.pk), {"title": "x", "content": "y"}).status_code == 403
    assert client.get(page(Source, "add")).status_code == 403


def test_deleting_leaves_nothing_behind_but_its_row_in_the_log(source: Source) -> None:
    client = signed_in(administrator())
    assert client.post(page(Source, "delete", source.pk), {"post": "yes"}).status_code == 302
    assert sweeping.sweep(10)
    assert not Source.objects.exists()
    assert not Passage.objects.exists()
    assert AuditEntry.objects.get().action == "delete source"


def test_who_keeps_documents_acts_on_what_they_may_change_and_sees_what_they_may_read(
    source: Source, harbour: Group
) -> None:
    member = staff("documents")
    client = signed_in(member)
    assert "Tide tables" not in client.get(page(Source, "changelist")).content.decode()
    assert client.get(page(Source, "change", source.pk)).status_code == 302
    act(client, "vectorize_again", [source])
    assert client.post(page(Source, "delete", source.pk), {"post": "yes"}).status_code in {302, 403}
    source.refresh_from_db()
    assert source.state == Source.State.ERROR
    member.groups.add(harbour)
    assert "Tide tables" in client.get(page(Source, "changelist")).content.decode()
    act(client, "vectorize_again", [source])
    source.refresh_from_db()
    assert source.state == Source.State.CREATION


def test_a_reader_who_shares_one_group_only_changes_nothing(source: Source, harbour: Group) -> None:
    source.groups.add(Group.objects.create(name="Support"))
    member = staff("documents")
    member.groups.add(harbour)
    client = signed_in(member)
    assert "a source among them is not yours" in act(client, "vectorize_again", [source]).content.decode()
    assert client.post(page(Source, "delete", source.pk), {"post": "yes"}).status_code == 403
    act(client, "delete_selected", [source], post="yes")
    assert Source.objects.filter(state=Source.State.ERROR).exists()
    assert not AuditEntry.objects.exists()


def test_whoever_may_only_look_has_no_act(source: Source, harbour: Group) -> None:
    member = staff()
    member.groups.add(harbour)
    member.user_permissions.add(Permission.objects.get(codename="view_source"))
    client = signed_in(member)
    shown = client.get(page(Source, "changelist")).content.decode()
    assert "Tide tables" in shown
    assert "vectorize_again" not in shown
    assert client.post(page(Source, "delete", source.pk), {"post": "yes"}).status_code == 403


def test_a_deleted_source_that_can_be_brought_back_is_not_listed(source: Source) -> None:
    ingest.put_aside(source)
    assert "Tide tables" not in signed_in(administrator()).get(page(Source, "changelist")).content.decode()
