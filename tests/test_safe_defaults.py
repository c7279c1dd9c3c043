"""A server that nobody configured: secrets of its own, closed to other machines, nothing to debug."""

from __future__ import annotations

import re
import socket
import stat
from pathlib import Path

import httpx
import pytest

from tests.running import manage
from tests.wire_server import Web

EVERYWHERE = "0.0.0.0"  # noqa: S104 - said, not bound


def test_secrets_are_made_at_random_and_are_for_the_owner_alone(lane: Web, view: Web) -> None:
    """Attack 89."""
    for name in ("secret_key", "admin_key"):
        first, second = (web.data / name for web in (lane, view))
        assert first.read_text() != second.read_text()
        assert len(first.read_text().strip()) >= 32
        assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_no_secret_is_among_the_arguments(lane: Web) -> None:
    """Attack 89."""
    arguments = Path(f"/proc/{lane.process.pid}/cmdline").read_text()
    assert lane.admin_key not in arguments
    assert (lane.data / "secret_key").read_text().strip() not in arguments


@pytest.mark.parametrize("key", ["", "admin", "admin_key", "secret", "changeme", "change-me", "password", "test"])
def test_there_is_no_key_that_everybody_knows(lane: Web, key: str) -> None:
    """Attack 89."""
    assert lane.http.get("/admin/users", params={"admin_key": key}).status_code == 401
    assert lane.http.post("/api/ask", headers={"Authorization": key}, content=b"{}").status_code == 401


def test_an_empty_secret_file_is_no_secret(tmp_path: Path) -> None:
    """Attack 89: it refuses to start, and says what to do."""
    (tmp_path / "secret_key").touch()
    done = manage(tmp_path, "check")
    assert done.returncode == 1
    assert "secret_key is empty" in done.stderr


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    """Attack 90: what `HOST` is when nobody sets it, and the rest of the defaults."""
    done = manage(
        tmp_path,
        "shell",
        "--no-imports",
        "-c",
        "from django.conf import settings as s; print(s.HOST, s.DEBUG, *s.ALLOWED_HOSTS)",
    )
    assert done.stdout.split() == ["127.0.0.1", "False", "localhost", "127.0.0.1", "[::1]"]


def test_an_error_page_shows_no_settings(lane: Web) -> None:
    """Attacks 86 and 90."""
    assert lane.http.get("/nowhere").content == b"404 page not found"
    page = lane.http.get("/nowhere", headers={"Accept": "text/html"}).text
    assert "No such line" in page
    assert not re.search("nowhere|settings|urlconf|traceback", page, re.IGNORECASE)


def test_other_names_of_the_machine_are_not_answered_to(lane: Web) -> None:
    """Attack 90: ALLOWED_HOSTS is a list of names, not a star."""
    for host in ("evil.example", socket.gethostname() + ".evil.example", "127.0.0.1.evil.example", "*"):
        assert lane.http.get("/health", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("given", [{}, {"BEHIND_TLS": "on"}, {"BEHIND_TLS": "on", "HOST": EVERYWHERE}], ids=str)
def test_the_checks_for_deployment_find_nothing(tmp_path: Path, given: dict[str, str]) -> None:
    """Attack 90: as shipped, and behind a proxy that ends TLS."""
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **given)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_plain_http_for_others_is_warned_of(tmp_path: Path) -> None:
    """Attack 90: what is right on this machine alone is not right on a network."""
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", HOST=EVERYWHERE)
    assert done.returncode == 1
    assert "switchboard.W001" in done.stderr
    assert "BEHIND_TLS=on" in done.stderr


def test_behind_tls_pages_go_there_and_probes_do_not(tmp_path: Path, empty_sqlite: Path) -> None:
    """Attack 85: and a browser that was there once does not come without it again."""
    with Web(tmp_path, empty_sqlite, BEHIND_TLS="on") as web:
        plain = web.http.get("/sign-in")
        assert (plain.status_code, plain.headers["location"][:8]) == (301, "https://")
        assert web.http.get("/ready").status_code == 200
        shown = {"Authorization": web.admin_key}
        assert web.http.get("/api/connections", headers=shown).status_code == 200
        page = web.http.get("/sign-in", headers={"X-Forwarded-Proto": "https"})
        assert page.status_code == 200
        assert page.headers["strict-transport-security"].startswith("max-age=31536000")


def test_a_part_that_is_started_alone_refuses_a_database_that_lacks_migrations(tmp_path: Path) -> None:
    done = manage(tmp_path, "serve", "--only", "web")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Migrations are pending" in line
    assert "`manage.py migrate`" in line


def test_the_server_does_not_say_what_it_is(lane: Web) -> None:
    """Attack 86."""
    found: httpx.Response = lane.http.get("/health")
    assert "server" not in found.headers
    assert "x-powered-by" not in found.headers
