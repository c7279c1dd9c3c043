"""A part that stands still, or that nobody can reach, is noticed and started anew; one server uses a data folder."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from privategpt.orphan import PARENT_PIPE
from privategpt.retrieval.embedders import Embedder
from privategpt.retrieval.embedding_process import Server as Embedding
from privategpt.retrieval.embedding_process import is_reachable, socket_path
from privategpt.serving import supervisor as module
from privategpt.serving.parts import SILENT, UP
from privategpt.serving.supervisor import Supervisor
from tests.embedding import SIZE
from tests.patience import PATIENCE
from tests.running import ROOT, Server, environment, manage, runs, settled, until
from tests.socket_agent import until as eventually
from tests.test_supervisor import Notes

ALIVE = """
from privategpt.pulse import Pulse
pulse = Pulse(600)
note("up")
while True:
    time.sleep(60)
"""


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes tenths."""
    for name, seconds in {"FIRST_PAUSE": 0.01, "LOOK": 0.05, "SILENT_FOR": 2.5, "REACHED_EVERY": 0.05}.items():
        monkeypatch.setattr(module, name, seconds)


async def test_a_part_that_stands_still_is_started_anew(
    notes: Notes, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    steady = dataclasses.replace(notes.child("The steady one", ALIVE), has_pulse=True)
    frozen = dataclasses.replace(notes.child("The frozen one", ALIVE.replace('"up"', '"ice"')), has_pulse=True)
    supervisor = Supervisor([steady, frozen])
    supervisor.start()
    try:
        await notes.until(lambda words: {"up", "ice"} <= set(words))
        first = notes.pid("ice")
        await until_state(supervisor, [UP, UP])
        os.kill(first, signal.SIGSTOP)
        await notes.until(lambda words: words.count("ice") == 2)
        assert not runs(first)
        await until_state(supervisor, [UP, UP])
        assert [part.restarts for part in supervisor.parts()] == [0, 1]
        assert "The frozen one gave no sign of life for" in caplog.text
        assert notes.words.count("up") == 1
        assert SILENT not in {part.state for part in supervisor.parts()}
    finally:
        await supervisor.stop()


async def until_state(supervisor: Supervisor, states: list[str]) -> None:
    await eventually(lambda: [part.state for part in supervisor.parts()] == states, f"the states {states}")


async def test_a_part_that_nobody_reaches_any_more_is_started_anew(
    notes: Notes, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    door = notes.path.with_name("door")
    opens = f'open({str(door)!r}, "w").close(); note("up"); time.sleep(600)'
    supervisor = Supervisor([dataclasses.replace(notes.child("The embedder", opens), reached=door.exists)])
    supervisor.start()
    try:
        await until_state(supervisor, [UP])
        door.unlink()
        await notes.until(lambda words: len(words) == 2)
        assert "The embedder cannot be reached any more; it is killed and starts again." in caplog.text
    finally:
        await supervisor.stop()


async def test_signs_of_life_that_nobody_read_in_time_count_when_the_reader_stood_still(
    notes: Notes, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE", 0.0)  # every look is late
    monkeypatch.setattr(module, "SILENT_FOR", 0.0)
    supervisor = Supervisor([dataclasses.replace(notes.child("The worker", ALIVE), has_pulse=True)])
    supervisor.start()
    try:
        await notes.until(lambda words: words == ["up"])
        await asyncio.sleep(10 * module.LOOK)
        assert notes.words == ["up"]
    finally:
        await supervisor.stop()


def test_a_worker_that_is_frozen_is_replaced_and_the_web_server_tells(tmp_path: Path) -> None:
    with Server(settled(tmp_path), LOG_LEVEL="ERROR") as server:
        worker = one(server, "worker")
        os.kill(worker, signal.SIGSTOP)
        until(lambda: not runs(worker) and one(server, "worker", worker) > 0, "another worker runs")
        assert "The ingest worker gave no sign of life" in server.complaints
        until(lambda: 'part_restarts_total{node="' in server.get("/metrics").text, "the figures")
        until(lambda: restarts(server, "The ingest worker") == 1, "the figure of its restarts")


def restarts(server: Server, part: str) -> float:
    lines = server.get("/metrics").text.splitlines()
    return next(
        (
            float(line.split()[-1])
            for line in lines
            if line.startswith("switchboard_part_restarts_total{") and part in line
        ),
        -1,
    )


def one(server: Server, program: str, before: int = 0) -> int:
    """The process id of the child that runs this command; 0 when there is none."""
    found = [pid for pid, line in server.command_lines().items() if line.rstrip().endswith(program) and pid != before]
    return found[0] if found else 0


# -- one server a folder -----------------------------------------------------------------------------


def test_a_second_server_on_the_folder_is_refused_and_a_part_is_not(tmp_path: Path) -> None:
    with Server(settled(tmp_path)) as server:
        done = manage(tmp_path, "serve", "0")
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert f"A server (process {server.process.pid}) runs on {tmp_path} already; stop it" in line
        program = [sys.executable, str(ROOT / "manage.py"), "serve", "--only", "worker"]
        part = subprocess.Popen(program, env=environment(tmp_path), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        until(lambda: "worker" in Path(f"/proc/{part.pid}/cmdline").read_text().split("\0"), "it became the worker")
        part.terminate()
        assert part.wait(PATIENCE) in {0, -signal.SIGTERM}
        assert server.get("/ready").status_code == 200
    with Server(tmp_path):
        pass  # once the first one is gone


def test_a_start_right_after_kill_9_waits_for_the_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    with Server(settled(tmp_path), port) as server:
        server.process.kill()
        with Server(tmp_path, port, DRAIN_SECONDS="1") as again:
            assert again.get("/ready").status_code == 200


def test_a_port_that_somebody_else_has_is_refused_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = manage(settled(tmp_path), "serve", str(other.getsockname()[1]))
    assert "is taken; choose another one" in done.stderr


# -- the embedder ------------------------------------------------------------------------------------


class Endpoint(BaseHTTPRequestHandler):
    """Vectors for whoever asks."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rows = [{"index": n, "embedding": [1.0] * SIZE} for n in range(len(asked["input"]))]
        body = json.dumps({"data": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def embedder(folder: Path, url: str, **more: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "privategpt.retrieval.embedding_process", str(socket_path(folder))]
    settings = environment(folder, EMBEDDINGS_URL=url, EMBEDDINGS_MODEL="m", **more)
    pipes = tuple(int(number) for name, number in more.items() if name == PARENT_PIPE)
    return subprocess.Popen(program, cwd=ROOT, env=settings, stderr=subprocess.PIPE, text=True, pass_fds=pipes)


def test_an_embedder_whose_supervisor_is_gone_before_the_model_is_there_ends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the endpoint never answers: it loads for ever
        read, write = os.pipe()
        os.close(write)  # killed before the first instruction
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        process = embedder(tmp_path, url, **{PARENT_PIPE: str(read)})
        os.close(read)
        assert process.wait(PATIENCE) == -signal.SIGTERM


def test_a_second_embedder_is_refused_and_takes_nothing_away(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = socket_path(tmp_path)
    first = embedder(tmp_path, endpoint)
    until(lambda: is_reachable(path), "the first one listens")
    assert path.readlink() == Path(f"embedder-{first.pid}.sock")
    second = embedder(tmp_path, endpoint)
    _, said = second.communicate(timeout=PATIENCE)
    assert (second.returncode, said.strip()) == (
        1,
        f"Another embedder serves {tmp_path} already; stop it, or name another folder.",
    )
    assert is_reachable(path)
    first.terminate()
    _, said = first.communicate(timeout=PATIENCE)
    assert (first.returncode, said) == (0, "")
    assert list(tmp_path.glob("*.sock")) == []


async def test_the_way_to_the_embedder_is_taken_away_by_whom_it_leads_to_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = socket_path(tmp_path)
    caplog.set_level(logging.WARNING)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "embedder-1.sock"))  # of a process that was killed
    serving = asyncio.ensure_future(Embedding(cast("Embedder", None)).serve(path))  # nobody asks it
    await eventually(lambda: is_reachable(path), "it listens")
    assert not (tmp_path / "embedder-1.sock").exists()
    path.unlink()
    path.symlink_to("embedder-2.sock")  # another one has taken over
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert path.readlink() == Path("embedder-2.sock")
    assert not (tmp_path / f"embedder-{os.getpid()}.sock").exists()
