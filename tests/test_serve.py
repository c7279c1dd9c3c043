"""`manage.py serve` in real processes: first start, screen, draining, crashes, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pytest_django import Settings

from privategpt.serving.children import AGENT, EMBEDDER, WEB, WORKER, Crew, children
from privategpt.serving.listener import Site
from tests.patience import PATIENCE
from tests.running import Server, manage, runs, settled, until


def listed(server: Server) -> bool:
    return bool(server.get("/api/connections").json()["connections"])


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server at its first start, for tests that only look at it or ask it."""
    with Server(tmp_path_factory.mktemp("fresh") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that was told a port and a key by arguments, and other things by its environment."""
    settings = {"SECRET_KEY": "secret from outside", "MALLOC_ARENA_MAX": "8"}
    data = settled(tmp_path_factory.mktemp("told") / "data")
    with Server(data, "0", "key from outside", "more", "and more", **settings) as server:
        yield server


def test_the_first_start_shows_the_credentials(fresh: Server) -> None:
    assert fresh.shown("E-mail") == "admin@switchboard.local"
    assert len(fresh.shown("Password").split()[0]) >= 12
    assert fresh.key in fresh.shown("Admin key")
    assert fresh.shown("Data") == str(fresh.data)


def test_the_next_start_shows_none_of_them(tmp_path: Path) -> None:
    with Server(settled(tmp_path)) as first:
        password = first.shown("Password").split()[0]
        first.send(signal.SIGTERM)
        assert first.wait() == 0
    with Server(tmp_path) as second:
        assert second.shown("Password") == ""
        assert second.shown("Admin key") == f"in {tmp_path / 'admin_key'}"
        assert f"$(cat {tmp_path / 'admin_key'})" in second.screen
        assert first.key not in second.screen
        assert password not in second.screen


def test_the_shown_quick_start_brings_an_agents_answer(fresh: Server) -> None:
    assert fresh.quick_start().status_code == 503  # nobody is there to answer
    fresh.agent()
    until(lambda: listed(fresh), "the agent is listed")
    reply = fresh.quick_start()
    assert reply.status_code == 200
    assert reply.json()["content"] == "HELLO WORLD"


def test_the_shown_administrator_can_sign_in_and_nobody_else(fresh: Server) -> None:
    password = fresh.shown("Password").split()[0]
    assert signs_in(fresh, "admin@switchboard.local", password)
    assert not signs_in(fresh, "admin@switchboard.local", "admin")


def test_secrets_and_data_are_for_their_owner_alone(fresh: Server) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in fresh.data.iterdir()}
    assert stat.S_IMODE(fresh.data.stat().st_mode) == 0o700
    assert modes["secret_key"] == modes["admin_key"] == 0o600
    assert modes.get("switchboard.sqlite3", 0o600) == 0o600  # PostgreSQL keeps its own


def signs_in(server: Server, email: str, password: str) -> bool:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        client.get("/sign-in")
        form = {"email": email, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        return client.post("/sign-in", data=form).status_code == 302


def test_given_credentials_count_and_are_not_shown(tmp_path: Path) -> None:
    given = {"ADMIN_EMAIL": "Root@Example.com", "ADMIN_PASSWORD": "a long enough one", "ADMIN_KEY": "key from outside"}
    with Server(settled(tmp_path), **given) as server:
        assert server.shown("E-mail") == "Root@Example.com"
        assert given["ADMIN_PASSWORD"] not in server.screen
        assert given["ADMIN_KEY"] not in server.screen
        assert signs_in(server, given["ADMIN_EMAIL"], given["ADMIN_PASSWORD"])
        assert server.get(f"/admin/users?admin_key={given['ADMIN_KEY']}").status_code == 200
        assert not (tmp_path / "admin_key").exists()


def test_port_and_key_may_be_arguments_which_no_child_repeats(told: Server) -> None:
    assert told.get("/admin/users?admin_key=key from outside").status_code == 200
    assert told.get("/admin/users?admin_key=another").status_code == 401
    lines = told.command_lines().values()
    assert any("serve" in line for line in lines)
    assert not any("outside" in line for line in lines)


def heaps(server: Server) -> set[tuple[str, ...]]:
    """What the C library of each child process is told of its heaps."""
    found = [Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in server.children()]
    return {tuple(sorted(row for row in rows if row.startswith("MALLOC_"))) for rows in found}


def test_few_heaps_keep_the_processes_small_unless_told_otherwise(fresh: Server, told: Server) -> None:
    thresholds = ("MALLOC_MMAP_THRESHOLD_=262144", "MALLOC_TRIM_THRESHOLD_=262144")
    assert heaps(fresh) == {("MALLOC_ARENA_MAX=2", *thresholds)}
    assert heaps(told) == {("MALLOC_ARENA_MAX=8", *thresholds)}


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = manage(tmp_path, "serve", str(port))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"Port {port} is taken" in line
    assert f"make run PORT={port + 1}" in line
    assert not (tmp_path / "switchboard.sqlite3").exists()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"PORT": "many"}, "PORT is 'many'"),
        ({"PORT": "70000"}, "70000"),
        ({"HOST": "203.0.113.7", "PORT": "0"}, "HOST is '203.0.113.7'"),
        ({"BUILTIN_AGENT": "perhaps"}, "BUILTIN_AGENT is 'perhaps'"),
        ({"ADMIN_EMAIL": "nobody", "PORT": "0"}, "ADMIN_EMAIL is 'nobody'"),
        ({"DATA_DIR": "/proc/no/such"}, "/proc/no"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(tmp_path: Path, setting: dict[str, str], named: str) -> None:
    done = manage(settled(tmp_path), "serve", **setting)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert named in done.stderr


def test_a_hang_up_ends_it_unless_it_was_started_to_outlive_the_terminal(tmp_path: Path) -> None:
    with Server(settled(tmp_path)) as server:
        server.send(signal.SIGHUP)
        assert server.wait() == 0
    with Server(tmp_path, before=("nohup",)) as server:
        server.send(signal.SIGHUP)
        assert server.get("/ready").status_code == 200


def test_sigterm_lets_asks_under_way_end_and_serves_what_still_comes_on_open_connections(tmp_path: Path) -> None:
    replies: list[httpx.Response] = []
    with Server(settled(tmp_path)) as server, kept(server) as early, kept(server) as later:
        agent = server.agent()
        agent.may_answer.clear()
        until(lambda: listed(server), "the agent is listed")
        asking = threading.Thread(target=lambda: replies.append(server.ask("still here")))
        asking.start()
        assert agent.asked.wait(PATIENCE)
        children = server.children()
        server.send(signal.SIGTERM)
        until(lambda: refused(server), "nobody listens any more")
        not_ready = early.get("/ready")
        assert (not_ready.status_code, not_ready.headers["connection"]) == (503, "close")
        agent.may_answer.set()
        late = later.post("/api/ask", headers={"Authorization": server.key}, json={"content": "late"})
        assert (late.status_code, late.json()["content"], late.headers["connection"]) == (200, "LATE", "close")
        asking.join(PATIENCE)
        assert server.wait() == 0
        assert agent.close_code in {1001, 1012}
        assert not any(map(runs, children))
    assert replies[0].status_code == 200
    assert replies[0].json()["content"] == "STILL HERE"


@contextlib.contextmanager
def kept(server: Server) -> Iterator[httpx.Client]:
    """A client whose connection is open already."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE) as client:
        assert client.get("/health").status_code == 200
        yield client


def refused(server: Server) -> bool:
    """Whether a new connection is."""
    try:
        server.get("/health")
    except httpx.HTTPError:
        return True
    return False


def test_the_drain_has_an_end(tmp_path: Path) -> None:
    with Server(settled(tmp_path), DRAIN_SECONDS="0.2") as server:
        asking = ask_without_end(server)
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        asking.join(PATIENCE)


def test_a_later_signal_ends_at_once(tmp_path: Path) -> None:
    with Server(settled(tmp_path)) as server:
        asking = ask_without_end(server)
        children = server.children()

        def ended() -> bool:
            server.send(signal.SIGINT)  # those of the first second count as one
            return server.process.poll() is not None

        until(ended, "the end")
        assert not any(map(runs, children))
        asking.join(PATIENCE)


def ask_without_end(server: Server) -> threading.Thread:
    """An ask that has reached an agent, which never answers it."""
    agent = server.agent()
    agent.may_answer.clear()
    until(lambda: listed(server), "the agent is listed")

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            server.ask("never answered")

    asking = threading.Thread(target=ask)
    asking.start()
    assert agent.asked.wait(PATIENCE)
    return asking


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with Server(settled(tmp_path)) as server:
        children = server.children()
        assert children
        server.send(signal.SIGKILL)
        server.wait()
        until(lambda: not any(map(runs, children)), "the children end by themselves")


def test_a_crashed_web_server_is_started_again_at_the_same_port(tmp_path: Path) -> None:
    with Server(settled(tmp_path)) as server:
        (web,) = (pid for pid, line in server.command_lines().items() if "--only web" in line)
        os.kill(web, signal.SIGKILL)
        until(lambda: not runs(web), "the crash")
        assert server.get("/health").status_code == 200  # waited for, not refused
        assert "The web server ended (signal 9); it starts again in 1 s." in server.complaints


def test_a_web_server_that_never_answers_ends_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "packages"
    broken.mkdir()
    (broken / "uvicorn.py").write_text("raise ImportError('broken on purpose')")
    done = manage(settled(tmp_path), "serve", "0", PYTHONPATH=str(broken))
    assert done.returncode == 1
    assert "broken on purpose" in done.stderr
    assert "The web server does not start" in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_parts_that_open_no_door_are_told_no_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedder least of all: what it is told is what any program may know, and its own settings."""
    settings.EMBEDDER = settings.BUILTIN_AGENT = settings.AGENTS_FROM_LOOPBACK = True
    for name in ("METRICS_TOKEN", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "OPENAI_API_KEY", "EMBEDDINGS_MODEL"):
        monkeypatch.setenv(name, "told from outside")
    rows = {child.name: child.environment for child in children(Site("127.0.0.1", 8080), -1, "the key", Crew())}
    assert rows[WEB]["ADMIN_KEY"] == "the key"
    for part in (WORKER, AGENT, EMBEDDER):
        assert not {"ADMIN_KEY", "METRICS_TOKEN"} & rows[part].keys()
    assert not {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY"} & rows[EMBEDDER].keys()
    assert {"PATH", "EMBEDDINGS_MODEL", "PYTHONPATH", "MALLOC_ARENA_MAX"} <= rows[EMBEDDER].keys()
