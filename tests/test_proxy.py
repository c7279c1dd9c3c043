"""Behind the real nginx with the configuration that docs/deploy.md gives: TLS, websockets, streams, limits."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.nginx import NAME, Nginx, program
from tests.running import ROOT, environment, manage
from tests.wire_agent import PATIENCE, Asked, WireAgent, echo
from tests.wire_server import Web

pytestmark = pytest.mark.skipif(not program(), reason="nginx is not installed (Debian: apt install nginx-light)")
LOGIN = {"email": "ada@example.com", "password": "a long enough password"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[tuple[Web, Nginx]]:
    """A server that only its proxy should reach, and the proxy."""
    settings = {"BEHIND_TLS": "on", "ALLOWED_HOSTS": f"{NAME},127.0.0.1"}
    with (
        Web(tmp_path_factory.mktemp("behind"), empty_sqlite, **settings) as web,
        Nginx(tmp_path_factory.mktemp("nginx"), web.port) as nginx,
    ):
        yield web, nginx


@pytest.fixture
def visitor(behind: tuple[Web, Nginx]) -> Iterator[httpx.Client]:
    with outside(behind[1]) as client:
        yield client


def outside(nginx: Nginx) -> httpx.Client:
    """Somebody out there, to whom the site is its name."""

    def by_name(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = NAME

    return httpx.Client(
        base_url=f"https://127.0.0.1:{nginx.port}",
        headers={"Host": NAME},
        verify=nginx.trust,
        event_hooks={"request": [by_name]},
        trust_env=False,
        timeout=PATIENCE,
    )


def way(nginx: Nginx) -> dict[str, Any]:
    """How a websocket client gets to the site by its name."""
    reached = socket.create_connection(("127.0.0.1", nginx.port), PATIENCE)
    return {"sock": reached, "ssl": nginx.trust, "server_hostname": NAME}


def test_an_ask_goes_through_to_an_agent_that_dialled_in_through_it(
    behind: tuple[Web, Nginx], visitor: httpx.Client
) -> None:
    key = behind[0].key("--kind", "agent", "--name", "outside")
    with WireAgent(f"wss://{NAME}/agent/{key}/client/register", echo, **way(behind[1])):
        reply = visitor.post("/api/ask", json={"content": "Héllo"}, headers={"Authorization": behind[0].admin_key})
    assert (reply.status_code, reply.json()["content"]) == (200, "Héllo")


def test_nobody_from_outside_passes_for_this_machine(behind: tuple[Web, Nginx]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"wss://{NAME}/client/register", proxy=None, **way(behind[1]))
    assert refused.value.response.status_code == 401


def test_a_piece_of_an_answer_is_there_before_the_next_one_is_made(
    behind: tuple[Web, Nginx], visitor: httpx.Client
) -> None:
    web = behind[0]
    seen = threading.Event()

    def in_two_pieces(agent: WireAgent, asked: Asked) -> None:
        agent.say(asked.frame, "ChatGptDelta", "Ducks ")
        assert seen.wait(PATIENCE)
        agent.say(asked.frame, "ChatGptDelta", "swim.")
        agent.answer(asked, "")

    done = manage(web.data, "setup", ADMIN_EMAIL=LOGIN["email"], ADMIN_PASSWORD=LOGIN["password"])
    assert done.returncode == 0, done.stderr
    token = visitor.post("/api/v1/login", json=LOGIN).json()["data"]["token"]
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    key = web.key("--kind", "agent", "--name", "slow")
    with (
        WireAgent(
            f"wss://{NAME}/client/register?token={key}", in_two_pieces, declares='{"stream": true}', **way(behind[1])
        ),
        visitor.stream("POST", "/api/v1/chats", json={"question": "What do ducks do?"}, headers=headers) as reply,
    ):
        assert reply.status_code == 200, reply.read()
        text = ""
        for line in reply.iter_lines():
            text += line
            if "Ducks" in line:
                seen.set()
    assert seen.is_set()
    assert "swim" in text


def test_the_sign_in_page_sets_cookies_for_tls_alone(visitor: httpx.Client) -> None:
    reply = visitor.get("/sign-in")
    assert reply.status_code == 200
    assert "Secure" in reply.headers["set-cookie"]


def test_plain_http_is_sent_to_tls(behind: tuple[Web, Nginx]) -> None:
    reply = httpx.get(
        f"http://127.0.0.1:{behind[1].plain_port}/sources", headers={"Host": NAME}, trust_env=False, timeout=PATIENCE
    )
    assert (reply.status_code, reply.headers["location"]) == (308, f"https://{NAME}/sources")


def test_a_body_above_the_limit_ends_at_the_proxy_and_the_figures_stay_inside(visitor: httpx.Client) -> None:
    assert visitor.post("/api/v1/sources", content=b"x" * ((16 << 20) + 1)).status_code == 413
    assert visitor.get("/metrics").status_code == 404


def test_another_server_takes_over_when_one_is_gone(behind: tuple[Web, Nginx], tmp_path: Path) -> None:
    gone = 1  # nobody listens at that port
    with Nginx(tmp_path, behind[0].port, gone) as nginx, outside(nginx) as visitor:
        assert [visitor.get("/ready").status_code for _ in range(6)] == [200] * 6


def test_the_health_check_of_the_container_sees_it(behind: tuple[Web, Nginx]) -> None:
    check = [sys.executable, str(ROOT / "deploy/healthy.py")]
    web = behind[0]
    settings = environment(web.data, PORT=str(web.port), ALLOWED_HOSTS=NAME)
    assert subprocess.run(check, env=settings, timeout=PATIENCE, check=False).returncode == 0
    gone = subprocess.run(check, env=settings | {"PORT": "1"}, timeout=PATIENCE, check=False, capture_output=True)
    assert gone.returncode == 1
    assert b"/health" in gone.stderr
