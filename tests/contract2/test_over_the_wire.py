"""Contract 2 behind a real server: bodies that lie, never end, unpack to more, or hide a second request.

Attacks 60, 61 and 63. What the relay's paths do with the same is in tests/test_http_limits.py."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PASSWORD
from tests.running import manage
from tests.wire_server import RawReply, Web, replies

HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"
MIB = 1 << 20
WRITER = """
from accounts.models import Group, User
writer = User.objects.create_user("writer@example.org", PASSWORD, roles=["documents"])
writer.groups.add(Group.objects.create(name="wire"))
"""
NOTE = b'{"title":"T","content":"C","groups":["wire"]}'


@pytest.fixture(scope="module")
def token(lane: Web) -> str:
    """Of somebody who may store sources into the group "wire"."""
    made = manage(lane.data, "shell", "-c", f"PASSWORD = {PASSWORD!r}\n{WRITER}")
    assert made.returncode == 0, made.stderr
    return lane.key("--kind", "api", "--user", "writer@example.org")


@pytest.fixture(autouse=True)
def _nothing_was_stored(lane: Web, token: str) -> Iterator[None]:
    """Whatever a test sends, no source comes of it, and the server goes on."""
    yield
    found = lane.http.get("/api/v1/sources", headers=bearer(token))
    assert (found.status_code, found.json()["data"]["total"]) == (200, 0)
    assert "nobody foresaw" not in lane.log


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def head(token: str, *lines: bytes, to: bytes = b"POST /api/v1/sources") -> bytes:
    shown = b"Authorization: Bearer %b\r\n" % token.encode() if token else b""
    return to + b" HTTP/1.1\r\n" + HOST + shown + b"".join(lines) + b"\r\n"


def refused(reply: RawReply, *statuses: int) -> None:
    assert reply.status in statuses, reply.body
    if reply.body != b'{"error":"Invalid HTTP request"}':  # the parser's word, before any path is known
        assert json.loads(reply.body)["data"] is None


# -- more than there may be -----------------------------------------------------------------------


@pytest.mark.parametrize("with_token", [True, False])
def test_twenty_megabytes_in_chunks_are_refused_in_the_envelope(lane: Web, token: str, with_token: bool) -> None:
    """Attacks 60 and 63: no header announces them."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"

    def send() -> None:
        try:
            for _ in range(320):
                wire.sendall(chunk)
        except OSError:
            return  # refused by now

    with lane.connection() as wire:
        wire.sendall(head(token if with_token else "", CLOSE, b"Transfer-Encoding: chunked\r\n"))
        sender = threading.Thread(target=send)
        sender.start()
        (found,) = replies(wire)
        sender.join()
    refused(found, 413)


def test_a_packed_body_is_not_unpacked(lane: Web, token: str) -> None:
    """Attack 63: 32 MiB of blanks in 32 KiB are 32 KiB that are no JSON."""
    bomb = gzip.compress(b" " * (32 * MIB), 1)
    before = memory(lane)
    for kind in ("gzip", "deflate", "br", "gzip, gzip"):
        headers = bearer(token) | {"Content-Encoding": kind}
        found = lane.http.post("/api/v1/sources", content=bomb, headers=headers)
        assert (found.status_code, found.json()["data"]) == (400, None)
    assert memory(lane) - before < 16 * MIB


def memory(web: Web) -> int:
    return int(Path(f"/proc/{web.process.pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("path", ["chats", "sources", "tokens", "scenarios"])
def test_thousands_of_parameters_are_refused(lane: Web, token: str, path: str) -> None:
    """Attack 63."""
    found = lane.http.get(f"/api/v1/{path}?" + "page=1&" * 2000, headers=bearer(token))
    assert found.status_code in {200, 400, 422} if path == "tokens" else found.status_code in {400, 422}
    assert "data" in found.json()


def test_forms_of_any_size_are_no_json(lane: Web, token: str) -> None:
    """Attack 63: nothing here takes a multipart body apart."""
    part = b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nT\r\n'
    headers = bearer(token) | {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (part * 20_000 + b"--x--\r\n", part, b"--x--", b"title=T&" * 100_000):
        found = lane.http.post("/api/v1/sources", content=body, headers=headers)
        assert (found.status_code, found.json()["data"]) == (400, None)


def test_a_list_of_a_million_is_refused_and_holds_nobody_up(lane: Web, token: str) -> None:
    """Attack 61."""
    for body in (
        b'{"title":"T","content":"C","groups":[' + b"1," * 1_000_000 + b"1]}",
        b'{"title":"T","content":"C","groups":[' + b'"x",' * 500_000 + b'"x"]}',
        b'{"title":"T","content":"C","groups":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"title":"T","content":' + b"9" * 1_000_000 + b"}",
        b"{" + b'"title":"T",' * 500_000 + b'"content":5}',
        b'{"title":1e999,"content":-1e999,"groups":[1e-999]}',
        b'{"title":"\\ud800","content":"C"}',
        b'{"title":"\\u0000","content":"C","groups":["wire"]}',
    ):
        found = lane.http.post("/api/v1/sources", content=body, headers=bearer(token))
        assert found.status_code in {400, 422}, (body[:60], found.status_code)
        assert found.json()["data"] is None
        assert len(found.content) < 10_000


# -- more, or less, than was announced -------------------------------------------------------------


def test_a_length_that_is_too_long_stores_nothing(lane: Web, token: str) -> None:
    """Attack 63: the client ends before its body does."""
    assert lane.raw(head(token, b"Content-Length: 1000\r\n") + NOTE, shut=True) == []


def test_a_body_that_never_ends_is_a_408_in_the_envelope(lane: Web, token: str) -> None:
    """Attack 63: BODY_TIMEOUT is a second here."""
    (found,) = lane.raw(head(token, CLOSE, b"Content-Length: 1000\r\n") + NOTE)
    refused(found, 408)


def test_a_length_that_is_too_short_cuts_and_what_follows_is_no_request(lane: Web, token: str) -> None:
    """Attack 63."""
    found = lane.raw(head(token, b"Content-Length: 10\r\n") + NOTE)
    assert {reply.status for reply in found} == {400}


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X: a\nContent-Length: 5\r\n",
    ],
    ids=repr,
)
def test_no_second_request_hides_behind_a_first(lane: Web, token: str, lines: bytes) -> None:
    """Attack 63: smuggling; the hidden one would store a source with somebody's token."""
    hidden = b"0\r\n\r\n" + head(token, CLOSE, b"Content-Length: %d\r\n" % len(NOTE)) + NOTE
    for reply in lane.raw(head("1|nobody", lines) + hidden, shut=True):
        refused(reply, 400, 401, 413)


# -- odd lines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"a\x00b", b"a\rb", b"\x01\x1f\x7f", b"\x80\xff", b"a\x0bb"])
@pytest.mark.parametrize("name", [b"Idempotency-Key", b"Last-Event-ID", b"X-PGPT-Api-Version", b"Accept"])
def test_odd_bytes_in_a_header_are_refused_or_ignored(lane: Web, token: str, name: bytes, value: bytes) -> None:
    """Attack 40 and fault 21."""
    body = b'{"title":5}'
    line = name + b": " + value + b"\r\n"
    for reply in lane.raw(head(token, CLOSE, line, b"Content-Length: %d\r\n" % len(body)) + body):
        refused(reply, 400, 404, 422)


@pytest.mark.parametrize(
    "target", [b"/api/v1/\xff", b"/api/v1/chats/%ff", b"/api/v1/%2e%2e/admin", b"/api/v1/chats/%00"]
)
@pytest.mark.parametrize("method", [b"GET", b"TRACE", b"PROPFIND"])
def test_odd_paths_and_methods_tell_nothing(lane: Web, token: str, method: bytes, target: bytes) -> None:
    """Attack 86."""
    for reply in lane.raw(head(token, CLOSE, to=method + b" " + target), shut=True):
        refused(reply, 400, 404, 405)
        assert token.encode() not in reply.body
