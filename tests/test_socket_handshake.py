"""How an agent comes in: the hello, the id that it is listed under, and what is refused before that."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.patience import PATIENCE
from tests.socket_agent import ON, echo, silent, until
from tests.socket_fixtures import NewWeb
from tests.socket_server import REGISTER, Door, door_to

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def dial(door: Door, path: str = REGISTER, **headers: str) -> connect:
    return connect(door.url(path), additional_headers=headers, **ON)  # type: ignore[arg-type]


async def introduced(socket: ClientConnection, first: str | bytes) -> str:
    """Sends a first frame, and returns the id that the hello offered."""
    offered = str(json.loads(await socket.recv())["id"])
    await socket.send(first)
    return offered


def frame(agent_id: str, message: str = "Connection id", data: str = "") -> str:
    return json.dumps({"id": agent_id, "message": message, "data": data})


async def test_the_hello_is_the_contracts_bytes(door: Door) -> None:
    async with dial(door) as socket:
        hello = await socket.recv()
    assert re.fullmatch(rf'{{"id":"{UUID}","message":"Connection id","data":""}}\n', str(hello))


async def test_no_subprotocol_and_no_compression_is_agreed(door: Door) -> None:
    offers = {"compression": "deflate", "subprotocols": ["chat"]}
    async with connect(door.url(), **ON | offers) as socket:  # type: ignore[arg-type]
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        assert socket.subprotocol is None


async def test_an_agent_is_listed_when_it_has_echoed_its_id_and_unlisted_when_it_leaves(door: Door) -> None:
    async with dial(door) as socket:
        offered = str(json.loads(await socket.recv())["id"])
        assert await door.listed() == []
        await socket.send(frame(offered))
        await door.until_listed(offered)
    await door.until_unlisted(offered)


async def test_an_agent_is_listed_under_an_id_that_it_kept(door: Door) -> None:
    async with door.agent(kept="kept from a cookie") as agent:
        assert await door.listed() == [agent.id]


@pytest.mark.parametrize("claimed", ["", "a\nb", "\x00", "\u202eabc", "x" * 201])
async def test_an_id_that_cannot_be_kept_gets_the_offered_one(door: Door, claimed: str) -> None:
    async with dial(door) as socket:
        offered = await introduced(socket, frame(claimed))
        await door.until_listed(offered)


@pytest.mark.parametrize("message", ["Connection id", "pong", "anything"])
async def test_only_the_id_of_the_first_frame_is_looked_at(door: Door, message: str) -> None:
    async with dial(door) as socket:
        await introduced(socket, frame(f"kept {message}", message))
        await door.until_listed(f"kept {message}")


@pytest.mark.parametrize("first", ["", "hello", "[1]", '"id"', '{"id": 5}', "\ufeff{}", "{" * 5000])
async def test_an_agent_whose_first_frame_is_unreadable_is_never_listed(hasty: Door, first: str) -> None:
    """Attack 51: not even when it says its id afterwards; its socket is closed in time."""
    async with dial(hasty) as socket:
        offered = await introduced(socket, first)
        await socket.send(frame(offered))
        assert (await hasty.ask()).status_code == 503
        assert await hasty.listed() == []
        await asyncio.wait_for(socket.wait_closed(), 10)
        assert socket.close_code == 1008


async def test_a_silent_socket_is_closed_and_gets_nothing(hasty: Door) -> None:
    """Attack 51."""
    async with dial(hasty) as socket:
        await socket.recv()
        assert (await hasty.ask()).status_code == 503
        with pytest.raises(Exception, match="1008"):
            await asyncio.wait_for(socket.recv(), 10)


async def test_binary_frames_are_taken_as_well(door: Door) -> None:
    async with dial(door) as socket:
        offered = await introduced(socket, frame("binary").encode())
        await door.until_listed("binary")
        asking = door.asking()
        asked = json.loads(await socket.recv())
        answer = json.dumps({"content": "in bytes", "conversation_id": offered})
        await socket.send(frame(asked["id"], "ChatGptResponse", answer).encode())
        assert (await asking).json()["content"] == "in bytes"


async def test_fragments_with_pings_between_them_are_taken_as_well(door: Door) -> None:
    """Attack 45, the legal half."""
    async with dial(door) as socket:
        await introduced(socket, frame("fragments"))
        await door.until_listed("fragments")
        asking = door.asking()
        asked = json.loads(await socket.recv())
        text = frame(asked["id"], "ChatGptResponse", json.dumps({"content": "in pieces €" * 50}))

        async def pieces() -> AsyncIterator[str]:
            for start in range(0, len(text), 7):
                yield text[start : start + 7]

        await socket.send(pieces())
        assert (await asking).json()["content"] == "in pieces €" * 50
        assert await asyncio.wait_for(await socket.ping(), 10) >= 0


async def test_what_an_agent_declares_is_bounded_and_read_leniently(door: Door) -> None:
    odd: dict[str, object] = {"name": "N" * 500, "model": 5, "concurrency": "7", "stream": "yes", "more": {}}
    async with door.agent(silent, declares=odd) as agent:
        first, second = door.asking("1"), door.asking("2")
        await agent.was_asked()
        await agent.answer(agent.asked[0])
        await agent.was_asked(2)
        assert agent.most == 1
        assert list(agent.asked[0].data) == ["message_id", "conversation_id", "parent_id", "content"]
        await agent.answer(agent.asked[1])
        assert {(await first).status_code, (await second).status_code} == {200}


# -- refusals ---------------------------------------------------------------------------------------


async def test_a_plain_get_is_the_contracts_bad_request(door: Door) -> None:
    """Attack 47."""
    reply = await door.http.get(REGISTER)
    assert (reply.status_code, reply.text) == (400, "Bad Request\n")
    assert reply.headers["Sec-Websocket-Version"] == "13"


GOOD = {
    "Host": "localhost",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
BAD = [
    {"Sec-WebSocket-Key": ""},
    {"Sec-WebSocket-Key": "short"},
    {"Sec-WebSocket-Version": "8"},
    {"Sec-WebSocket-Version": "x"},
    {"Sec-WebSocket-Protocol": "ü".encode("latin-1").decode("latin-1")},
    {"Sec-WebSocket-Protocol": "a,,b;"},
    {"Connection": "keep-alive"},
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: next(f"{name} {value}" for name, value in bad.items()))
async def test_a_bad_upgrade_is_refused_and_the_server_lives_on(door: Door, bad: dict[str, str]) -> None:
    """Attack 47."""
    status = await raw_upgrade(door, GOOD | bad)
    assert 400 <= status < 500
    assert (await door.http.get("/health")).status_code == 200
    assert "Traceback" not in door.web.log


async def raw_upgrade(
    door: Door, headers: dict[str, str], target: bytes = REGISTER.encode(), method: str = "GET"
) -> int:
    """The status of an upgrade whose every byte is the test's."""
    host, port = door.web.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
    writer.write(b"\r\n".join([method.encode() + b" " + target + b" HTTP/1.1", *lines, b"", b""]))
    first = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    return int(first.split()[1])


@pytest.mark.parametrize(
    "target", [b"?token=%ff", b"?" + b"a&" * 40, b"?a=\xff\xfe", b"/%00", b"?token=" + b"x" * 9000]
)
async def test_an_odd_address_is_refused_and_the_server_lives_on(door: Door, target: bytes) -> None:
    """Attacks 37 and 47: a query with more fields than are looked at is no crash."""
    status = await raw_upgrade(door, GOOD, REGISTER.encode() + target)
    assert 400 <= status < 500 or (target.startswith(b"?a=") and status == 101)
    assert (await door.http.get("/health")).status_code == 200
    assert "Traceback" not in door.web.log


async def test_an_upgrade_on_another_method_or_path_is_refused(door: Door) -> None:
    assert await raw_upgrade(door, GOOD, method="POST") in {400, 404, 405}
    assert await raw_upgrade(door, GOOD, b"/api/ask") == 404
    assert await raw_upgrade(door, GOOD, b"/agent//client/register") == 404


async def test_no_more_agents_are_let_in_than_may_connect(new_web: NewWeb) -> None:
    """Also when they all knock at once."""
    web = new_web(MAX_AGENTS="3")
    async with door_to(web) as door:
        key = web.agent_keys[0]
        knocking = [dial(door, Authorization=f"Bearer {key}").__aenter__() for _ in range(12)]
        came = await asyncio.gather(*knocking, return_exceptions=True)
        inside = [socket for socket in came if isinstance(socket, ClientConnection)]
        refused = [fault for fault in came if isinstance(fault, InvalidStatus)]
        assert len(inside) == 3
        assert len(refused) == 9
        assert {fault.response.status_code for fault in refused} == {503}
        assert refused[0].response.headers["Retry-After"] == "5"
        await inside[0].close()
        await asyncio.gather(*(socket.close() for socket in inside))
        async with door.agent(echo):
            assert (await door.ask()).status_code == 200


async def test_a_draining_server_lets_nobody_in_ends_what_is_asked_and_closes_its_sockets(new_web: NewWeb) -> None:
    """Fault 9: what is under way may end; what does not end in time is told so; sockets are closed with 1001."""
    web = new_web(DRAIN_SECONDS="1.5")
    async with door_to(web) as door:
        async with door.agent(silent, declares={"concurrency": 2}) as agent:
            ends, lingers = door.asking("ends"), door.asking("lingers")
            await agent.was_asked(2)
            queued = door.asking("waits")
            await until_waits(door)
            web.listener.close()  # else this process would go on listening
            web.process.send_signal(signal.SIGTERM)
            await until_refused(door)
            await agent.answer(next(asked for asked in agent.asked if asked.content == "ends"))
            assert (await ends).json()["content"] == "echo: ends"
            for left in (lingers, queued):
                reply = await left
                assert (reply.status_code, reply.json()) == (503, {"error": "The server is restarting"})
            assert await agent.closed() in {1001, 1012}
        await until(lambda: web.process.poll() is not None, "the process ends")
        assert web.process.returncode in {0, -signal.SIGTERM}


async def until_waits(door: Door) -> None:
    """An ask stands in the queue."""
    deadline = time.monotonic() + PATIENCE
    while not re.search(r"switchboard_queue_length\{[^}]*\} 1\.0", (await door.http.get("/metrics")).text):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def until_refused(door: Door) -> None:
    """No connection is accepted any more."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < deadline
        try:
            (await dial(door)).transport.abort()
        except OSError:
            return
        except InvalidStatus:  # in the instant between
            pass
        await asyncio.sleep(0.02)
