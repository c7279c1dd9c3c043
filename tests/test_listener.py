"""Where the server listens, and what its address is called."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from privategpt.rundir import Lock
from privategpt.serving.listener import CannotListen, Site, listen, listen_after
from tests.patience import PATIENCE


@pytest.mark.parametrize(
    ("host", "address", "url"),
    [
        ("127.0.0.1", "127.0.0.1:81", "http://localhost:81"),
        ("localhost", "localhost:81", "http://localhost:81"),
        ("0.0.0.0", "127.0.0.1:81", "http://localhost:81"),  # noqa: S104
        ("::1", "[::1]:81", "http://localhost:81"),
        ("::", "[::1]:81", "http://localhost:81"),
        ("192.0.2.1", "192.0.2.1:81", "http://192.0.2.1:81"),
        ("gpt.example.org", "gpt.example.org:81", "http://gpt.example.org:81"),
    ],
)
def test_the_server_is_addressed_in_a_way_that_works_from_this_machine(host: str, address: str, url: str) -> None:
    site = Site(host, 81)
    assert (site.address, site.url) == (address, url)


def test_only_loopback_is_local() -> None:
    assert all(Site(host, 81).is_local for host in ["127.0.0.1", "::1", "localhost"])
    assert not any(Site(host, 81).is_local for host in ["::", "192.0.2.1", "localhost.example.org"])


def test_connections_wait_from_the_moment_it_listens() -> None:
    listener, site = listen("localhost", 0)
    with listener, socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE) as caller:
        accepted, _ = listener.accept()
        with accepted:
            caller.sendall(b"here")
            assert accepted.recv(4) == b"here"


def test_a_port_that_was_just_in_use_can_be_used_again() -> None:
    listener, site = listen("127.0.0.1", 0)
    with listener, socket.create_connection(("127.0.0.1", site.port)) as caller:
        accepted, _ = listener.accept()
        accepted.close()  # first, so that this end keeps the address for a minute
        caller.recv(1)
    again, _ = listen("127.0.0.1", site.port)
    again.close()


def test_a_port_that_another_program_has_is_waited_for_by_no_later_start(tmp_path: Path) -> None:
    other, site = listen("127.0.0.1", 0)
    with other:
        for _ in range(2):
            with pytest.raises(CannotListen, match="taken"):
                listen_after(tmp_path, "127.0.0.1", site.port)
            assert Lock(tmp_path / ".run" / f"port-{site.port}").said() == ""
    mine, _, lock = listen_after(tmp_path, "127.0.0.1", site.port)
    with mine:
        assert lock.said() == str(os.getpid())
        lock.release()


def test_a_host_that_is_none_of_ours_is_named() -> None:
    with pytest.raises(CannotListen, match=r"HOST is '192\.0\.2\.1'"):
        listen("192.0.2.1", 0)
