"""Rights that end under an answer or after it, and tokens that reach less than their user: nothing of what may not be
read any more is told, by no route."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Group, User
from privategpt import ingest
from privategpt.models import Chat, Message
from tests.contract2.conftest import program
from tests.contract2.model import Echo
from tests.contract2.server import Program
from tests.contract2.test_chats import SSE, keyed

SPICE = "saffron"  # the echo says the whole prompt, so an answer holds it


@pytest.fixture
def source(as_alice: Program) -> str:
    body = {"title": "Recipe", "content": f"# Soup\n\nThe spice is {SPICE}.", "groups": ["alpha"]}
    return str(as_alice.post("/sources", body).data["sourceId"])


@pytest.fixture
def beta(alice: User) -> Group:
    group = Group.objects.create(name="beta")
    alice.groups.add(group)
    return group


@pytest.fixture
def narrowed(anybody: Program, as_alice: Program, beta: Group) -> Program:
    """Alice's token for the group beta alone."""
    return anybody.with_token(as_alice.post("/tokens", {"name": "narrow", "groups": ["beta"]}).data["token"])


def ask(who: Program, *groups: str, chat: str = "", question: str = "Which spice?") -> Any:
    if chat:
        return who.post(f"/chats/{chat}", {"question": question}).data
    return who.post("/chats", {"question": question, "groups": list(groups)}).data


# -- a right that ends ----------------------------------------------------------------------------


def test_an_answer_ends_when_its_asker_may_not_read_its_sources_any_more(
    as_alice: Program, alice: User, source: str
) -> None:
    Echo.after = 5
    stream = as_alice.stream("POST", "/chats", {"question": "Which spice?", "groups": ["alpha"]}, SSE)
    assert [stream.next().kind for _ in range(2)] == ["sources", "delta"]  # type: ignore[union-attr]
    alice.groups.clear()
    Echo.after = None
    rest = list(stream)
    assert SPICE not in str(rest)
    assert (rest[-1].kind, rest[-1].data["data"]) == ("error", None)
    assert "may not read any more" in rest[-1].data["message"]
    message = Message.objects.get()
    assert (message.state, SPICE in message.answer) == (Message.State.FAILED, False)


def test_a_silent_answer_ends_too(as_alice: Program, alice: User, source: str) -> None:
    """While it waits for its model nobody looks but the desk."""
    Echo.after = 0
    stream = as_alice.stream("POST", "/chats", {"question": "Which spice?", "groups": ["alpha"]}, SSE)
    assert stream.next().kind == "sources"  # type: ignore[union-attr]
    alice.groups.clear()
    assert list(stream)[-1].kind == "error"
    assert "may not read any more" in Message.objects.get().error


def test_an_answer_ends_when_its_asker_may_use_public_sources_no_more(as_alice: Program, alice: User) -> None:
    ingest.store(None, title="Recipe", content=f"The spice is {SPICE}.", groups=[], public=True)
    Echo.after = 5
    stream = as_alice.stream("POST", "/chats", {"question": "Which spice?", "usePublic": True}, SSE)
    assert [stream.next().kind for _ in range(2)] == ["sources", "delta"]  # type: ignore[union-attr]
    User.objects.filter(pk=alice.pk).update(may_use_public=False)
    Echo.after = None
    assert SPICE not in str(list(stream))
    message = Message.objects.get()
    assert (message.state, SPICE in message.answer) == (Message.State.FAILED, False)


def test_an_answer_goes_on_when_another_right_ends(as_alice: Program, alice: User, beta: Group, source: str) -> None:
    Echo.after = 5
    stream = as_alice.stream("POST", "/chats", {"question": "Which spice?", "groups": ["alpha"]}, SSE)
    assert stream.next()
    alice.groups.remove(beta)
    Echo.after = None
    rest = list(stream)
    assert rest[-1].kind == "done"
    assert SPICE in rest[-1].data["data"]["answer"]


def test_who_comes_back_to_a_stream_hears_no_sources_of_former_rights(
    as_alice: Program, alice: User, source: str
) -> None:
    chat = ask(as_alice, "alpha")["chatId"]
    alice.groups.clear()
    told = list(as_alice.stream("GET", f"/chats/{chat}", None, SSE))
    assert told[0].data["sources"] == []
    assert SPICE not in str(told)
    assert source not in str(told)
    assert "no longer yours to read" in told[-1].data["data"]["answer"]


def test_an_old_answer_is_told_without_the_words_that_it_quoted(as_alice: Program, alice: User, source: str) -> None:
    chat = ask(as_alice, "alpha")["chatId"]
    assert SPICE in as_alice.get(f"/chats/{chat}").data["messages"][0]["answer"]
    alice.groups.clear()
    told = as_alice.get(f"/chats/{chat}")
    assert SPICE not in told.body.decode()
    assert "no longer yours to read" in told.data["messages"][0]["answer"]
    assert SPICE in Message.objects.get().answer  # what is stored stays: rights may come back


def test_the_next_prompt_holds_nothing_of_former_rights(
    as_alice: Program, alice: User, beta: Group, source: str
) -> None:
    """And what was said after it holds nothing that was said by it."""
    chat = ask(as_alice, "alpha")["chatId"]
    assert (
        SPICE in ask(as_alice, chat=chat, question="What did you say before, in other words and at length?")["answer"]
    )
    Chat.objects.get().groups.set([beta])
    third = ask(as_alice, chat=chat, question="And once more, what did you say, in other words?")
    assert SPICE in third["answer"]  # by the history alone
    alice.groups.remove(Group.objects.get(name="alpha"))
    assert SPICE not in ask(as_alice, chat=chat, question="Say it again, please, all of it and slowly?")["answer"]
    assert SPICE not in as_alice.get(f"/chats/{chat}").body.decode()


@pytest.mark.parametrize("ending", ["deleted", "undone", "moved"])
def test_a_source_that_went_takes_its_words_along(
    as_alice: Program, alice: User, gamma: Group, source: str, ending: str
) -> None:
    from privategpt.models import Source

    chat = ask(as_alice, "alpha")["chatId"]
    if ending == "deleted":
        assert as_alice.delete(f"/sources/{source}").status == 200
    elif ending == "undone":
        from django.utils import timezone

        Source.objects.update(deleted_at=timezone.now())
    else:
        Source.objects.get().groups.set([gamma])
    assert SPICE not in as_alice.get(f"/chats/{chat}").body.decode()


# -- tokens that reach less -----------------------------------------------------------------------


def test_a_narrowed_token_reads_no_former_answer_of_another_group(
    as_alice: Program, narrowed: Program, beta: Group, source: str
) -> None:
    """The chat asks its group by now; what was answered before rests on another."""
    asked = ask(as_alice, "alpha")
    chat = Chat.objects.get()
    chat.groups.set([beta])
    assert SPICE not in narrowed.get(f"/chats/{chat.pk}").body.decode()
    assert narrowed.get("/chats").data["chats"] == []
    place = {"Last-Event-ID": f"{asked['messageId']}:1", "Authorization": f"Bearer {narrowed.token}"} | SSE
    assert narrowed.get(f"/chats/{chat.pk}", headers=place).status == 404
    later = ask(narrowed, chat=str(chat.pk), question="What did you say before, at length and in full?")
    assert SPICE not in later["answer"]
    told = narrowed.get(f"/chats/{chat.pk}").data["messages"]
    assert [message["messageId"] for message in told] == [later["messageId"]]
    assert len(as_alice.get(f"/chats/{chat.pk}").data["messages"]) == 2


def test_a_group_that_is_deleted_opens_no_answer_to_a_narrowed_token(
    as_alice: Program, as_root: Program, narrowed: Program, source: str
) -> None:
    asked = ask(as_alice, "alpha", "beta")
    assert narrowed.get(f"/chats/{asked['chatId']}").status == 404
    as_root.delete("/groups", {"groupName": "alpha"})
    reply = narrowed.get(f"/chats/{asked['chatId']}")
    assert reply.status == 404
    assert narrowed.get("/chats").data["chats"] == []
    headers = {"Authorization": f"Bearer {narrowed.token}"} | SSE
    assert narrowed.get(f"/chats/{asked['chatId']}", headers=headers).status == 404
    assert as_alice.get(f"/chats/{asked['chatId']}").status == 200


def test_a_narrowed_token_reads_what_rests_on_its_groups(as_alice: Program, narrowed: Program, beta: Group) -> None:
    as_alice.post("/sources", {"title": "Tea", "content": "The tea is green.", "groups": ["beta"]})
    chat = ask(as_alice, "beta", question="Which tea?")["chatId"]
    assert "The tea is green." in narrowed.get(f"/chats/{chat}").data["messages"][0]["answer"]
    assert [row["chatId"] for row in narrowed.get("/chats").data["chats"]] == [chat]


def test_a_kept_reply_belongs_to_the_token_that_made_it(
    as_alice: Program, anybody: Program, alice: User, narrowed: Program, source: str
) -> None:
    body = {"question": "Which spice?", "groups": ["alpha"]}
    first = as_alice.post("/chats", body, headers=keyed(as_alice, "k"))
    assert first.data == as_alice.post("/chats", body, headers=keyed(as_alice, "k")).data
    assert narrowed.post("/chats", body, headers=keyed(narrowed, "k")).status == 422
    other = program(anybody, alice)
    assert other.post("/chats", body, headers=keyed(other, "k")).data["chatId"] != first.data["chatId"]


def test_a_kept_reply_is_not_told_again_without_the_right(as_alice: Program, alice: User, source: str) -> None:
    body = {"question": "Which spice?", "groups": ["alpha"]}
    assert SPICE in as_alice.post("/chats", body, headers=keyed(as_alice, "k")).data["answer"]
    alice.groups.clear()
    again = as_alice.post("/chats", body, headers=keyed(as_alice, "k"))
    assert SPICE not in again.body.decode()


@pytest.mark.parametrize("place", ["", "1"])
@pytest.mark.parametrize("is_finished", [True, False])
def test_a_narrowed_tokens_stream_tells_no_more_than_its_plain_reply(
    as_alice: Program, narrowed: Program, beta: Group, source: str, place: str, is_finished: bool
) -> None:
    """The second answer asked another group, but goes on from the first."""
    chat = ask(as_alice, "alpha")["chatId"]
    Chat.objects.get().groups.set([beta])
    Echo.after = None if is_finished else 40
    again = {"question": "What did you say before, in other words and at length?"}
    stream = as_alice.stream("POST", f"/chats/{chat}", again, SSE)
    said = next(event for event in stream if event.kind == "delta")
    if is_finished:
        assert SPICE in str(list(stream))
    message = said.id.rpartition(":")[0]
    headers = SSE | {"Last-Event-ID": f"{message}:{place}"} if place else SSE
    told = list(narrowed.stream("GET", f"/chats/{chat}", None, headers))
    assert [event.kind for event in told if event.kind != "place"] == ["error"]
    assert "may not read any more" in told[-1].data["message"]
    assert SPICE not in narrowed.get(f"/chats/{chat}").body.decode()
    own = as_alice.stream("GET", f"/chats/{chat}", None, headers)
    assert next(event for event in own if event.kind == "delta")
    Echo.after = None
    left = [own] if is_finished else [stream, own]
    assert {list(each)[-1].kind for each in left} == {"done"}


def test_a_narrowed_token_takes_up_what_rests_on_its_groups(as_alice: Program, narrowed: Program, beta: Group) -> None:
    as_alice.post("/sources", {"title": "Tea", "content": "The tea is green.", "groups": ["beta"]})
    asked = ask(as_alice, "beta", question="Which tea?")
    headers = SSE | {"Last-Event-ID": f"{asked['messageId']}:1"}
    told = list(narrowed.stream("GET", f"/chats/{asked['chatId']}", None, headers))
    assert [event.kind for event in told] == ["delta", "done"]
    assert "The tea is green." in told[0].data["text"]
