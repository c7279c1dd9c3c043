"""DATABASE_URL: what it may say, and the one sentence with which everything else is refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.database import postgres
from tests.running import manage

PASSWORD = "s3cret-Pa55"


def refusal(data: Path, *command: str, **settings: str) -> str:
    """The one line that the command ends with."""
    done = manage(data, *command, **settings)
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "psycopg.pool" not in line]
    assert PASSWORD not in line
    return line


def test_a_url_names_host_port_user_and_database() -> None:
    found = postgres("postgres://ada:p%40ss@db.example.org:6543/chat%20s?sslmode=require", pool=7)
    assert (found["HOST"], found["PORT"], found["USER"], found["PASSWORD"], found["NAME"]) == (
        "db.example.org",
        "6543",
        "ada",
        "p@ss",
        "chat s",
    )
    assert found["OPTIONS"]["sslmode"] == "require"
    assert found["OPTIONS"]["pool"]["max_size"] == 7
    assert found["CONN_MAX_AGE"] == 0


def test_a_socket_is_named_by_its_folder() -> None:
    assert postgres("postgresql:///chats?host=/var/run/postgresql", pool=4)["HOST"] == "/var/run/postgresql"


def test_several_hosts_and_which_of_them_to_take() -> None:
    found = postgres("postgres://ada:p%40ss@one:5432,two,[::1]:5433/chats?target_session_attrs=read-write", pool=4)
    assert (found["HOST"], found["PORT"], found["PASSWORD"]) == ("one,two,::1", "5432,,5433", "p@ss")
    assert found["OPTIONS"]["target_session_attrs"] == "read-write"
    assert postgres("postgres://ada@one,two/chats", pool=4)["PORT"] == ""


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"postgres://ada:{PASSWORD}@one,,two/chats", "a host is missing"),
        (f"postgres://ada:{PASSWORD}@one,two:port/chats", "is no URL"),
        (f"postgres://ada:{PASSWORD}@one,two/chats?target_session_attrs=best", "has target_session_attrs=best"),
        (f"mysql://ada:{PASSWORD}@db/chats", "begins with mysql"),
        (f"ada:{PASSWORD}@db/chats", "only postgres:// is known"),
        (f"postgres://ada:{PASSWORD}@db", "names no database"),
        (f"postgres://ada:{PASSWORD}@db/one/two", "names no database"),
        (f"postgres://ada:{PASSWORD}@db:port/chats", "is no URL"),
        (f"postgres://ada:{PASSWORD}@/chats", "names no host"),
        (f"postgres://ada:{PASSWORD}@db/chats?sslmode=yes", "has sslmode=yes"),
        (f"postgres://ada:{PASSWORD}@db/chats?colour=red", "has the option colour"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(url: str, reason: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        postgres(url, pool=4)
    assert reason in str(refused.value)
    assert "set it like postgres://user:password@host:5432/name" in str(refused.value)
    assert PASSWORD not in str(refused.value)


def test_the_server_does_not_start_on_a_wrong_url(tmp_path: Path) -> None:
    said = refusal(tmp_path, "serve", "0", DATABASE_URL=f"mysql://ada:{PASSWORD}@db/chats")
    assert said.startswith("DATABASE_URL begins with mysql")


@pytest.mark.parametrize("command", [("serve", "0"), ("serve", "0", "--only", "web")])
def test_the_server_does_not_start_without_its_database(tmp_path: Path, command: tuple[str, ...]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = nobody.getsockname()[1]
        said = refusal(tmp_path, *command, DATABASE_URL=f"postgres://ada:{PASSWORD}@127.0.0.1:{port}/chats")
    assert f"The PostgreSQL database chats at 127.0.0.1:{port}, which DATABASE_URL names, cannot be opened" in said
    assert "refused" in said


def test_the_web_server_alone_does_not_start_on_pending_migrations(tmp_path: Path) -> None:
    said = refusal(tmp_path, "serve", "0", "--only", "web")
    assert "Migrations are pending: run `manage.py migrate`" in said
