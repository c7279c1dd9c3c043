"""Asking, whole and as a stream; what becomes of an answer when something goes wrong on its way."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from accounts.models import Group, User
from privategpt.models import Chat, Message, StoredReply
from privategpt.retrieval.search import WORDS_CHOSEN
from tests.contract2.model import Echo
from tests.contract2.server import Program

SSE = {"Accept": "text/event-stream"}


def until(holds: Callable[[], Any], within: float = 10.0) -> Any:
    ends = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < ends, "It did not happen."
        time.sleep(0.01)
    return found


@pytest.fixture
def hold() -> type[Echo]:
    """`hold.after = n`: every answer waits after n characters, until it is None again."""
    return Echo


@pytest.fixture
def source(as_alice: Program) -> str:
    body = {"title": "Recipe", "content": "# Soup\n\nThe spice is saffron.", "groups": ["alpha"]}
    return str(as_alice.post("/sources", body).data["sourceId"])


# -- whole --------------------------------------------------------------------------------------


def test_an_answer_comes_with_its_sources_and_its_notice(as_alice: Program, source: str) -> None:
    reply = as_alice.post("/chats", {"question": "Which spice?", "groups": ["alpha"], "language": "de"})
    assert reply.status == 200
    assert {"data", "message", "status", "notice"} == reply.json.keys()
    data = reply.data
    assert "saffron" in data["answer"]
    assert data["sources"] == [source]
    assert data["language"] == "de"
    (detail,) = data["sourceDetails"]
    assert (detail["sourceId"], detail["documentId"], detail["title"], detail["page"]) == (source, source, "Recipe", 0)
    assert {"context", "score", "heading", "start", "end"} <= detail.keys()


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_chat_goes_on_by_both_methods(as_alice: Program, source: str, method: str) -> None:
    first = as_alice.post("/chats", {"question": "Which spice?", "groups": ["alpha"]}).data
    more = as_alice.call(method, f"/chats/{first['chatId']}", {"question": "How much?"}).data
    assert more["chatId"] == first["chatId"]
    assert more["sources"] == [source]
    chat = as_alice.get(f"/chats/{first['chatId']}").data
    assert [message["question"] for message in chat["messages"]] == ["Which spice?", "How much?"]
    assert (chat["title"], chat["language"], chat["groups"], chat["isLocked"]) == (
        "Which spice?",
        "en",
        ["alpha"],
        False,
    )


def test_release_1_4_gets_objects(as_alice: Program, source: str) -> None:
    reply = as_alice.call(
        "POST",
        "/chats",
        {"question": "Which spice?", "groups": ["alpha"]},
        headers={"Authorization": f"Bearer {as_alice.token}", "X-PGPT-Api-Version": "1.4"},
    )
    (found,) = reply.data["sources"]
    assert (found["documentId"], found["page"]) == (source, 0)
    assert "saffron" in found["context"]


@pytest.mark.parametrize("groups", [[None], [""], [], None])
def test_groups_that_are_no_names_are_none(as_alice: Program, groups: object) -> None:
    reply = as_alice.post("/chats", {"question": "Hello?", "groups": groups})
    assert reply.status == 200
    assert reply.data["sources"] == []


def test_texts_come_back_byte_for_byte(as_alice: Program) -> None:
    """Faults 21 and 23; but for the ends of lines, of which there is one kind."""
    question = (
        "e\u0301 \u202eabc\u202c \U0001f469\u200d\U0001f52c \u200f\u05d0 \u2028 <b>&amp; {{x}} ${y} `z`  \t\r\n end "
    )
    chat = as_alice.post("/chats", {"question": question}).data["chatId"]
    assert as_alice.get(f"/chats/{chat}").data["messages"][0]["question"] == question.replace("\r\n", "\n")


def test_a_language_that_is_not_given_is_the_users(as_alice: Program, alice: User) -> None:
    alice.language = "fr"
    alice.save()
    assert as_alice.post("/chats", {"question": "Hello?", "language": ""}).data["language"] == "fr"


def test_a_failed_answer_is_503_with_null_data(as_alice: Program) -> None:
    reply = as_alice.post("/chats", {"question": "Please fail"})
    assert reply.status == 503
    assert reply.json["data"] is None
    assert "retry-after" in reply.headers


def test_an_answer_that_takes_too_long_is_504_and_goes_on(as_alice: Program, hold: Any, settings: Any) -> None:
    """Fault 24."""
    settings.API = settings.API | {"answer_timeout": 0.2}
    hold.after = 5
    assert as_alice.post("/chats", {"question": "Hello?"}).status == 504
    hold.after = None
    until(lambda: Message.objects.get().state == Message.State.COMPLETE)


def test_a_chat_answers_one_question_at_a_time(as_alice: Program, hold: Any) -> None:
    chat = as_alice.post("/chats", {"question": "Hello?"}).data["chatId"]
    hold.after = 5
    stream = as_alice.stream("PATCH", f"/chats/{chat}", {"question": "Again?"}, SSE)
    assert stream.status == 200
    reply = as_alice.patch(f"/chats/{chat}", {"question": "And again?"})
    assert reply.status == 409
    assert as_alice.get(f"/chats/{chat}").data["isLocked"]
    hold.after = None
    assert [event.kind for event in stream][-1] == "done"


def test_one_users_open_questions_are_bounded(as_alice: Program, as_bob: Program, hold: Any) -> None:
    """Attack 64."""
    hold.after = 5
    streams = [as_alice.stream("POST", "/chats", {"question": f"Number {n}?"}, SSE) for n in range(32)]
    assert {stream.status for stream in streams} == {200}
    refused = as_alice.post("/chats", {"question": "One more?"})
    assert refused.status == 429
    assert "retry-after" in refused.headers
    assert as_bob.stream("POST", "/chats", {"question": "And I?"}, SSE).status == 200
    hold.after = None
    for stream in streams:
        stream.leave()


def test_a_chat_that_is_deleted_does_not_come_back(as_alice: Program, hold: Any) -> None:
    """Fault 32."""
    hold.after = 5
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(as_alice.post, "/chats", {"question": "Hello?"})
        chat = until(lambda: Chat.objects.first())
        until(lambda: Message.objects.filter(state="answering").exists())
        assert as_alice.delete(f"/chats/{chat.pk}").data == {}
        hold.after = None
        assert waiting.result(20).status == 404
    assert not Message.objects.exists()
    assert as_alice.get("/chats").data["total"] == 0


def test_a_user_who_is_deleted_while_asking_gets_nothing(as_alice: Program, alice: User, hold: Any) -> None:
    """Fault 33."""
    hold.after = 5
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(as_alice.post, "/chats", {"question": "Hello?"})
        until(lambda: Message.objects.filter(state="answering").exists())
        alice.retire()
        hold.after = None
        reply = waiting.result(20)
    assert reply.status == 401
    assert reply.json["data"] is None


def test_chats_are_listed_newest_first_in_pages(as_alice: Program) -> None:
    for number in range(3):
        as_alice.post("/chats", {"question": f"Number {number}?"})
    data = as_alice.get("/chats?page=1&perPage=2").data
    assert [chat["title"] for chat in data["chats"]] == ["Number 2?", "Number 1?"]
    assert (data["page"], data["perPage"], data["lastPage"], data["total"]) == (1, 2, 2, 3)
    assert [chat["title"] for chat in as_alice.get("/chats?page=2&perPage=2").data["chats"]] == ["Number 0?"]
    for query in ("page=0", "page=x", "perPage=101", "perPage=-1", "page=1e3", "page=%00"):
        assert as_alice.get(f"/chats?{query}").status == 422


# -- as a stream --------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "headers"), [({"stream": True}, {}), ({}, SSE)])
def test_a_stream_tells_the_sources_then_the_text_then_the_plain_reply(
    as_alice: Program, source: str, body: Any, headers: Any
) -> None:
    stream = as_alice.stream("POST", "/chats", {"question": "Which spice?", "groups": ["alpha"]} | body, headers)
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = list(stream)
    kinds = [event.kind for event in events]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("sources", "done", {"delta"})
    assert events[0].data["sources"] == [source]
    done = events[-1].data
    assert "".join(event.data["text"] for event in events[1:-1]) == done["data"]["answer"]
    assert {"data", "message", "status", "notice"} == done.keys()
    assert done["data"]["sources"] == [source]
    assert done["data"]["chatId"] == events[0].data["chatId"]


@pytest.mark.parametrize("way", ["new", "continue", "get"])
def test_a_stream_that_broke_is_taken_up_where_it_broke(as_alice: Program, hold: Any, way: str) -> None:
    hold.after = 10
    stream = as_alice.stream("POST", "/chats", {"question": "Say something long, please?"}, SSE)
    first = stream.next()
    assert first
    heard, last = "", first.id
    while len(heard) < 10:
        event = stream.next()
        assert event
        heard, last = heard + event.data["text"], event.id
    stream.leave()
    hold.after = None
    method, path = {
        "new": ("POST", "/chats"),
        "continue": ("PATCH", f"/chats/{first.data['chatId']}"),
        "get": ("GET", f"/chats/{first.data['chatId']}"),
    }[way]
    body = None if way == "get" else {"question": "Say something long, please?"}
    rest = list(as_alice.stream(method, path, body, SSE | {"Last-Event-ID": last}))
    assert {event.kind for event in rest[:-1]} <= {"delta"}
    assert heard + "".join(event.data["text"] for event in rest[:-1]) == rest[-1].data["data"]["answer"]
    assert Message.objects.count() == 1


def test_a_stranger_cannot_take_up_a_stream(as_alice: Program, as_charlie: Program) -> None:
    events = list(as_alice.stream("POST", "/chats", {"question": "Hello?"}, SSE))
    headers = {"Authorization": f"Bearer {as_charlie.token}", "Last-Event-ID": events[0].id} | SSE
    foreign = as_charlie.post("/chats", {"question": "Hello?"}, headers=headers)
    unknown = as_charlie.post("/chats", {"question": "Hello?"}, headers=headers | {"Last-Event-ID": "x:1"})
    assert foreign.status == unknown.status == 404
    assert foreign.body == unknown.body


def test_a_stranger_cannot_listen_to_a_chat(as_alice: Program, as_charlie: Program, hold: Any) -> None:
    """Attack 43: while its answer grows, and refused like an unknown one."""
    hold.after = 5
    stream = as_alice.stream("POST", "/chats", {"question": "Hello?"}, SSE)
    first = stream.next()
    assert first
    headers = {"Authorization": f"Bearer {as_charlie.token}"} | SSE
    foreign = as_charlie.get(f"/chats/{first.data['chatId']}", headers=headers)
    unknown = as_charlie.get("/chats/00000000-0000-4000-8000-000000000000", headers=headers)
    assert foreign.status == unknown.status == 404
    assert foreign.body == unknown.body
    hold.after = None
    assert list(stream)[-1].kind == "done"


@pytest.mark.parametrize("ending", ["retired", "deleted", "token revoked"])
def test_a_stream_ends_with_its_user(as_alice: Program, alice: User, as_bob: Program, hold: Any, ending: str) -> None:
    """Attack 44: within five seconds; another's goes on."""
    hold.after = 5
    stream = as_alice.stream("POST", "/chats", {"question": "Hello?"}, SSE)
    other = as_bob.stream("POST", "/chats", {"question": "Hello?"}, SSE)
    assert stream.next()
    assert other.next()
    began = time.monotonic()
    endings: dict[str, Callable[[], object]] = {
        "retired": alice.retire,
        "deleted": alice.delete,
        "token revoked": alice.tokens.all().revoke,
    }
    endings[ending]()
    assert list(stream)[-1].kind == "error"
    assert time.monotonic() - began < 5
    hold.after = None
    assert list(other)[-1].kind == "done"


@pytest.mark.parametrize("last", ["", " ", "nonsense", ":", "x:y", "x:-1", "x:٣", "x:" + "9" * 400])
def test_odd_places_are_refused(as_alice: Program, last: str) -> None:
    headers = {"Authorization": f"Bearer {as_alice.token}"}
    reply = as_alice.post("/chats", {}, headers=headers | {"Last-Event-ID": last.encode().decode("latin-1")})
    assert reply.status in {404, 422}


def test_an_answer_outlives_its_connection(as_alice: Program, hold: Any) -> None:
    hold.after = 5
    stream = as_alice.stream("POST", "/chats", {"question": "Hello?"}, SSE)
    assert stream.next()
    stream.leave()
    hold.after = None
    until(lambda: Message.objects.get().state == Message.State.COMPLETE)


def test_a_stream_ends_when_its_token_does(as_alice: Program, hold: Any) -> None:
    """Attack 8: within five seconds."""
    hold.after = 5
    stream = as_alice.stream("POST", "/chats", {"question": "Hello?"}, SSE)
    assert stream.next()
    assert as_alice.delete("/logout").status == 200
    began = time.monotonic()
    rest = list(stream)
    assert time.monotonic() - began < 5
    assert rest[-1].kind == "error"
    assert rest[-1].data["status"] == 401
    assert rest[-1].data["data"] is None


def test_a_failed_answer_ends_its_stream_with_an_error(as_alice: Program) -> None:
    events = list(as_alice.stream("POST", "/chats", {"question": "Please fail"}, SSE))
    assert events[-1].kind == "error"
    assert events[-1].data["status"] == 503


# -- once and no more ---------------------------------------------------------------------------


def keyed(program: Program, key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {program.token}", "Idempotency-Key": key}


def test_a_repeated_request_with_its_key_makes_one_chat(as_alice: Program) -> None:
    body = {"question": "Hello?"}
    first = as_alice.post("/chats", body, headers=keyed(as_alice, "k1"))
    again = as_alice.post("/chats", body, headers=keyed(as_alice, "k1"))
    assert first.data == again.data
    assert as_alice.post("/chats", body, headers=keyed(as_alice, "k2")).data["chatId"] != first.data["chatId"]
    assert Chat.objects.count() == 2


def test_twenty_at_once_with_one_key_make_one_chat(as_alice: Program) -> None:
    with ThreadPoolExecutor(20) as pool:
        replies = list(
            pool.map(lambda _: as_alice.post("/chats", {"question": "Hi?"}, headers=keyed(as_alice, "k")), range(20))
        )
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert Message.objects.count() == 1


def test_a_key_is_for_one_request(as_alice: Program, as_bob: Program) -> None:
    as_alice.post("/chats", {"question": "Hello?"}, headers=keyed(as_alice, "k"))
    assert as_alice.post("/chats", {"question": "Other?"}, headers=keyed(as_alice, "k")).status == 422
    assert as_alice.post("/sources", {"question": "Hello?"}, headers=keyed(as_alice, "k")).status == 422
    assert as_bob.post("/chats", {"question": "Hello?"}, headers=keyed(as_bob, "k")).status == 200
    assert as_alice.post("/chats", {"question": "?"}, headers=keyed(as_alice, "x" * 256)).status == 400


def test_a_further_question_is_asked_once(as_alice: Program) -> None:
    chat = as_alice.post("/chats", {"question": "Hello?"}).data["chatId"]
    replies = [as_alice.patch(f"/chats/{chat}", {"question": "More?"}, headers=keyed(as_alice, "k")) for _ in range(2)]
    assert replies[0].data == replies[1].data
    assert Message.objects.count() == 2


def test_a_source_is_stored_once(as_alice: Program, alpha: Group) -> None:
    body = {"title": "T", "content": "C", "groups": ["alpha"]}
    replies = [as_alice.post("/sources", body, headers=keyed(as_alice, "k")) for _ in range(2)]
    assert replies[0].data == replies[1].data
    assert as_alice.get("/sources").data["total"] == 1


def test_what_failed_may_be_tried_again_under_its_key(as_alice: Program) -> None:
    body = {"question": "Please fail"}
    assert as_alice.post("/chats", body, headers=keyed(as_alice, "k")).status == 503
    assert not StoredReply.objects.exists()
    assert as_alice.post("/chats", {"question": ""}, headers=keyed(as_alice, "k")).status == 422
    assert not StoredReply.objects.exists()


# -- scenarios ----------------------------------------------------------------------------------


def test_a_chat_picks_a_scenario_that_one_may_see(as_alice: Program, as_root: Program, alice: User) -> None:
    made = as_root.post("/scenarios", {"name": "Poet", "description": "In verse"}).data
    assert made["id"] == made["scenarioId"]
    hidden = as_alice.post("/chats", {"question": "Hello?", "scenarioId": made["id"]})
    assert hidden.status == 422
    assert hidden.json["errors"] == {"scenarioId": ["Unknown scenario."]}
    as_root.patch(f"/scenarios/{made['id']}", {"active": True})
    assert as_alice.get("/scenarios").data["scenarios"][0]["name"] == "Poet"
    assert as_alice.post("/chats", {"question": "Hello?", "scenarioId": made["id"]}).status == 200
    assert str(Chat.objects.get().scenario_id) == made["id"]
    assert as_root.delete(f"/scenarios/{made['id']}").data == {}
    assert Chat.objects.get().scenario is None


@pytest.mark.parametrize(("use_sparse", "found"), [(True, True), (False, False)])
def test_a_scenario_says_by_what_is_searched(
    as_alice: Program, as_root: Program, source: str, use_sparse: bool, found: bool
) -> None:
    body = {"name": "Words", "description": "Words alone", "active": True, "use_dense": False, "use_sparse": use_sparse}
    made = as_root.post("/scenarios", body).data
    asked = {"question": "saffron", "groups": ["alpha"], "scenarioId": made["id"]}
    assert bool(as_alice.post("/chats", asked).data["sources"]) is found
    assert Message.objects.get().trace["note"] == WORDS_CHOSEN


def test_history_is_for_scenarios_without_a_retriever(as_root: Program) -> None:
    body = {"name": "Poet", "description": "In verse", "use_history": True}
    made = as_root.post("/scenarios", body).data
    refused = as_root.patch(f"/scenarios/{made['id']}", {"context_retriever_type": "vector_store"})
    assert refused.status == 422
    assert "use_history" in refused.json["errors"]
    both = {"context_retriever_type": "vector_store", "use_history": False}
    assert as_root.patch(f"/scenarios/{made['id']}", both).data["context_retriever_type"] == "vector_store"
    assert as_root.post("/scenarios", body).json["errors"] == {"name": ["This name is taken already."]}
