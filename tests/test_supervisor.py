"""Child processes: started again when they crash, and ended in order. The children are small real processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from privategpt.orphan import PARENT_PIPE
from privategpt.serving import supervisor as module
from privategpt.serving.supervisor import Child, Supervisor
from tests.patience import PATIENCE
from tests.running import ROOT, runs

PRELUDE = """
import os, signal, sys, time
def note(word):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{word} {os.getpid()}\\n")
"""


class Notes:
    """What the children wrote down, line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def words(self) -> list[str]:
        return [line.split()[0] for line in self.path.read_text().splitlines()]

    def pid(self, word: str) -> int:
        """The process that noted this word last."""
        return int([line.split()[1] for line in self.path.read_text().splitlines() if line.startswith(word)][-1])

    async def until(self, condition: Callable[[list[str]], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition(self.words):
            assert time.monotonic() < deadline, self.words
            await asyncio.sleep(0.01)

    def child(self, name: str, program: str, grace: float = PATIENCE, final: Collection[int] = ()) -> Child:
        """A child that runs this program, which can `note` words."""
        environment = {**os.environ, "NOTES": str(self.path), "PYTHONPATH": str(ROOT)}
        return Child(name, (sys.executable, "-c", PRELUDE + program), environment, grace=grace, final=final)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


def waits(name: str) -> str:
    """A program that notes when it is up and when it is told to end."""
    return f"""
def told(*_):
    note("{name}-ends")
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
note("{name}")
while True:
    time.sleep(60)
"""


async def test_children_end_one_after_the_other_in_their_order(notes: Notes) -> None:
    names = ["web", "worker", "agent"]
    supervisor = Supervisor([notes.child(name, waits(name)) for name in names])
    supervisor.start()
    await notes.until(lambda words: set(names) <= set(words))
    await supervisor.stop()
    assert notes.words[3:] == ["web-ends", "worker-ends", "agent-ends"]


async def test_a_crashed_child_is_started_again_after_growing_pauses(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.02)
    supervisor = Supervisor([notes.child("The worker", 'note("up"); sys.exit(7)')])
    supervisor.start()
    with caplog.at_level(logging.ERROR):
        await notes.until(lambda words: len(words) >= 4)
    await supervisor.stop()
    assert supervisor.ends("The worker") >= 3
    pauses = [
        record.getMessage().removeprefix("The worker ended (status 7); it starts again in ")
        for record in caplog.records
    ]
    assert pauses[:3] == ["0.01 s.", "0.02 s.", "0.02 s."]
    assert not runs(notes.pid("up"))


async def test_a_child_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    supervisor = Supervisor([Child("The worker", ("/no/such/program",), {})])
    supervisor.start()
    deadline = time.monotonic() + PATIENCE
    while supervisor.ends("The worker") < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await supervisor.stop()
    assert "The worker could not be started" in caplog.text


async def test_a_long_life_makes_the_next_crash_the_first_one_again(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "STEADY", 0.0)  # any life is a long one
    supervisor = Supervisor([notes.child("The worker", 'note("up"); sys.exit(7)')])
    supervisor.start()
    with caplog.at_level(logging.ERROR):
        await notes.until(lambda words: len(words) >= 3)
    await supervisor.stop()
    assert all(record.getMessage().endswith("0.01 s.") for record in caplog.records)


async def test_an_exit_status_that_a_new_start_would_not_change_is_left_at_that(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.0)
    agent, other = (
        notes.child("The agent", 'note("agent"); sys.exit(3)', final={3}),
        notes.child("other", waits("other")),
    )
    supervisor = Supervisor([other, agent])
    assert supervisor.is_coming("The agent")
    supervisor.start()
    await notes.until(lambda words: set(words) == {"agent", "other"} and not supervisor.is_coming("The agent"))
    await supervisor.stop()
    assert sorted(notes.words) == ["agent", "other", "other-ends"]
    assert not caplog.records


async def test_a_child_that_does_not_end_in_its_time_is_killed(notes: Notes) -> None:
    stubborn = 'signal.signal(signal.SIGTERM, signal.SIG_IGN); note("up"); time.sleep(600)'
    supervisor = Supervisor([notes.child("stubborn", stubborn, grace=0.05)])
    supervisor.start()
    await notes.until(lambda words: words == ["up"])
    await supervisor.stop()
    assert not runs(notes.pid("up"))


async def test_what_a_child_has_started_ends_with_it(notes: Notes) -> None:
    parent = """
import subprocess
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
grandchild = subprocess.Popen(["sleep", "600"])
with open(os.environ["NOTES"], "a") as notes:
    notes.write(f"grandchild {grandchild.pid}\\n")
time.sleep(600)
"""
    supervisor = Supervisor([notes.child("parent", parent)])
    supervisor.start()
    await notes.until(lambda words: words == ["grandchild"])
    assert runs(notes.pid("grandchild"))
    await supervisor.stop()
    await notes.until(lambda _: not runs(notes.pid("grandchild")))


async def test_stopping_in_a_pause_starts_nothing_more(notes: Notes) -> None:
    supervisor = Supervisor([notes.child("crashes", 'note("up"); sys.exit(1)')])
    supervisor.start()
    await notes.until(lambda words: supervisor.ends("crashes") == 1)
    started = time.monotonic()
    await supervisor.stop()
    assert time.monotonic() - started < module.FIRST_PAUSE
    assert notes.words == ["up"]


ORPHAN = """
from privategpt.orphan import end_with_parent
end_with_parent({grace})
{before}
note("up")
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("before", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_a_child_ends_when_its_parents_end_of_the_pipe_closes(notes: Notes, before: str) -> None:
    read, write = os.pipe()
    child = notes.child("orphan", ORPHAN.format(grace=0.05, before=before))
    process = subprocess.Popen(child.command, env={**child.environment, PARENT_PIPE: str(read)}, pass_fds=(read,))
    asyncio.run(notes.until(lambda words: words == ["up"]))
    assert process.poll() is None
    os.close(write)
    os.close(read)
    assert process.wait(PATIENCE) == (1 if before else -signal.SIGTERM)


def test_a_process_without_a_supervisor_lives_on(notes: Notes) -> None:
    child = notes.child(
        "free", ORPHAN.format(grace=0, before="").replace("while True:\n    time.sleep(60)", 'note("end")')
    )
    environment = {name: value for name, value in child.environment.items() if name != PARENT_PIPE}
    assert subprocess.run(child.command, env=environment, check=False).returncode == 0
    assert subprocess.run(child.command, env=environment | {PARENT_PIPE: "999"}, check=False).returncode == 0
    assert notes.words == ["up", "end"] * 2
