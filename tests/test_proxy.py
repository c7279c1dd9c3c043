"""Behind the real nginx and the real Caddy as docs/deploy.md sets them up: TLS, websockets, streams, limits."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.patience import PATIENCE
from tests.proxies import NAME, PROXIES, Proxy
from tests.running import ROOT, environment, manage
from tests.tunnel import tunnel
from tests.wire_agent import Asked, WireAgent, echo
from tests.wire_server import Web

LOGIN = {"email": "ada@example.com", "password": "a long enough password"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Web]:
    """A server that only its proxies should reach, and Ada on it."""
    settings = {"BEHIND_TLS": "on", "ALLOWED_HOSTS": f"{NAME},127.0.0.1"}
    with Web(tmp_path_factory.mktemp("behind"), empty_sqlite, **settings) as web:
        done = manage(web.data, "setup", ADMIN_EMAIL=LOGIN["email"], ADMIN_PASSWORD=LOGIN["password"])
        assert done.returncode == 0, done.stderr
        yield web


@pytest.fixture(scope="module", params=PROXIES, ids=lambda kind: kind.name)
def behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, web: Web
) -> Iterator[tuple[Web, Proxy]]:
    """The server and the proxy in front of it."""
    kind: type[Proxy] = request.param
    if not kind.program():
        pytest.skip(f"{kind.name} is not installed (Debian: apt install {kind.package})")
    with kind(tmp_path_factory.mktemp(kind.name), web.port) as proxy:
        yield web, proxy


@pytest.fixture
def visitor(behind: tuple[Web, Proxy]) -> Iterator[httpx.Client]:
    with outside(behind[1]) as client:
        yield client


def outside(proxy: Proxy) -> httpx.Client:
    """Somebody out there, to whom the site is its name."""

    def by_name(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = NAME

    return httpx.Client(
        base_url=f"https://127.0.0.1:{proxy.port}",
        headers={"Host": NAME},
        verify=proxy.trust,
        event_hooks={"request": [by_name]},
        trust_env=False,
        timeout=PATIENCE,
    )


def way(proxy: Proxy) -> dict[str, Any]:
    """How a websocket client gets to the site by its name, as if it were plain."""
    return {"sock": tunnel(proxy.port, proxy.trust, NAME)}


def test_an_ask_goes_through_to_an_agent_that_dialled_in_through_it(
    behind: tuple[Web, Proxy], visitor: httpx.Client
) -> None:
    key = behind[0].key("--kind", "agent", "--name", "outside")
    with WireAgent(f"ws://{NAME}/agent/{key}/client/register", echo, **way(behind[1])):
        reply = visitor.post("/api/ask", json={"content": "Héllo"}, headers={"Authorization": behind[0].admin_key})
    assert (reply.status_code, reply.json()["content"]) == (200, "Héllo")


def test_nobody_from_outside_passes_for_this_machine(behind: tuple[Web, Proxy]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{NAME}/client/register", proxy=None, **way(behind[1]))
    assert refused.value.response.status_code == 401


@contextmanager
def slow_agent(behind: tuple[Web, Proxy]) -> Iterator[threading.Event]:
    """Makes the second piece of its answer when the event says that the first one was seen."""
    web, proxy = behind
    seen = threading.Event()

    def in_two_pieces(agent: WireAgent, asked: Asked) -> None:
        agent.say(asked.frame, "ChatGptDelta", "Ducks ")
        assert seen.wait(PATIENCE)
        agent.say(asked.frame, "ChatGptDelta", "swim.")
        agent.answer(asked, "")

    url = f"ws://{NAME}/client/register?token={web.key('--kind', 'agent', '--name', 'slow')}"
    with WireAgent(url, in_two_pieces, declares='{"stream": true}', **way(proxy)):
        yield seen


def test_a_piece_of_an_answer_is_there_before_the_next_one_is_made(
    behind: tuple[Web, Proxy], visitor: httpx.Client
) -> None:
    token = visitor.post("/api/v1/login", json=LOGIN).json()["data"]["token"]
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    with (
        slow_agent(behind) as seen,
        visitor.stream("POST", "/api/v1/chats", json={"question": "What do ducks do?"}, headers=headers) as reply,
    ):
        assert reply.status_code == 200, reply.read()
        assert "swim" in read(reply, seen)


def test_the_page_hears_an_answer_grow(behind: tuple[Web, Proxy], visitor: httpx.Client) -> None:
    page = signed_in(visitor)
    with slow_agent(behind) as seen:
        asked = page.post("/chats/new", data={"question": "What do ducks do?"} | form(page, "/"), follow_redirects=True)
        found = re.search(r'data-grows="([^"]+)"', asked.text)
        assert found, asked.text
        with page.stream("GET", found[1], headers={"Accept": "text/event-stream"}) as reply:
            assert "swim" in read(reply, seen)


def read(reply: httpx.Response, seen: threading.Event) -> str:
    """The whole stream; sets the event as soon as the first piece is there."""
    text = ""
    for line in reply.iter_lines():
        text += line
        if "Ducks" in line:
            seen.set()
        if "swim" in line:
            break
    assert seen.is_set()
    return text


def test_the_sign_in_page_sets_cookies_for_tls_alone(visitor: httpx.Client) -> None:
    reply = visitor.get("/sign-in")
    assert reply.status_code == 200
    assert "Secure" in reply.headers["set-cookie"]


def test_one_signs_in_on_another_port_than_443(visitor: httpx.Client) -> None:
    place = f"{NAME}:8443"
    visitor.headers.update({"Host": place, "Origin": f"https://{NAME}:9443", "Referer": f"https://{place}/"})
    assert visitor.post("/sign-in", data=LOGIN | form(visitor, "/sign-in")).status_code == 403
    visitor.headers["Origin"] = f"https://{place}"
    assert visitor.post("/sign-in", data=LOGIN | form(visitor, "/sign-in")).status_code == 302


def signed_in(visitor: httpx.Client) -> httpx.Client:
    """The visitor, as a browser that Ada has signed in with."""
    visitor.headers["Referer"] = f"https://{NAME}/"
    assert visitor.post("/sign-in", data=LOGIN | form(visitor, "/sign-in")).status_code == 302
    return visitor


def form(visitor: httpx.Client, path: str) -> dict[str, str]:
    """What a page's form carries besides its fields."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', visitor.get(path).text)
    assert found
    return {"csrfmiddlewaretoken": found[1]}


def test_plain_http_is_sent_to_tls(behind: tuple[Web, Proxy]) -> None:
    reply = httpx.get(
        f"http://127.0.0.1:{behind[1].plain_port}/sources", headers={"Host": NAME}, trust_env=False, timeout=PATIENCE
    )
    assert (reply.status_code, reply.headers["location"]) == (308, f"https://{NAME}/sources")


def test_a_body_above_the_limit_ends_at_the_proxy_and_one_at_the_limit_does_not(visitor: httpx.Client) -> None:
    assert visitor.post("/api/v1/sources", content=b"x" * ((16 << 20) + 1)).status_code == 413
    assert visitor.post("/api/v1/sources", content=b"x" * (16 << 20)).status_code == 401  # read, and by whom?


def test_a_body_of_unsaid_length_ends_at_the_limit_too(visitor: httpx.Client) -> None:
    pieces = (b"x" * (1 << 20) for _ in range(18))
    assert visitor.post("/api/v1/sources", content=pieces).status_code == 413
    assert visitor.post("/api/v1/login", json=LOGIN).status_code == 200, "it takes the machine away from nobody"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6detrics", "/METRICS", "/./metrics"])
def test_the_figures_stay_inside(visitor: httpx.Client, path: str) -> None:
    assert visitor.get(path).status_code == 404


def test_a_file_above_a_megabyte_is_uploaded_on_the_page(visitor: httpx.Client) -> None:
    lines = "".join(f"Pump {number} is oiled every Friday.\n\n" for number in range(40_000))
    page = signed_in(visitor)
    files = {"files": ("pumps.md", f"# Pumps\n\n{lines}".encode())}
    reply = page.post("/sources", data={"to": "public"} | form(page, "/sources"), files=files)
    assert reply.status_code == 302, reply.text
    assert "pumps" in page.get("/sources").text.lower()


def test_the_visitors_address_is_the_proxys_word_and_not_the_visitors(visitor: httpx.Client) -> None:
    visitor.headers.update({"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"})
    page = signed_in(visitor).get("/account/sessions").text
    assert "127.0.0.1" in page
    assert "203.0.113.9" not in page


def test_plain_http_cannot_pass_for_tls(behind: tuple[Web, Proxy]) -> None:
    claims = {"Host": NAME, "X-Forwarded-Proto": "https"}
    reply = httpx.get(
        f"http://127.0.0.1:{behind[1].plain_port}/sign-in", headers=claims, trust_env=False, timeout=PATIENCE
    )
    assert reply.status_code == 308


def test_another_server_takes_over_when_one_is_gone(behind: tuple[Web, Proxy], tmp_path: Path) -> None:
    gone = 1  # nobody listens at that port
    with type(behind[1])(tmp_path, behind[0].port, gone) as proxy, outside(proxy) as visitor:
        assert [visitor.get("/ready").status_code for _ in range(6)] == [200] * 6


def test_the_health_check_of_the_container_sees_it(behind: tuple[Web, Proxy]) -> None:
    check = [sys.executable, str(ROOT / "deploy/healthy.py")]
    web = behind[0]
    settings = environment(web.data, PORT=str(web.port), ALLOWED_HOSTS=NAME)
    assert subprocess.run(check, env=settings, timeout=PATIENCE, check=False).returncode == 0
    gone = subprocess.run(check, env=settings | {"PORT": "1"}, timeout=PATIENCE, check=False, capture_output=True)
    assert gone.returncode == 1
    assert b"/health" in gone.stderr
