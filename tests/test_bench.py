"""The bench's driver is honest: it counts as right what is right, and sees what is not."""

import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bench.agents import Agent
from bench.bare import SERVER_OPTIONS, Answer, Ask, BareRelay, Receive, Scope, Send
from bench.cells import verdict
from bench.driver import drive, on_loop
from bench.faults import Mistaken
from bench.load import Load, Tally
from bench.processes import Server
from tests.patience import PATIENCE

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Serve = Callable[[App], int]
SOME = Load(port=0, clients=8, agents=4, asks=300, several=True)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts an app on the server program of the bench and tells its port; all are ended together."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: App) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, **SERVER_OPTIONS))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        running.append((server, thread))
        return int(listening.getsockname()[1])

    yield start
    for server, _ in running:
        server.should_exit = server.force_exit = True
    for _, thread in running:
        thread.join(PATIENCE)


def driven(port: int, load: Load = SOME) -> Tally:
    return on_loop(drive(replace(load, port=port)))


def in_chunks(app: App) -> App:
    """The same without a Content-Length, so that the server program sends the bodies in chunks."""

    async def chunked(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_bare(event: dict[str, Any]) -> None:
            await send(event | {"headers": []} if event["type"] == "http.response.start" else event)

        await app(scope, receive, send_bare)

    return chunked


class Muddled(BareRelay):
    """Gives every tenth asker the text of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0
        self.last = ""

    async def answer(self, ask: Ask) -> tuple[int, Answer]:
        status, answer = await super().answer(ask)
        self.given += 1
        self.last, text = answer.content, self.last if self.given % 10 == 0 else answer.content
        answer.content = text
        return status, answer


class Misfiled(BareRelay):
    """Right texts, but the conversation is called otherwise."""

    async def answer(self, ask: Ask) -> tuple[int, Answer]:
        status, answer = await super().answer(ask)
        answer.conversation_id += "0"
        return status, answer


class Refusing(BareRelay):
    async def answer(self, ask: Ask) -> tuple[int, Answer]:
        return 503, Answer("", "", "", "", "No available clients")


class Speechless(BareRelay):
    """Fails without a word of why."""

    async def answer(self, ask: Ask) -> tuple[int, Answer]:
        return 500, Answer("", "", "", "", "")


def test_every_answer_of_the_bare_round_trip_is_right(serve: Serve) -> None:
    tally = driven(serve(BareRelay()))
    assert (tally.ok, tally.trouble()) == (300, "")
    assert tally.clean
    assert tally.rate > 0


def test_continued_conversations_and_long_questions_are_right_too(serve: Serve) -> None:
    tally = driven(serve(BareRelay()), replace(SOME, sticky=0.5, content_size=100_000, asks=40))
    assert (tally.measured, tally.trouble()) == (40, "")


def test_answers_in_chunks_are_right_too(serve: Serve) -> None:
    tally = driven(serve(in_chunks(BareRelay())), replace(SOME, content_size=100_000, asks=40))
    assert (tally.ok, tally.trouble()) == (40, "")


def test_a_timed_run_measures_its_window(serve: Serve) -> None:
    tally = driven(serve(BareRelay()), replace(SOME, asks=0, seconds=0.1, warmup=0.02, think=0.02))
    assert tally.clean
    assert 0 < tally.measured < tally.ok
    assert tally.wait(0) >= 0.015


def test_every_tenth_answer_with_the_text_of_another_is_counted_wrong(serve: Serve) -> None:
    tally = driven(serve(Muddled()))
    assert (tally.ok, tally.wrong, tally.trouble()) == (270, 30, "30 wrong")
    assert not tally.clean


def test_a_right_text_under_a_wrong_conversation_is_counted_wrong(serve: Serve) -> None:
    assert driven(serve(Misfiled())).wrong == 300


def test_refusals_are_counted_failed_with_their_reason(serve: Serve) -> None:
    tally = driven(serve(Refusing()))
    assert (tally.ok, tally.failed) == (0, {"503 No available clients": 300})
    assert not tally.clean


def test_a_failure_without_a_reason_is_counted_lost(serve: Serve) -> None:
    assert driven(serve(Speechless())).lost == {"500 without a reason": 300}


def test_an_answer_that_does_not_come_is_counted_lost(serve: Serve) -> None:
    slow = replace(SOME, clients=2, asks=2, think=3, timeout=0.05)
    assert driven(serve(BareRelay()), slow).lost == {"no answer in time": 2}


def test_an_answer_that_reaches_the_wrong_asker_is_counted_wrong(serve: Serve) -> None:
    load = replace(SOME, port=serve(BareRelay()), think=0.01, asks=100, timeout=0.05)
    tally = on_loop(drive(load, kinds=[Mistaken, Agent, Agent, Agent]))
    assert tally.faults["mistaken"] > 0
    assert tally.wrong > 0  # the bare round trip does not look who answers


def test_an_agent_that_gets_more_than_it_declared_is_noticed(serve: Serve) -> None:
    port = serve(BareRelay())
    crowded = replace(SOME, agents=1, think=0.005, asks=20, several=False)
    assert driven(port, crowded).overloads > 0
    assert driven(port, replace(crowded, declared=8)).overloads == 0


def test_a_server_of_the_bench_ends_with_all_it_started(tmp_path: Path) -> None:
    pid_file, misdeeds = tmp_path / "pid", list[str]()
    script = f"sleep 60 & echo $! > {pid_file}; exec {shlex.quote(sys.executable)} -m bench.bare {{port}}"
    with Server("it", f"sh -c {shlex.quote(script)}", settings={}, misdeeds=misdeeds) as server:
        assert server.rss() > 0
        child = int(pid_file.read_text())
    assert misdeeds == ["it left 1 processes behind"]
    assert not alive(child)


def alive(pid: int, within: float = 2.0) -> bool:
    """Whether it is still there after a moment; a killed child of a dead parent is soon taken away."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except OSError:
            return False
        time.sleep(0.01)
    return True


def test_a_command_that_fails_is_shown_with_its_words() -> None:
    command = f"{shlex.quote(sys.executable)} -c 'raise SystemExit(\"no such relay\")'"
    with pytest.raises(RuntimeError, match="no such relay"), Server("it", command, settings={}, misdeeds=[]):
        pytest.fail("it never started")


def test_an_unsound_run_has_kept_nothing() -> None:
    assert verdict(1, must=2, aim=1, sound=True) == "aim"
    assert verdict(2, must=2, aim=1, sound=True) == "must"
    assert verdict(3, must=2, aim=1, sound=True) == "MISSED"
    assert verdict(1, must=2, aim=1, sound=False) == "MISSED"
