"""The agent's side of the protocol, against a small relay on a real websocket."""

import asyncio
import contextlib
import json
import logging
import stat
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from privategpt.agent import Agent, Settings, door
from privategpt.agent.transcripts import CHARACTERS, CONVERSATIONS, Transcripts
from privategpt.llm.base import BackendError, Delta, Message, Usage
from tests.fake_relay import Relay, relay, until


class ScriptedBackend:
    """Answers "echo: QUESTION", or what its scripts say: pieces, Events to wait for, errors to raise."""

    name = "scripted"
    model = "parrot"

    def __init__(self) -> None:
        self.scripts: deque[list[Any]] = deque()
        self.seen: list[list[Message]] = []
        self.options: list[tuple[int | None, float | None]] = []
        self.running = 0
        self.stopped = 0

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[Delta | Usage, None]:
        self.seen.append(list(messages))
        self.options.append((max_tokens, temperature))
        self.running += 1
        try:
            for step in self.scripts.popleft() if self.scripts else ["echo: ", messages[-1].content, Usage(1, 1)]:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield Delta(step) if isinstance(step, str) else cast(Usage, step)
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        pass


@contextlib.asynccontextmanager
async def agent_at(url: str, backend: ScriptedBackend | None = None, **settings: Any) -> AsyncIterator[ScriptedBackend]:
    backend = backend or ScriptedBackend()
    agent = Agent(Settings(url, name="Polly", pauses=(0.01, 0.05), **settings), backend)
    task = asyncio.create_task(agent.run())
    try:
        yield backend
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def content(frame: dict[str, Any]) -> str:
    assert frame["message"] == "ChatGptResponse", frame
    return str(json.loads(frame["data"])["content"])


# -- who it is ----------------------------------------------------------------------------------


async def test_the_hello_is_answered_with_its_id_and_what_the_agent_can_do() -> None:
    async with relay() as hub, agent_at(hub.url, concurrency=3):
        hello = await (await hub.peer(greet=False)).greet("fresh")
    assert (hello["id"], hello["message"]) == ("fresh", "Connection id")
    assert json.loads(hello["data"]) == {"name": "Polly", "model": "parrot", "concurrency": 3, "stream": True}


async def test_it_comes_back_under_its_id() -> None:
    async with relay() as hub, agent_at(hub.url):
        first = await hub.peer(fresh="one")
        await first.socket.close()
        second = await hub.peer(fresh="two")
    assert second.hello["id"] == "one"


async def test_it_takes_a_new_id_when_another_agent_came_under_its_own() -> None:
    async with relay() as hub, agent_at(hub.url):
        first = await hub.peer(fresh="one")
        await first.socket.close(4001)
        assert (await hub.peer(fresh="two")).hello["id"] == "two"


async def test_it_comes_back_after_a_connection_that_broke() -> None:
    async with relay() as hub, agent_at(hub.url):
        first = await hub.peer(fresh="one")
        first.socket.transport.abort()
        assert (await hub.peer(fresh="two")).hello["id"] == "one"


async def test_the_id_outlives_the_process_in_the_state_file(tmp_path: Path) -> None:
    state = tmp_path / "new" / "agent.id"
    async with relay() as hub:
        async with agent_at(hub.url, state=state):
            await hub.peer(fresh="one")
        async with agent_at(hub.url, state=state):
            assert (await hub.peer(fresh="two")).hello["id"] == "one"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


@pytest.mark.parametrize("kept", [b"", b"\xff\xfe", b"a\nb\nc\n", b"x" * 65])
async def test_a_state_file_of_no_use_counts_as_none(tmp_path: Path, kept: bytes) -> None:
    state = tmp_path / "agent.id"
    state.write_bytes(kept)
    async with relay() as hub, agent_at(hub.url, state=state):
        assert (await hub.peer(fresh="one")).hello["id"] == "one"


async def test_without_a_writable_state_file_it_serves_all_the_same(tmp_path: Path) -> None:
    async with relay() as hub, agent_at(hub.url, state=tmp_path):  # a folder
        assert (await hub.peer(fresh="one")).hello["id"] == "one"


async def test_the_token_goes_as_a_bearer_and_into_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with relay() as hub:
        async with agent_at(hub.url, token="secret"):
            peer = await hub.peer()
        assert peer.headers["Authorization"] == "Bearer secret"
        hub.refuse_with = 401
        async with agent_at(hub.url, token="secret"):
            await until(lambda: hub.tries > 2)
    assert "secret" not in caplog.text


# -- staying reachable --------------------------------------------------------------------------


async def test_a_ping_is_answered_while_an_answer_is_being_made() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        backend.scripts.append([asyncio.Event()])
        peer = await hub.peer()
        await peer.ask("a")
        await until(lambda: backend.running == 1)
        await peer.send("p", "ping")
        assert await peer.receive() == {"id": "p", "message": "pong", "data": ""}


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_is_explained_once_and_the_agent_keeps_trying(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with relay() as hub:
        hub.refuse_with = status
        async with agent_at(hub.url):
            await until(lambda: hub.tries >= 3)
            assert len(caplog.messages) == 1
            assert {401: "agent token", 403: "revoked", 404: "/client/register"}[status] in caplog.text
            hub.refuse_with = None
            assert await hub.peer()


async def test_a_server_that_is_not_there_yet_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async with relay() as hub:
        port = int(hub.url.split(":")[2].split("/")[0])
    async with agent_at(hub.url):
        await until(lambda: bool(caplog.messages))
        assert "is the server running?" in caplog.text
        async with relay(port) as late:
            assert await late.peer()
    assert len([line for line in caplog.messages if "refused" in line]) <= 2


@pytest.mark.parametrize("first", ["rubbish", "[]", '{"id": "x", "message": "ping"}'])
async def test_what_does_not_greet_as_a_relay_is_left(first: str) -> None:
    async with relay() as hub, agent_at(hub.url):
        odd = await hub.peer(greet=False)
        await odd.socket.send(first)
        assert await hub.peer()
        await odd.socket.wait_closed()


async def test_stopping_says_goodbye() -> None:
    async with relay() as hub:
        async with agent_at(hub.url) as backend:
            backend.scripts.append([asyncio.Event()])
            peer = await hub.peer()
            await peer.ask("a")
            await until(lambda: backend.running == 1)
        await peer.socket.wait_closed()
        assert peer.socket.close_code == 1001
        assert backend.stopped == 1


# -- answering ----------------------------------------------------------------------------------


async def test_an_answer_is_one_frame_when_no_stream_is_asked() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        peer = await hub.peer()
        await peer.ask("a", "Why?")
        deltas, last = await peer.answer("a")
    data = json.loads(last["data"])
    assert (deltas, data["content"]) == ([], "echo: Why?")
    assert len(data["response_id"]) == len(data["conversation_id"]) == 36
    assert backend.seen == [[Message("user", "Why?")]]


async def test_a_streamed_answer_shows_its_first_piece_at_once_and_ends_whole() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        rest = asyncio.Event()
        backend.scripts.append(["Hello", rest, " world", "!"])
        peer = await hub.peer()
        await peer.ask("a", stream=True)
        assert await peer.receive() == {"id": "a", "message": "ChatGptDelta", "data": "Hello"}
        rest.set()
        deltas, last = await peer.answer("a")
    assert "".join(deltas) == " world!"
    assert content(last) == "Hello world!"


async def test_pieces_that_come_close_together_share_a_frame() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        backend.scripts.append([str(number) for number in range(500)])
        peer = await hub.peer()
        await peer.ask("a", stream=True)
        deltas, last = await peer.answer("a")
    assert "".join(deltas) == content(last)
    assert len(deltas) < 20


async def test_a_piece_before_a_long_pause_is_not_held_back() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        pause = asyncio.Event()
        backend.scripts.append(["one ", "two", pause])
        peer = await hub.peer()
        await peer.ask("a", stream=True)
        shown = (await peer.receive())["data"]
        while shown != "one two":
            shown += (await peer.receive())["data"]
        assert not pause.is_set()


async def test_the_conversation_id_stays_and_the_response_id_is_fresh() -> None:
    async with relay() as hub, agent_at(hub.url):
        peer = await hub.peer()
        found = []
        for ask in "ab":
            await peer.ask(ask, conversation_id="c")
            found.append(json.loads((await peer.answer(ask))[1]["data"]))
    assert [data["conversation_id"] for data in found] == ["c", "c"]
    assert found[0]["response_id"] != found[1]["response_id"]


async def test_a_conversation_that_goes_on_has_its_context() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        peer = await hub.peer()
        await peer.ask("a", "I am Anna.")
        conversation = json.loads((await peer.answer("a"))[1]["data"])["conversation_id"]
        await peer.ask("b", "Who am I?", conversation_id=conversation)
        await peer.answer("b")
        await peer.ask("c", "Who am I?", conversation_id="another")
        await peer.answer("c")
    assert [message.content for message in backend.seen[1]] == ["I am Anna.", "echo: I am Anna.", "Who am I?"]
    assert [message.content for message in backend.seen[2]] == ["Who am I?"]


async def test_messages_and_limits_from_the_relay_reach_the_model() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "tool", "content": None},
        {"role": "user", "content": "Two?", "name": "x"},
    ]
    async with relay() as hub, agent_at(hub.url) as backend:
        peer = await hub.peer()
        await peer.ask("a", "all in one", messages=messages, max_tokens=7, temperature=0.5)
        assert content((await peer.answer("a"))[1]) == "echo: Two?"
        await peer.ask("b", "one", max_tokens=0, temperature=None, messages=[])
        assert content((await peer.answer("b"))[1]) == "echo: one"
    roles = [message.role for message in backend.seen[0]]
    assert roles == ["system", "user", "assistant", "user", "user"]
    assert backend.options == [(7, 0.5), (None, None)]


async def test_an_ask_that_is_cancelled_stops_and_says_nothing_more() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        backend.scripts.append(["Hello", asyncio.Event()])
        peer = await hub.peer()
        await peer.ask("a", stream=True)
        await peer.receive()
        await peer.send("a", "cancel")
        await peer.ask("b", "free again?")
        assert content((await peer.answer("b"))[1]) == "echo: free again?"
        assert (backend.stopped, backend.running) == (1, 0)
        await peer.quiet()


async def test_a_lost_connection_stops_its_asks() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        backend.scripts.append([asyncio.Event()])
        peer = await hub.peer()
        await peer.ask("a")
        await until(lambda: backend.running == 1)
        peer.socket.transport.abort()
        await until(lambda: backend.stopped == 1)
        again = await hub.peer()
        await again.quiet()


def test_what_is_remembered_of_conversations_is_bounded() -> None:
    memory = Transcripts()
    for number in range(CONVERSATIONS + 10):
        memory.keep(str(number), [Message("user", "Why?")], "So.")
    assert memory.before("9") == []
    assert memory.before("10") == [Message("user", "Why?"), Message("assistant", "So.")]
    for _ in range(100):
        memory.keep("long", [*memory.before("long"), Message("user", "x" * 5000)], "So.")
    kept = memory.before("long")
    assert kept[-1] == Message("assistant", "So.")
    assert sum(len(turn.content) for turn in kept) <= CHARACTERS
    memory.keep("one", [Message("user", "x" * 2 * CHARACTERS)], "So.")
    assert len(memory.before("one")) == 2, "the last exchange stays whole"


# -- what goes wrong ----------------------------------------------------------------------------


async def failed(hub: Relay, backend: ScriptedBackend, script: list[Any]) -> str:
    backend.scripts.append(script)
    peer = await hub.peer()
    await peer.ask("a", "the-question")
    frame = (await peer.answer("a"))[1]
    assert (frame["message"], frame["error"]) == ("error", {})
    return str(frame["data"])


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([BackendError("It is asleep.", said="zzz", status=503)], "It is asleep. It said: zzz"),
        (["Hello", BackendError("It broke off.")], "It broke off."),
        ([ValueError("the-question has a secret")], "The agent failed on this question."),
        ([], "The language model answered nothing."),
        (["x" * 600_000] * 2, "The answer is longer than an answer may be."),
    ],
)
async def test_a_failure_is_an_error_frame_and_no_prompt_in_the_log(
    script: list[Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        assert await failed(hub, backend, script) == told
    assert "A question failed" in caplog.text
    assert not any(text in caplog.text for text in ("the-question", "zzz"))


async def test_after_a_failure_the_next_question_is_answered() -> None:
    async with relay() as hub, agent_at(hub.url) as backend:
        backend.scripts.append([BackendError("It is asleep.")])
        peer = await hub.peer()
        await peer.ask("a")
        await peer.answer("a")
        await peer.ask("b")
        assert content((await peer.answer("b"))[1]) == "echo: Why?"


async def test_more_than_declared_is_refused_and_the_rest_goes_on() -> None:
    async with relay() as hub, agent_at(hub.url, concurrency=2) as backend:
        go = asyncio.Event()
        backend.scripts.extend([[go, "one"], [go, "two"]])
        peer = await hub.peer()
        for ask in "abc":
            await peer.ask(ask)
        refused = await peer.receive()
        assert (refused["id"], refused["message"]) == ("c", "error")
        assert refused["data"] == "This agent answers 2 at a time."
        go.set()
        assert {content(await peer.receive()), content(await peer.receive())} == {"one", "two"}


async def test_the_place_is_free_the_moment_the_answer_is_out() -> None:
    async with relay() as hub, agent_at(hub.url):
        peer = await hub.peer()
        for number in range(50):
            await peer.ask(str(number))
            assert content((await peer.answer(str(number)))[1]) == "echo: Why?"


async def test_an_ask_sent_twice_is_answered_once() -> None:
    async with relay() as hub, agent_at(hub.url, concurrency=2) as backend:
        go = asyncio.Event()
        backend.scripts.append([go, "one"])
        peer = await hub.peer()
        await peer.ask("a")
        await peer.ask("a")
        go.set()
        assert content((await peer.answer("a"))[1]) == "one"
        await peer.quiet()


@pytest.mark.parametrize("data", ["", "rubbish", "[]", '{"content": 7}', '{"messages": "x"}', '{"max_tokens": "many"}'])
async def test_a_question_that_cannot_be_read_is_an_error_frame(data: str) -> None:
    async with relay() as hub, agent_at(hub.url):
        peer = await hub.peer()
        await peer.send("a", "ChatGptRequest", data)
        assert (await peer.answer("a"))[1]["data"] == "The question cannot be read."


@pytest.mark.parametrize(
    "frame",
    ["rubbish", b"\xff\x00", "[]", "null", '{"id": 7}', '{"id": "x", "message": "ChatGptResponse"}', "[" * 100_000],
)
async def test_frames_of_no_use_are_ignored(frame: str | bytes) -> None:
    async with relay() as hub, agent_at(hub.url):
        peer = await hub.peer()
        await peer.socket.send(frame)
        await peer.send("x", "cancel")
        await peer.quiet()


async def test_a_binary_and_a_fragmented_frame_are_taken_as_well() -> None:
    async with relay() as hub, agent_at(hub.url):
        peer = await hub.peer()
        await peer.socket.send(b'{"id": "b", "message": "ping", "data": "", "more": 1}')
        assert (await peer.receive())["id"] == "b"
        await peer.socket.send(['{"id": "f", "mess', 'age": "ping"}'])
        assert (await peer.receive())["id"] == "f"


async def test_a_frame_beyond_all_measure_ends_the_connection_only() -> None:
    async with relay() as hub, agent_at(hub.url):
        peer = await hub.peer(fresh="one")
        with contextlib.suppress(Exception):
            await peer.socket.send("x" * (17 << 20))
        await peer.socket.wait_closed()
        assert peer.socket.close_code == 1009
        assert (await hub.peer(fresh="two")).hello["id"] == "one"


# -- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ws://h:1/client/register", "ws://h:1/client/register"),
        ("wss://h/agent/TOKEN/client/register?x=1", "wss://h/agent/TOKEN/client/register?x=1"),
        ("ws://h:1", "ws://h:1/client/register"),
        ("http://h:1", "ws://h:1/client/register"),
        ("https://h/", "wss://h/client/register"),
        ("https://h/agent/TOKEN", "wss://h/agent/TOKEN/client/register"),
        ("http://h/client/register/", "ws://h/client/register"),
        ("h:1", "ws://h:1/client/register"),
        (" 127.0.0.1 ", "ws://127.0.0.1/client/register"),
        ("[::1]:8080", "ws://[::1]:8080/client/register"),
    ],
)
def test_an_address_may_be_written_in_any_usual_way(written: str, meant: str) -> None:
    assert door(written) == meant


@pytest.mark.parametrize("written", ["", "ftp://h", "http://", "h:port", "h:0", "http://[::1", "h:99999"])
def test_an_address_of_no_use_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        door(written)
