"""An OpenAI-compatible endpoint as a backend: what it streams, what it refuses, how it breaks."""

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privategpt.llm.base import BackendError, Delta, Message, Usage
from privategpt.llm.openai import OpenAIBackend
from privategpt.llm.openai_stream import MAX_LINE, ReplyReader
from tests.fake_upstream import CUT, DONE, STREAM, answer, chunk, event, sse, upstream, whole
from tests.patience import PATIENCE

KEY = "sk-very-secret"
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\n'
GOOD = sse(event("Hello "), event("world"), DONE)


@contextlib.asynccontextmanager
async def backend_at(url: str, **options: Any) -> AsyncIterator[OpenAIBackend]:
    backend = OpenAIBackend(url, model="small", api_key=KEY, **options)
    try:
        yield backend
    finally:
        await backend.aclose()


async def failure(url: str, **options: Any) -> BackendError:
    async with backend_at(url, **options) as backend:
        with pytest.raises(BackendError) as caught:
            await answer(backend)
    return caught.value


def text_before(error: BackendError) -> str:
    return "".join(error.__notes__)


# -- what it streams ----------------------------------------------------------------------------


async def test_an_answer_comes_in_pieces_and_its_usage_last() -> None:
    async with upstream(sse(event("Hello "), event("world"), USAGE, DONE)) as up, backend_at(up.url) as backend:
        pieces = [piece async for piece in backend.generate([Message("user", "Hi")], max_tokens=9, temperature=0.5)]
    assert pieces == [Delta("Hello "), Delta("world"), Usage(3, 2)]
    request = up.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["messages"] == [{"role": "user", "content": "Hi"}]
    asked = {key: request.body[key] for key in ("model", "stream", "max_tokens", "temperature")}
    assert asked == {"model": "small", "stream": True, "max_tokens": 9, "temperature": 0.5}


async def test_the_first_piece_is_not_held_back() -> None:
    rest = asyncio.Event()
    head, first, *others = sse(event("Hello "), event("world"), DONE)
    async with upstream([head, first, rest, *others]) as up, backend_at(up.url) as backend:
        pieces = backend.generate([Message("user", "Hi")])
        async with asyncio.timeout(PATIENCE):
            assert await anext(pieces) == Delta("Hello ")
        rest.set()
        assert [piece async for piece in pieces] == [Delta("world")]


async def test_answers_share_one_connection() -> None:
    async with upstream(GOOD, GOOD, GOOD) as up, backend_at(up.url) as backend:
        for _ in range(3):
            assert await answer(backend) == ("Hello world", None)
    assert up.connections == 1


async def test_a_connection_that_the_endpoint_closed_meanwhile_is_replaced() -> None:
    async with upstream([*GOOD, CUT], GOOD) as up, backend_at(up.url) as backend:
        assert (await answer(backend))[0] == "Hello world"
        assert (await answer(backend))[0] == "Hello world"
    assert up.connections == 2


async def test_closing_the_generator_leaves_the_endpoint() -> None:
    head, first, *_ = GOOD
    async with upstream([head, first, asyncio.Event()]) as up, backend_at(up.url) as backend:
        pieces = backend.generate([Message("user", "Hi")])
        await anext(pieces)
        await pieces.aclose()
        async with asyncio.timeout(PATIENCE):
            await up.left.wait()


async def test_cancelling_the_reader_leaves_the_endpoint() -> None:
    async with upstream([GOOD[0], asyncio.Event()]) as up, backend_at(up.url) as backend:
        task = asyncio.create_task(answer(backend))
        async with asyncio.timeout(PATIENCE):
            await up.asked.wait()
            task.cancel()
            await up.left.wait()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            event("Hello ").replace(b"\n", b"\r\n") + event("world").replace(b"\n", b"\r\n") + DONE, id="CRLF"
        ),
        pytest.param(b": waking\n\n" + event("Hello ") + b": still\n\n" + event("world") + DONE, id="comments"),
        pytest.param(b"event: x\nid: 1\n" + event("Hello ") + event("world") + DONE, id="names and ids"),
        pytest.param((event("Hello ") + event("world") + DONE).replace(b"data: ", b"data:"), id="no blank"),
        pytest.param((event("Hello ") + event("world")).replace(b"\n\n", b"\n") + DONE, id="no empty line"),
        pytest.param(event(None) + event("") + event("Hello ") + event("world") + DONE, id="empty pieces"),
        pytest.param(event("Hello ") + event("world") + b"data: [DONE]", id="no last line break"),
        pytest.param(event("Hello ") + event("world") + DONE + event("more"), id="more after the end"),
        pytest.param(
            event("Hello ")
            + b'data: {"choices": [{"delta": {"content": [{"type": "text", "text": "world"}]}}]}\n'
            + DONE,
            id="parts",
        ),
        pytest.param(
            event("Hello ") + b'data: {"choices": [{"delta": {"content": "world"}, "finish_reason": "stop"}]}\n\n',
            id="finished without [DONE]",
        ),
    ],
)
async def test_the_dialects_of_a_stream_read_the_same(body: bytes) -> None:
    async with upstream(sse(body)) as up, backend_at(up.url) as backend:
        assert (await answer(backend))[0] == "Hello world"


async def test_an_endpoint_that_does_not_stream_is_an_answer_in_one_piece() -> None:
    document = {
        "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    async with upstream(whole(200, json.dumps(document, indent=2).encode())) as up, backend_at(up.url) as backend:
        assert await answer(backend) == ("Hello", Usage(1, 2))


async def test_letters_split_over_packets_come_whole() -> None:
    body = sse(
        json.dumps({"choices": [{"delta": {"content": "Grüße 😀 漢字"}}]}, ensure_ascii=False)
        .encode()
        .join([b"data: ", b"\n\n"]),
        DONE,
    )
    single = [bytes([byte]) for step in body if isinstance(step, bytes) for byte in step]
    async with upstream([*single]) as up, backend_at(up.url) as backend:
        assert (await answer(backend))[0] == "Grüße 😀 漢字"


@given(st.lists(st.text(max_size=20), max_size=6), st.lists(st.integers(0, 400), max_size=12))
def test_a_stream_reads_the_same_however_it_is_split(texts: list[str], cuts: list[int]) -> None:
    body = b"".join(event(text.encode("utf-8", "replace").decode()) for text in texts) + USAGE + DONE
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    reader = ReplyReader()
    pieces = [piece for start, end in itertools.pairwise(places) for piece in reader.feed(body[start:end])]
    assert "".join(piece.text for piece in pieces) == "".join(texts).encode("utf-8", "replace").decode()
    assert reader.finish() == [Usage(3, 2)]


async def test_half_a_surrogate_pair_harms_neither_way() -> None:
    reply = sse(b'data: {"choices": [{"delta": {"content": "a\\ud83d"}}]}\n\n', DONE)
    async with upstream(reply) as up, backend_at(up.url) as backend:
        assert (await answer(backend, "b\ud83d"))[0] == "a\ufffd"
    assert up.requests[0].body["messages"][0]["content"] == "b\ufffd"


# -- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "tries", "retryable", "sentence"),
    [
        (400, 1, False, "did not take the question (400)"),
        (401, 1, False, "refused the credential (401)"),
        (403, 1, False, "refused the credential (403)"),
        (404, 1, False, "does not know the model 'small'"),
        (413, 1, False, "did not take the question (413)"),
        (301, 1, False, "did not take the question (301)"),
        (429, 2, True, "too much to do, or the quota is used up (429)"),
        (500, 2, True, "failed (500)"),
        (503, 2, True, "failed (503)"),
    ],
)
async def test_a_refusal_is_one_sentence(status: int, tries: int, retryable: bool, sentence: str) -> None:
    refusal = whole(status, {"error": {"message": "because"}}, retry_after="0")
    async with upstream(refusal, refusal, refusal) as up:
        error = await failure(up.url)
    assert sentence in str(error)
    assert (error.status, error.retryable, len(up.requests)) == (status, retryable, tries)
    assert error.said == ("because" if status not in {401, 403} else "")
    assert "because" not in error.sentence


@pytest.mark.parametrize(
    "body", [b"<html>busy</html>", b"", b'{"error": "busy"}', b'{"detail": "busy"}', b"\xff\xfe", b"[1]"]
)
async def test_any_body_of_a_refusal_is_borne(body: bytes) -> None:
    async with upstream(whole(500, body), whole(500, body)) as up:
        error = await failure(up.url)
    assert error.said == ("busy" if b'"busy"' in body else "")


async def test_the_key_is_in_no_error() -> None:
    async with upstream(whole(400, {"error": {"message": f"your key {KEY} is odd"}})) as up:
        error = await failure(up.url)
    assert KEY not in str(error)
    assert "your key *** is odd" in str(error)


async def test_a_moment_of_trouble_is_asked_again_once() -> None:
    async with upstream(whole(503, b"", retry_after="0"), GOOD) as up, backend_at(up.url) as backend:
        assert (await answer(backend))[0] == "Hello world"
    assert len(up.requests) == 2


async def test_a_long_rest_that_the_endpoint_asks_for_is_left_to_the_caller() -> None:
    async with upstream(whole(429, b"", retry_after="30"), GOOD) as up:
        error = await failure(up.url)
    assert error.retryable
    assert len(up.requests) == 1


async def test_after_the_first_piece_nothing_is_asked_again() -> None:
    async with upstream([*GOOD[:2], CUT], GOOD) as up:
        error = await failure(up.url)
    assert text_before(error) == "Hello "
    assert "broke off in the middle" in str(error)
    assert len(up.requests) == 1


@pytest.mark.parametrize(
    ("parameter", "said", "instead"),
    [
        ("stream_options", "Unknown field stream_options", {}),
        ("temperature", "Unsupported value: 'temperature' does not support 0.2", {}),
        ("max_tokens", "Unsupported parameter: 'max_tokens'", {"max_completion_tokens": 5}),
    ],
)
async def test_a_parameter_that_the_endpoint_does_not_know_is_left_out_from_then_on(
    parameter: str, said: str, instead: dict[str, int]
) -> None:
    async with upstream(whole(400, {"error": {"message": said}}), GOOD, GOOD) as up, backend_at(up.url) as backend:
        for _ in range(2):
            assert (await answer(backend, max_tokens=5, temperature=0.2))[0] == "Hello world"
    first, second, third = (request.body for request in up.requests)
    assert parameter in first
    assert parameter not in second
    assert second == third
    assert instead.items() <= second.items()


async def test_nobody_listening_is_told_as_such() -> None:
    async with upstream() as up:
        pass
    error = await failure(up.url)
    assert str(error) == "The language model's server refused the connection; is it running?"
    assert error.retryable


async def test_no_error_names_the_address() -> None:
    error = await failure("http://no-such-host.invalid/v1")
    assert "no-such-host" not in str(error)


# -- how it breaks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        pytest.param(sse(b"<html>Welcome</html>"), "no answer of the expected form", id="a web page"),
        pytest.param(whole(200, b"<html>\n</html>\n"), "no answer of the expected form", id="a whole web page"),
        pytest.param(whole(200, b"[1, 2]"), "no answer of the expected form", id="another JSON"),
        pytest.param(sse(b"data: {rubbish\n\n"), "cannot be read", id="rubbish"),
        pytest.param(sse(b"data: 7\n\n"), "cannot be read", id="a number"),
        pytest.param(sse(b'data: {"choices": "none"}\n\n'), "cannot be read", id="wrong types"),
        pytest.param(sse(b'{"choices": [{"mess'), "cannot be read", id="half a document"),
        pytest.param(sse(event("Hello")), "broke off in the middle", id="no end"),
        pytest.param(sse(b"data: " + b"x" * (MAX_LINE + 100_000)), "a line longer", id="endless line"),
        pytest.param(
            sse(b'data: {"error": {"message": "out of memory"}}\n\n'),
            "reported an error. It said: out of memory",
            id="error",
        ),
        pytest.param(
            [STREAM + b"content-length: 100\r\n\r\n", event("Hello"), CUT], "broke off in the middle", id="reset"
        ),
        pytest.param([b"rubbish\r\n\r\n", CUT], "broke off before the answer", id="no HTTP"),
    ],
)
async def test_a_broken_reply_is_one_sentence(reply: list[Any], sentence: str) -> None:
    async with upstream(reply, reply) as up:
        assert sentence in str(await failure(up.url))


async def test_an_endless_answer_is_cut() -> None:
    body = event("x" * 60_000)
    async with upstream(sse(*[body] * 100)) as up:
        error = await failure(up.url)
    assert "longer than an answer may be" in str(error)
    assert len(text_before(error)) < 5_000_000


async def test_silence_ends_in_time_and_is_not_asked_again() -> None:
    async with upstream([*GOOD[:1], asyncio.Event()], GOOD) as up:
        error = await failure(up.url, silence=0.05)
    assert "was silent for 0.05 seconds" in str(error)
    assert error.retryable
    assert len(up.requests) == 1


async def test_silence_between_two_pieces_ends_in_time() -> None:
    async with upstream([*GOOD[:2], asyncio.Event()]) as up:
        error = await failure(up.url, silence=0.05)
    assert text_before(error) == "Hello "


async def test_an_endpoint_that_never_ends_is_left() -> None:
    async with upstream([GOOD[0], *[chunk(b": wait\n\n")] * 3, asyncio.Event(), chunk(b": more\n\n")]) as up:
        error = await failure(up.url, longest=0.0)
    assert "was not done within 0 seconds" in str(error)


async def test_a_connection_left_open_after_the_last_word_delays_nothing() -> None:
    async with upstream([*GOOD[:-1], asyncio.Event()]) as up, backend_at(up.url) as backend:
        async with asyncio.timeout(PATIENCE):
            assert (await answer(backend))[0] == "Hello world"


# -- what it is given ---------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "127.0.0.1:11434", "ftp://a/v1", "http://", "http://a/v1?x=1", "http://[::1"])
def test_an_address_of_no_use_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match=r"must look like http://"):
        OpenAIBackend(url)


def test_a_key_that_no_header_can_carry_is_refused_without_quoting_it() -> None:
    with pytest.raises(ValueError, match="no header can carry") as caught:
        OpenAIBackend("http://a/v1", api_key="sk-\nx")
    assert "sk-" not in str(caught.value)


async def test_no_text_and_no_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refusal = whole(400, {"error": "the-answer"})
    async with upstream(sse(event("the-answer"), DONE), refusal) as up, backend_at(up.url) as backend:
        await answer(backend, "the-question")
        with pytest.raises(BackendError):
            await answer(backend, "the-question")
    assert not any(secret in caplog.text for secret in ("the-question", "the-answer", KEY))
