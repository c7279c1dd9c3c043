"""Requests that lie, never end or are too large: bounded, refused, and nobody else notices."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract1 import NO_KEY
from tests.patience import PATIENCE
from tests.running import cpu_seconds, until
from tests.wire_agent import echo
from tests.wire_server import User, Web, replies

HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"
BROKEN = b'{"error":"Invalid HTTP request"}'
MIB = 1 << 20


def ask_head(token: str, *lines: bytes) -> bytes:
    return b"POST /api/ask HTTP/1.1\r\n" + HOST + b"Authorization: %b\r\n" % token.encode() + b"".join(lines) + b"\r\n"


@pytest.fixture(autouse=True)
def _others_are_served(web: Web) -> Iterator[None]:
    """Whatever a test does to the server, a bystander gets an answer."""
    yield
    bystander = web.user()
    with web.agent(echo):
        assert web.ask(bystander.token, "still there?").json()["content"] == "still there?"


# -- size -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MIB + 1, 3_000_000, 10_000_000, 20_000_000])
def test_a_large_body_is_a_413_and_a_strangers_is_not_even_parsed(web: Web, asker: User, size: int) -> None:
    """Attack 60 and fault 22: with and without a token."""
    found = web.post(asker.token, b"[" * size)
    assert found.status_code == 413
    assert "longer than" in found.json()["error"]
    stranger = web.post("nonsense", b"[" * size)
    assert stranger.status_code == 401 or (stranger.status_code == 413 and size > 16 * MIB)


def test_a_large_body_in_chunks_is_a_413(web: Web, asker: User) -> None:
    """Attack 63: 20 MB that no header announces."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with web.connection() as wire:
        wire.sendall(ask_head(asker.token, CLOSE, b"Transfer-Encoding: chunked\r\n"))
        sender = threading.Thread(target=send_all, args=(wire, [chunk] * 305))
        sender.start()
        (found,) = replies(wire)
        sender.join()
    assert found.status == 413


def send_all(wire: socket.socket, pieces: list[bytes]) -> None:
    try:
        for piece in pieces:
            wire.sendall(piece)
    except OSError:
        return  # refused by now


def test_memory_does_not_grow_with_what_is_refused(web: Web, asker: User) -> None:
    """Attacks 60 and 65."""
    post: list[Callable[[], object]] = [
        lambda: web.post(asker.token, b"[" * 10_000_000),
        lambda: web.post("nonsense", b"[" * 10_000_000),
    ]
    for one in post:
        one()
    before = memory(web)
    for one in post * 5:
        one()
    assert memory(web) - before < 24 * MIB


def memory(web: Web) -> int:
    """Bytes of it that are in memory now."""
    pages = Path(f"/proc/{web.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\n" + HOST + b"X-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"".join(b"X: " + b"a" * 900 + b"\r\n" for _ in range(90)) + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /health?" + b"a=1&" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"a" * 70_000 + b": b\r\n\r\n",
    ],
    ids=["one long header", "many headers", "many long headers", "a long path", "a long query", "a long name"],
)
def test_a_head_that_is_too_large_is_refused(lane: Web, head: bytes) -> None:
    """Attack 63."""
    (found,) = lane.raw(head)
    assert (found.status, found.body) == (400, BROKEN)


def test_a_header_without_end_is_refused_before_it_fills_the_memory(lane: Web) -> None:
    """Attack 63: the parser itself would collect it for as long as it comes."""
    begun = memory(lane)
    with lane.connection() as wire:
        sent = 0
        try:
            wire.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"X-Long: ")
            while sent < 64 * MIB:
                sent += wire.send(b"a" * 0x10000)
        except OSError:
            pass
    assert sent < 16 * MIB  # what the two sockets' buffers take included
    assert memory(lane) - begun < 16 * MIB


# -- truth ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5,6\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b" Content-Length: 5\r\n",
        b"X: a\nContent-Length: 5\r\n",
        b"X: a\rContent-Length: 5\r\n",
    ],
    ids=repr,
)
def test_a_request_that_two_servers_could_read_differently_is_refused(web: Web, asker: User, lines: bytes) -> None:
    """Attack 63: smuggling. What hides behind it is never taken for a request."""
    hidden = b"0\r\n\r\n" + ask_head(asker.token, CLOSE, b"Content-Length: 20\r\n") + b'{"content":"hidden"}'
    with web.agent(echo) as agent:
        found = web.raw(ask_head("nonsense", lines) + hidden, shut=True)
        assert [reply.status in {400, 401} for reply in found] == [True] * len(found)
        assert agent.asked == []


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}xx0\r\n\r\n",
        b"2 \r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
    ],
    ids=repr,
)
def test_broken_chunks_are_refused(web: Web, asker: User, chunks: bytes) -> None:
    """Attack 63."""
    with web.agent(echo) as agent:
        found = web.raw(ask_head(asker.token, CLOSE, b"Transfer-Encoding: chunked\r\n") + chunks)
        assert [reply.status for reply in found] in ([400], [])
        assert agent.asked == []


def test_a_length_that_is_too_long_is_never_an_ask(web: Web, asker: User) -> None:
    """Attack 63: the client ends before its body does."""
    with web.agent(echo) as agent:
        assert web.raw(ask_head(asker.token, b"Content-Length: 100\r\n") + b'{"content":"x"}', shut=True) == []
        assert agent.asked == []


def test_a_length_that_is_too_short_cuts_and_what_follows_is_no_request(web: Web, asker: User) -> None:
    """Attack 63: and the connection ends there."""
    with web.agent(echo) as agent:
        found = web.raw(ask_head(asker.token, b"Content-Length: 2\r\n") + b"{}" + b'"content":"x"}\r\n\r\n')
        assert [reply.status for reply in found][-1] == 400
        assert all(asked.content == "" for asked in agent.asked)


def test_requests_in_a_row_on_one_connection_keep_their_order(web: Web, asker: User) -> None:
    """Attack 63: pipelined ones too."""
    texts = ["one", "two", "three"]
    bodies = [b'{"content":"%b"}' % text.encode() for text in texts]
    length = [b"Content-Length: %d\r\n" % len(body) for body in bodies]
    length[-1] += CLOSE
    with web.agent(echo, declares='{"concurrency":3}'):
        found = web.raw(b"".join(ask_head(asker.token, n) + body for n, body in zip(length, bodies, strict=True)))
    assert [reply.status for reply in found] == [200] * 3
    assert [text.encode() in reply.body for text, reply in zip(texts, found, strict=True)] == [True] * 3


def test_an_upgrade_that_is_none_changes_nothing(web: Web) -> None:
    """Attack 63: a proxy might take what follows for another protocol."""
    upgrade = b"Connection: upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    (found,) = web.raw(b"GET /health HTTP/1.1\r\n" + HOST + upgrade + b"\r\n")
    assert (found.status, found.body) == (200, b"OK")


@pytest.mark.parametrize("value", [b"a\x00b", b"a\rb", b"a\nb", b"a\r\n b", b"\x01\x1f\x7f", b"\x80\xff", b"a\x0bb"])
def test_odd_bytes_in_a_header_make_no_new_header(web: Web, asker: User, value: bytes) -> None:
    """Attack 40 and fault 21: refused or ignored."""
    body = b'{"content":"x"}'
    lines = (b"X-Odd: " + value + b"\r\n", b"Idempotency-Key: " + value + b"\r\n")
    for line in lines:
        found = web.raw(ask_head(asker.token, line, CLOSE, b"Content-Length: %d\r\n" % len(body)) + body)
        assert [reply.status for reply in found] in ([400], [503])
        assert found[0].header("b") == ""


@pytest.mark.parametrize(
    "line",
    [
        b"GET /health",
        b"GET /health HTTP/9.9",
        b"GET http://evil.example/health HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /health?\xff HTTP/1.1",
        b"G\x00T /health HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0",
        b"get /health HTTP/1.1",
    ],
    ids=repr,
)
def test_an_odd_request_line_is_never_more_than_a_400(lane: Web, line: bytes) -> None:
    """Attacks 40 and 86."""
    found = lane.raw(line + b"\r\n" + HOST + CLOSE + b"\r\n", shut=True)
    assert [reply.status for reply in found] in ([400], [200], [])
    assert all(reply.body in {BROKEN, b"OK"} for reply in found)


# -- time -------------------------------------------------------------------------------------------


def test_a_head_that_does_not_end_is_cut_off(lane: Web) -> None:
    """Attack 63, slow loris: bytes that come one by one do not lengthen the time."""
    assert cut_off(lane, b"GET /health HTTP/1.1\r\n" + HOST + b"X-Slow: ") == b""


def test_a_body_that_does_not_end_is_a_408(web: Web, asker: User) -> None:
    """Attack 63."""
    found = cut_off(web, ask_head(asker.token, b"Content-Length: 100000\r\n") + b'{"content":"')
    assert b" 408 " in found
    assert b'{"error":"The request body took too long"}' in found


def test_a_body_that_nobody_waits_for_is_cut_off_too(lane: Web) -> None:
    """Attack 63: the refusal went out at once, before the body."""
    found = cut_off(lane, ask_head("nonsense", b"Content-Length: 100000\r\n") + b'{"content":"')
    assert found.endswith(b'{"error":"Invalid API key"}')


def cut_off(web: Web, begin: bytes) -> bytes:
    """Sends this, then a byte now and then, until the server has had enough; what it said."""
    received = b""
    with web.connection() as wire:
        wire.sendall(begin)
        wire.settimeout(0.05)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                wire.sendall(b"a")
                part = wire.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                return received
            if not part:
                return received
            received += part
    raise AssertionError(f"never cut off; got {received!r}")


def test_two_hundred_slow_connections_keep_nobody_waiting(web: Web, asker: User) -> None:
    """Attack 66: half of them in the middle of a head, half in the middle of a body."""
    with ExitStack() as open_ones, web.agent(echo):
        for number in range(200):
            wire = open_ones.enter_context(web.connection())
            wire.sendall(b"GET /hea" if number % 2 else ask_head(asker.token, b"Content-Length: 9\r\n") + b"{")
        before = cpu_seconds(web.process.pid)
        for number in range(10):
            assert web.ask(asker.token, str(number)).json()["content"] == str(number)
        assert cpu_seconds(web.process.pid) - before < 5


def test_a_stranger_that_keeps_the_line_busy_gets_the_same_refusal(web: Web) -> None:
    for _ in range(60):
        assert web.http.post("/api/ask", content=b"{}").content == NO_KEY
    until(lambda: web.http.get("/ready").status_code == 200, "it is ready")
