"""Chats in the admin site: whose and how many, and not a word of them but on one page, whose every look is recorded."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import NoReverseMatch, reverse
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from accounts.models import AuditEntry, User
from privategpt import answers, sweeping
from privategpt.models import Chat, Message
from tests.admin_site import act, administrator, page, signed_in, staff

QUESTION, ANSWER = "Where is the second key?", "<script>alert(1)</script> With the master."
WORDS = ("second key", "With the master")


@pytest.fixture
def chat(alice: User) -> Chat:
    chat = Chat.objects.create(owner=alice, title="Where is the second key?", use_public=True)
    Message.objects.create(chat=chat, position=0, question=QUESTION, answer=ANSWER, state=Message.State.COMPLETE)
    return chat


def reader(*roles: str) -> User:
    member = staff(*roles)
    member.user_permissions.add(*Permission.objects.filter(codename__in=["view_chat", "view_chat_text"]))
    return member


def told(chat: Chat) -> str:
    return reverse("admin:privategpt_chat_text", args=[chat.pk])


def test_the_list_says_whose_and_how_many_and_nothing_that_was_said(chat: Chat) -> None:
    shown = signed_in(administrator()).get(page(Chat, "changelist")).content.decode()
    assert "alice@example.org" in shown
    assert '<td class="field-question_count">1</td>' in shown
    assert not any(word in shown for word in WORDS)


@pytest.mark.parametrize("name", ["change", "delete", "history"])
def test_no_other_page_says_a_word(chat: Chat, name: str) -> None:
    shown = signed_in(administrator()).get(page(Chat, name, chat.pk))
    assert shown.status_code == 200
    assert not any(word in shown.content.decode() for word in WORDS)


def test_deleting_says_no_word_and_leaves_none_in_the_logs(chat: Chat) -> None:
    client = signed_in(administrator())
    shown = act(client, "delete_selected", [chat]).content.decode()
    assert not any(word in shown for word in WORDS)
    act(client, "delete_selected", [chat], post="yes")
    assert sweeping.sweep(10)
    assert not Chat.objects.exists()
    assert "second key" not in LogEntry.objects.get().object_repr
    entry = AuditEntry.objects.get()
    assert entry.action == "delete chat"
    assert "second key" not in entry.what
    assert "alice@example.org" in entry.what


@pytest.mark.parametrize("query", ["title__startswith=W", "messages__question__contains=key", "owner__password=a"])
def test_a_filter_is_no_question_about_what_was_said(chat: Chat, query: str) -> None:
    assert signed_in(administrator()).get(f"{page(Chat, 'changelist')}?{query}").status_code == 400


def test_a_search_goes_over_owners_alone(chat: Chat) -> None:
    client = signed_in(administrator())
    assert client.get(page(Chat, "changelist"), {"q": "alice"}).context["cl"].result_count == 1
    assert client.get(page(Chat, "changelist"), {"q": "second"}).context["cl"].result_count == 0


def test_the_text_takes_a_permission_and_each_look_is_recorded(chat: Chat) -> None:
    member = reader()
    client = signed_in(member)
    found = client.get(told(chat))
    shown = found.content.decode()
    assert "no-store" in found["Cache-Control"]
    assert QUESTION in shown
    assert "&lt;script&gt;" in shown
    assert "<script>alert" not in shown
    client.get(told(chat))
    looks = AuditEntry.objects.all()
    assert [(look.actor, look.action, look.address) for look in looks] == [
        (member, "read text of chat", "127.0.0.1")
    ] * 2
    assert all(str(chat.pk) in look.what and "second key" not in look.what for look in looks)


@pytest.mark.parametrize("roles", [(), ("system",), ("users", "documents", "analytics")])
def test_no_role_brings_the_text(chat: Chat, roles: tuple[str, ...]) -> None:
    assert signed_in(staff(*roles)).get(told(chat)).status_code == 403
    assert not AuditEntry.objects.exists()


def test_nobody_reads_chats_of_whom_they_may_not_manage(chat: Chat) -> None:
    client = signed_in(reader())
    User.objects.filter(pk=chat.owner_id).update(is_superuser=True)
    assert client.get(told(chat)).status_code == 403
    assert not AuditEntry.objects.exists()


def test_the_owner_as_a_plain_user_stays_out_and_a_stranger_signs_in(chat: Chat, alice: User) -> None:
    assert signed_in(alice).get(told(chat))["Location"].startswith("/admin/login/")


def test_a_chat_that_is_none_is_a_404(db: None) -> None:
    client = signed_in(administrator())
    assert client.get("/admin/privategpt/chat/no-id/text/").status_code == 404


def test_messages_have_no_page_of_their_own(db: None) -> None:
    with pytest.raises(NoReverseMatch):
        page(Message, "changelist")


def test_chats_are_neither_added_nor_changed_here(chat: Chat) -> None:
    client = signed_in(administrator())
    assert client.get(page(Chat, "add")).status_code == 403
    assert client.post(page(Chat, "change", chat.pk), {"title": "x"}).status_code == 403


def test_who_runs_the_system_sees_chats_and_deletes_none(chat: Chat) -> None:
    client = signed_in(staff("system"))
    assert "alice@example.org" in client.get(page(Chat, "changelist")).content.decode()
    assert client.post(page(Chat, "delete", chat.pk), {"post": "yes"}).status_code == 403
    assert Chat.objects.exists()


def test_deleting_ends_the_answer_that_is_under_way(
    chat: Chat,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    message = Message.objects.create(chat=chat, position=1, question="?")
    stopped: list[object] = []
    monkeypatch.setattr(answers, "stop", stopped.append)
    with django_capture_on_commit_callbacks(execute=True):
        signed_in(administrator()).post(page(Chat, "delete", chat.pk), {"post": "yes"})
    assert stopped == [message.pk]
    assert not Chat.objects.there().exists()


def test_the_text_of_a_long_chat_comes_in_pages(
    chat: Chat, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Message.objects.bulk_create(
        [Message(chat=chat, position=n, question=f"question {n}.", state="complete") for n in range(1, 120)]
    )
    client = signed_in(administrator())
    assert "question 49." in client.get(told(chat)).content.decode()
    with django_assert_max_num_queries(20):
        assert "question 110." in client.get(f"{told(chat)}?page=3").content.decode()
