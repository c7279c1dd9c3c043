"""One of two processes is told to end: who follows an answer here that the other one makes is let go, not failed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patience import PATIENCE
from tests.redis_server import Redis, a_redis
from tests.running import ROOT, Server, environment, settled, until
from tests.socket_server import Web, copied, door_to
from tests.test_scaling import EMAIL, MAKE_ALICE, PASSWORD, agent_of, streams
from tests.test_serve_several import webs


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    yield from a_redis()


async def events(lines: AsyncIterator[str], *, until_seen: str = "") -> list[str]:
    """The lines until one holds the text, else all."""
    found = []
    async for line in lines:
        found.append(line)
        if until_seen and until_seen in line:
            break
    return found


@pytest.fixture
def house(tmp_path: Path, data_template: Path) -> Path:
    """A data folder with Alice."""
    data = copied(data_template, tmp_path / "house")
    subprocess.run([sys.executable, "-c", MAKE_ALICE], env=environment(data), cwd=ROOT, check=True)
    return data


async def test_a_follower_is_let_go_without_an_error_and_goes_on_elsewhere(redis: Redis, house: Path) -> None:
    settings = {"LLM_BACKEND": "relay", "REDIS_URL": redis.url, "DRAIN_SECONDS": "0.5"}
    with Web(house, **settings) as ends, Web(house, **settings) as stays:
        async with (
            door_to(ends) as here,
            door_to(stays) as there,
            api(stays) as client,
            api(ends) as leaving,
            agent_of(there, here, streams, declares={"stream": True}) as agent,
        ):
            begun = asyncio.create_task(begin(client))
            asked = await agent.was_asked()
            chat, place = await begun
            headers = {"Accept": "text/event-stream"}
            async with leaving.stream("GET", f"/chats/{chat}", headers=headers) as stream:
                lines = stream.aiter_lines()
                await events(lines, until_seen="The first words")
                ends.process.send_signal(signal.SIGTERM)
                rest = await events(lines)
            assert not any(line.startswith(("event: error", "event: done")) for line in rest), rest
            await agent.answer(asked, "The first words and the last")
            async with client.stream("GET", f"/chats/{chat}", headers=headers | {"Last-Event-ID": place}) as stream:
                told = await events(stream.aiter_lines())
            assert any("and the last" in line for line in told)
            assert any(line == "event: done" for line in told)


def api(web: Web) -> Any:
    """Alice's programs at one of the processes."""
    with httpx.Client(base_url=f"http://{web.address}/api/v1", trust_env=False, timeout=PATIENCE) as client:
        found = client.post("/login", json={"email": EMAIL, "password": PASSWORD}).json()
    headers = {"Authorization": f"Bearer {found['data']['token']}"}
    return httpx.AsyncClient(base_url=client.base_url, headers=headers, trust_env=False, timeout=PATIENCE)


async def begin(client: httpx.AsyncClient) -> tuple[str, str]:
    """Asks, reads the first words and goes: the chat, and the place of those words."""
    async with client.stream("POST", "/chats", json={"question": "Follow me", "stream": True}) as stream:
        lines = await events(stream.aiter_lines(), until_seen="The first words")
    chat = next(line.partition('"chatId":"')[2][:36] for line in lines if '"chatId":"' in line)
    return chat, [line for line in lines if line.startswith("id: ")][-1][4:]


def test_every_renewal_that_is_asked_for_is_made_and_said(tmp_path: Path) -> None:
    with Server(settled(tmp_path), "0", LOG_LEVEL="INFO") as server:
        seen = {webs(server)[0]}
        server.send(signal.SIGUSR1)
        until(lambda: said(server, "renewed, one after") == 1, "it is heard")
        for times in (1, 2):
            server.send(signal.SIGUSR1)
            until(partial(is_said, server, "once more", times), "it is heard")
        until(lambda: said(server, "SIGUSR1: the web processes are renewed") >= 2, "one more follows")
        until(lambda: said(server, "The web processes are renewed.") >= 2, "both are done")
        assert not seen & set(webs(server))


def is_said(server: Server, text: str, times: int) -> bool:
    return said(server, text) == times


def said(server: Server, text: str) -> int:
    return server.complaints.count(text)
