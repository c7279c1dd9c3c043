"""Too much, too deep, too broken: what an agent can send without harm to anybody else."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.socket_agent import ON, Asked, FakeAgent, echo, says, silent
from tests.socket_server import REGISTER, Door

MIB = 1 << 20


@pytest.mark.parametrize("size", [200_000, 900_000, 5_000_000])
async def test_a_long_answer_arrives_whole(door: Door, size: int) -> None:
    """Attack 56."""
    text = ("0123456789€" * (size // 10))[:size]

    async def long(agent: FakeAgent, asked: Asked) -> None:
        await agent.answer(asked, text)

    async with door.agent(long):
        assert (await door.ask()).json()["content"] == text


async def test_an_answer_above_the_limit_closes_its_socket_and_memory_stays_flat(door: Door) -> None:
    """Attacks 46 and 56: 32 MiB, as one frame and in fragments; another agent answers."""
    before = door.web.memory()

    async def fragments() -> AsyncIterator[str]:
        for _ in range(32):
            yield "x" * MIB

    async def whole(agent: FakeAgent, asked: Asked) -> None:
        await agent.socket.send("x" * 32 * MIB)

    async def pieces(agent: FakeAgent, asked: Asked) -> None:
        await agent.socket.send(fragments())

    async with door.agents(whole, pieces, echo) as (first, second, _):
        assert (await door.ask()).json()["content"] == "echo: Why?"
        assert [await first.closed(), await second.closed()] == [1009, 1009]
    assert door.web.memory() - before < 24 * MIB


async def test_pieces_above_the_limit_end_the_answer(door: Door) -> None:
    async def endless(agent: FakeAgent, asked: Asked) -> None:
        for _ in range(10):
            await agent.say(asked.frame, "ChatGptDelta", "x" * MIB)

    async with door.agent(endless) as agent:
        reply = await door.ask()
        assert (reply.status_code, reply.json()["err"]) == (502, "The answer is too long.")
        assert (await agent.was_told("cancel"))["id"] == agent.asked[0].frame
        agent.behaviour = echo
        assert (await door.ask()).status_code == 200


JUNK = {
    "garbage": "x",
    "empty": "",
    "arrays": "[[]]",
    "unknown kinds": '{"id":"1","message":"event","data":""}',
    "answers to nothing": '{"id":"1","message":"ChatGptResponse","data":"{}"}',
    "wrong types": '{"id":1,"message":[],"data":{}}',
}


@pytest.mark.parametrize("text", JUNK.values(), ids=JUNK.keys())
async def test_ten_thousand_junk_frames_do_not_disturb_a_bystander(door: Door, text: str) -> None:
    """Attack 42 and fault 20: nobody waits for more than a moment."""
    async with door.agent(echo) as healthy, raw_agent(door) as writer:
        burst = client_frame(text.encode()) * 10_000
        writer.write(burst)
        dearest = 0.0
        for number in range(20):
            before = door.web.computed()
            assert (await door.ask(str(number))).json()["content"] == f"echo: {number}"
            dearest = max(dearest, door.web.computed() - before)
        assert dearest < 2  # seconds of computing that went before one answer
        assert len(healthy.asked) >= 18


LABOUR = {
    "keys of another case": '{"A":1' + ',"A":1' * (8 * MIB // 6 - 8) + ',"id":5}',
    "lone surrogates": '{"data":"' + r"\ud800" * (8 * MIB // 6 - 4) + '"}',
    "a long number": '{"id":' + "1" * (8 * MIB - 10) + "}",
    "a long array": '{"id":[' + "1," * (4 * MIB - 8) + "1]}",
}


@pytest.mark.parametrize("text", LABOUR.values(), ids=LABOUR.keys())
async def test_a_frame_made_to_take_long_takes_not_long(door: Door, text: str) -> None:
    """Attack 42 and fault 20: as large as it may be, and wrong in the way that is dearest to read."""
    async with door.agents(says(text), echo) as (laborious, _):
        asking = door.asking()
        await laborious.was_asked()
        before = door.web.computed()
        assert (await door.ask("beside it")).status_code == 200
        assert (await asking).status_code == 200
        assert door.web.computed() - before < 1
    assert laborious.socket.close_code in {None, 1000}


@asynccontextmanager
async def raw_agent(door: Door) -> AsyncIterator[asyncio.StreamWriter]:
    """An agent at rest (it has failed five times) that sends bytes of its own making."""
    host, port = door.web.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=MIB)
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"GET {REGISTER} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    agent_id = f"raw {key}"
    writer.write(client_frame(json.dumps({"id": agent_id}).encode()) + client_frame(b"junk") * 5)
    await door.until_listed(agent_id)
    try:
        yield writer
    finally:
        writer.transport.abort()
        await door.until_unlisted(agent_id)


def client_frame(payload: bytes, opcode: int = 1, *, first: int = 0x80) -> bytes:
    """One websocket frame; a mask of zeros leaves the payload as it is."""
    length = len(payload)
    sized = struct.pack("!B", 0x80 | length) if length < 126 else struct.pack("!BH", 0x80 | 126, length)
    return bytes([first | opcode]) + sized + bytes(4) + payload


BROKEN = {
    "unmasked": b"\x81\x02hi",
    "reserved bits": client_frame(b"hi", first=0xC0),
    "reserved opcode": client_frame(b"hi", 3),
    "reserved control opcode": client_frame(b"hi", 11),
    "continuation of nothing": client_frame(b"hi", 0),
    "text inside a fragmented text": client_frame(b"a", first=0) + client_frame(b"b"),
    "fragmented ping": client_frame(b"", 9, first=0),
    "long ping": client_frame(b"x" * 126, 9),
    "broken UTF-8": client_frame(b"\xff\xfe"),
    "broken close": client_frame(b"\x01", 8),
    "close code that is none": client_frame(struct.pack("!H", 1005), 8),
    "length with the highest bit": bytes([0x81, 0xFF]) + b"\xff" * 8 + bytes(4),
}


@pytest.mark.parametrize("violation", BROKEN.values(), ids=BROKEN.keys())
async def test_a_protocol_violation_closes_its_socket_only(door: Door, violation: bytes) -> None:
    """Attack 45."""
    async with door.agent(echo) as healthy:
        async with raw_agent(door) as writer:
            writer.write(violation)
            await door.until_list(lambda found: found == [healthy.id])
        assert (await door.ask()).status_code == 200
    assert "Traceback" not in door.web.log


async def test_pongs_that_nobody_reads_do_not_pile_up(door: Door) -> None:
    """A peer that pings and never reads costs no more than one write buffer."""
    before = door.web.memory()
    async with raw_agent(door) as writer:
        pings = client_frame(b"p" * 125, 9) * 1000
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            writer.write(pings)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.2)
        async with door.agent(echo):
            await asyncio.gather(*(door.ask() for _ in range(3)))
        assert door.web.memory() - before < 24 * MIB


async def test_a_flood_before_the_introduction_is_cut_off(hasty: Door) -> None:
    """Attack 51: it is never listed."""
    async with connect(hasty.url(), **ON) as socket:  # type: ignore[arg-type]
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send("junk")
                await asyncio.sleep(0)
        assert socket.close_code == 1008
        assert await hasty.listed() == []


async def test_questions_reach_an_agent_as_they_were_asked(door: Door) -> None:
    """Attacks 39 and 70: every character, and nothing beside the question."""
    odd = "\u202e\u200b {{7*7}} ${x} %s <script> \\u0041 \x07 é 😀 \u2028 \ufffd"
    async with door.agent(silent) as agent:
        asking = door.asking(odd)
        asked = await agent.was_asked()
        assert asked.content == odd
        assert set(asked.data) == {"message_id", "conversation_id", "parent_id", "content"}
        await agent.answer(asked, odd)
        assert (await asking).json()["content"] == odd
