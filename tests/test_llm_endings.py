"""How an endpoint may end its answer: what is whole, what was cut off, and what is no answer at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from accounts.models import User
from privategpt.agent import Agent, Settings
from privategpt.llm.base import BackendError, Cut, Delta, Message, Piece
from privategpt.llm.endpoints import EndpointsBackend
from privategpt.llm.openai import OpenAIBackend
from privategpt.llm.openai_stream import ReplyReader
from privategpt.models import Chat
from privategpt.models import Message as Asked
from relay import exchange, frames
from tests.answering import asked, chat, db
from tests.fake_relay import relay
from tests.fake_upstream import DONE, sse, upstream
from tests.test_chat_pages import page, signed_in
from tests.test_llm_choice import FakeAgent

QUESTION = [Message("user", "Why?")]


def data(text: str | None = None, reason: Any = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text, **delta}, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


def read(*parts: bytes) -> list[Piece]:
    reader = ReplyReader()
    pieces = [piece for part in parts for piece in reader.feed(part)]
    rest = reader.finish()
    reader.check()
    return [*pieces, *rest]


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Delta))


def fault(*parts: bytes) -> str:
    with pytest.raises(BackendError) as caught:
        read(*parts)
    return str(caught.value)


# -- what ends an answer ----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["", " ", None, "null", "None", 0, 7, False, True, [], {}, "not_finished"])
def test_what_is_no_reason_ends_nothing(reason: Any) -> None:
    assert text(read(data("One ", reason), data("two", reason), data(" three", "stop"))) == "One two three"
    assert text(read(data("One ", reason), data("two", reason), DONE)) == "One two"
    assert "broke off in the middle" in fault(data("One ", reason), data("two", reason))


@pytest.mark.parametrize("reason", ["paused", "stop!", "ongoing", "x" * 10_000])
def test_an_unknown_word_ends_nothing_unless_nothing_follows(reason: str) -> None:
    assert text(read(data("One ", reason), data("two", reason), DONE)) == "One two"
    assert text(read(data("One ", ""), data("two", reason))) == "One two"
    assert "broke off in the middle" in fault(data("One ", reason), data("two"))


@pytest.mark.parametrize("reason", ["stop", "STOP", " eos ", "end_turn", "stop_sequence", "FINISH_REASON_STOP"])
def test_a_known_word_ends_it_whole(reason: str) -> None:
    assert read(data("One"), data(None, reason)) == [Delta("One")]


async def test_an_answer_is_not_cut_after_its_first_piece() -> None:
    """Each piece with an empty reason, and a pause behind the first."""
    body = sse(data("Hello ", ""), data("world", ""), data("", "stop"), DONE)
    async with upstream(body) as up:
        backend = OpenAIBackend(up.url, model="m")
        assert text([piece async for piece in backend.generate(QUESTION)]) == "Hello world"
        await backend.aclose()


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("refusal", "refusal"),
    ],
)
def test_what_was_cut_off_says_so_behind_its_text(reason: str, code: str) -> None:
    assert read(data("Half"), data(None, reason), DONE) == [Delta("Half"), Cut(code)]


def test_a_refusal_behind_text_cuts_it_off() -> None:
    assert read(data("Half"), data(None, refusal="I can't."), data(None, "stop")) == [Delta("Half"), Cut("refusal")]


# -- what is no answer --------------------------------------------------------------------------------

TOOL = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}
NOTHING = [
    ([data(None, **TOOL), data(None, "tool_calls"), DONE], "wanted to use a tool"),
    ([data(None, function_call={"name": "f"}), data(None, "stop"), DONE], "wanted to use a tool"),
    ([data(None, reasoning_content="Hm."), data(None, "length"), DONE], "used up its tokens on thinking"),
    ([data(None, reasoning="Hm."), data(None, "length")], "used up its tokens on thinking"),
    ([data("", reasoning="Hm."), data("\n", "stop"), DONE], "thought about it and then answered nothing"),
    ([data(None, "length"), DONE], "reached its limit of tokens before it answered"),
    ([data(None, "content_filter"), DONE], "withheld the answer (content filter)"),
    (
        [data(None, refusal="I can"), data(None, refusal="not."), data(None, "stop")],
        "refused to answer. It said: I cannot.",
    ),
    ([data(None, "stop"), DONE], "answered nothing"),
    ([DONE], "answered nothing"),
    ([data(" \n\t", "stop")], "answered nothing"),
    ([data("Half"), b'error: {"message": "out of memory"}\n\n'], "reported an error. It said: out of memory"),
    ([data("Half"), b"error: out of memory\n"], "reported an error. It said: out of memory"),
    ([b'event: error\ndata: {"detail": "out of memory"}\n\n'], "reported an error. It said: out of memory"),
    ([b"event: error\r\ndata: out of memory\r\n\r\n"], "reported an error. It said: out of memory"),
    ([data("Half"), b'data: {"error": {"message": "out of memory"}}\n\n', DONE], "It said: out of memory"),
    ([data("Half"), b'{"error": {"message": "out of memory"}}\n\n'], "It said: out of memory"),
    ([b'data: {"choices": [{"error": {"message": "overloaded"}}]}\n\n', DONE], "It said: overloaded"),
    ([b'data: {"object": "error", "message": "overloaded"}\n\n', DONE], "It said: overloaded"),
    ([data("Half", "error"), DONE], "reported an error"),
    ([b'{"error": {"message": "no such model"}}'], "reported an error. It said: no such model"),
    ([b'{"error": "no such model"}'], "reported an error. It said: no such model"),
    ([b'{"detail": "no such model"}'], "reported an error. It said: no such model"),
    ([b'[{"error": {"message": "no such model"}}]'], "reported an error. It said: no such model"),
    ([b'{"error": {"message": "no such'], "cannot be read"),
    ([b'data: {"choices": [{"del\n\n'], "cannot be read"),
    ([b'{"choices": []}'], "no answer of the expected form"),
    ([b"{}"], "no answer of the expected form"),
    ([b"<!doctype html><p>Sign in</p>"], "no answer of the expected form"),
    ([b"Internal Server Error"], "no answer of the expected form"),
    ([b'{"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}'], "answered nothing"),
    ([b'{"choices": [{"message": {"refusal": "No."}, "finish_reason": "stop"}]}'], "refused to answer. It said: No."),
    ([b""], "broke off before the answer"),
    ([b": waking up\n\n"], "no answer of the expected form"),
]


@pytest.mark.parametrize(("parts", "sentence"), NOTHING)
def test_what_is_no_answer_is_a_failure_with_its_reason(parts: list[bytes], sentence: str) -> None:
    assert sentence in fault(*parts)
    assert sentence in fault(*(bytes([byte]) for part in parts for byte in part))


def test_an_endpoints_own_words_are_short_and_visible() -> None:
    said = fault(
        b"data: " + json.dumps({"error": {"message": "a\0b\x1b[2J\u202e\ud800 " + "x" * 5_000}}).encode() + b"\n\n"
    )
    assert "a b [2J \ufffd x" in said
    assert len(said) < 400
    assert said.isprintable()


async def test_what_the_question_earned_is_not_asked_again_nor_elsewhere() -> None:
    refused = sse(data(None, "content_filter"), DONE)
    async with upstream(refused) as first, upstream() as second:
        backend = EndpointsBackend([first.url, second.url], model="m")
        with pytest.raises(BackendError, match="content filter"):
            [piece async for piece in backend.generate(QUESTION)]
        await backend.aclose()
    assert (len(first.requests), len(second.requests)) == (1, 0)


# -- how lines may end ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
def test_no_piece_is_lost_however_lines_end(ending: bytes, mark: bytes, size: int) -> None:
    body = mark + (data("One ") + b": wait\n\nevent: message\n" + data("two") + DONE).replace(b"\n", ending)
    assert text(read(*(body[at : at + size] for at in range(0, len(body), size)))) == "One two"
    document = mark + b'{"choices": [{"message": {"content": "One"}}]}'
    assert text(read(*(document[at : at + size] for at in range(0, len(document), size)))) == "One"


def test_json_may_go_over_several_lines() -> None:
    body = b'data: {"choices":\ndata: [{"delta": {"content": "One"}}]}\n\n' + DONE
    assert text(read(body)) == "One"


# -- in chats -------------------------------------------------------------------------------------


@pytest.fixture
def endpoint(settings: Any) -> Any:
    def use(url: str) -> None:
        config = {"urls": [url], "model": "m"}
        backend = "privategpt.llm.endpoints.EndpointsBackend"
        settings.LLM_BACKENDS, settings.LLM_BACKEND = {"openai": {"BACKEND": backend, "CONFIG": config}}, "openai"

    return use


@pytest.mark.django_db(transaction=True)
async def test_a_chat_says_why_there_is_no_answer(alice: User, endpoint: Any) -> None:
    reply = sse(b'data: {"error": {"message": "<b>out</b> of memory"}}\n\n', DONE)
    async with upstream(reply, reply) as up:
        endpoint(up.url)
        message = await asked(await db(chat, alice))
    assert message.state == Asked.State.FAILED
    assert message.error.endswith("reported an error. It said: <b>out</b> of memory")
    html = await db(lambda: page(alice, Chat.objects.get()))
    assert "&lt;b&gt;out&lt;/b&gt; of memory" in html


@pytest.mark.django_db(transaction=True)
async def test_a_chat_keeps_what_was_cut_off_and_says_so(alice: User, endpoint: Any) -> None:
    async with upstream(sse(data("Half an answer"), data(None, "length"), DONE)) as up:
        endpoint(up.url)
        message = await asked(await db(chat, alice))
    assert (message.state, message.answer, message.cut_off) == (Asked.State.COMPLETE, "Half an answer", "length")
    assert "cut off here: the language model reached its limit" in await db(lambda: page(alice, Chat.objects.get()))
    export = await db(lambda: signed_in(alice).get(f"/chats/{message.chat_id}/chat.json").json())
    assert export["messages"][0]["cut_off"] == "length"
    text = await db(lambda: signed_in(alice).get(f"/chats/{message.chat_id}/chat.md").content.decode())
    assert "reached its limit of tokens" in text


# -- through an agent -----------------------------------------------------------------------------


async def through_an_agent(*reply: bytes) -> dict[str, Any]:
    """The last frame of an agent whose endpoint sends this."""
    async with upstream(sse(*reply), sse(*reply)) as up, relay() as hub:
        backend = OpenAIBackend(up.url, model="m")
        task = asyncio.create_task(Agent(Settings(hub.url), backend).run())
        peer = await hub.peer()
        await peer.ask("a", stream=True)
        _, last = await peer.answer("a")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await backend.aclose()
    return last


@pytest.mark.parametrize(("parts", "sentence"), [each for each in NOTHING if each[0] and each[0] != [b""]][:20])
async def test_an_agent_tells_its_endpoints_reason(parts: list[bytes], sentence: str) -> None:
    last = await through_an_agent(*parts)
    assert last["message"] == "error"
    assert sentence in last["data"]


async def test_an_agent_tells_that_an_answer_was_cut_off() -> None:
    last = await through_an_agent(data("Half"), data(None, "length"), DONE)
    assert {"content": "Half", "finish_reason": "length"}.items() <= json.loads(last["data"]).items()
    last = await through_an_agent(data("Whole"), data(None, "stop"), DONE)
    assert "finish_reason" not in json.loads(last["data"])


@pytest.mark.parametrize("said", ["length", "stop", "", 7, None, "<b>", ["length"]])
@pytest.mark.parametrize("content", ["Half", "Half" * frames.MOST_LENIENT])
def test_only_a_known_reason_is_taken_from_an_agent(said: Any, content: str) -> None:
    found = frames.answer(json.dumps({"content": content, "finish_reason": said}))
    assert found.content == content
    assert (found.finish_reason == "length") == (said == "length")
    assert ("finish_reason" in json.loads(msgspec.json.encode(found))) == (said == "length")


@pytest.mark.django_db(transaction=True)
async def test_a_chat_hears_from_an_agent_that_it_was_cut_off(alice: User, settings: Any) -> None:
    settings.LLM_BACKENDS = {"relay": {"BACKEND": "privategpt.llm.relay.RelayBackend"}}
    agent = FakeAgent("small", "Half", cut="length")
    message = await asked(await db(chat, alice))
    exchange.current().dispatcher.pool.leave(agent.agent)
    assert (message.answer, message.cut_off) == ("Half", "length")


@pytest.mark.django_db(transaction=True)
async def test_an_answer_of_nothing_but_blanks_is_none_whoever_gave_it(alice: User, scripted: Any) -> None:
    scripted.says(" \n")
    message = await asked(await db(chat, alice))
    assert (message.state, message.error) == (Asked.State.FAILED, "The language model answered nothing.")
