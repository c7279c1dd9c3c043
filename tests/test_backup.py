"""Backup while people write, restore elsewhere: nothing that was saved is missing, and every key opens what it did."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import stat
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tests import leg
from tests.patience import PATIENCE
from tests.running import manage, migrated
from tests.wire_server import Web

pytestmark = pytest.mark.skipif(leg.SERVER is not None, reason="the copy is a file; tests/test_move.py has pg_dump's")
PASSWORD = "a long enough password"
SETUP = f"""
from django_otp.plugins.otp_totp.models import TOTPDevice
from accounts.models import Group, User
alice = User.objects.create_user("alice@example.org", "{PASSWORD}", roles=["documents"])
group = Group.objects.create(name="Pumps")
alice.groups.add(group)
User.objects.create_superuser("root@example.org", "{PASSWORD}")
bob = User.objects.create_user("bob@example.org", "{PASSWORD}")
print(TOTPDevice.objects.create(user=bob, name="phone", confirmed=True).key)
"""
CODE = """
import time
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
totp = TOTP(TOTPDevice.objects.get().bin_key)
totp.time = time.time()
print(TOTPDevice.objects.get().verify_token(totp.token()))
"""


def shell(data: Path, program: str) -> str:
    done = manage(data, "shell", "--no-imports", "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Api:
    """Contract 2 as one user."""

    def __init__(self, web: Web, token: str) -> None:
        self._web, self._headers = web, {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, **body: Any) -> Any:
        found = self._web.http.request(method, f"/api/v1/{path}", headers=self._headers, json=body or None)
        assert found.status_code < 300, found.text
        return found.json()["data"]


def signed_in(web: Web, email: str) -> str:
    found = web.http.post("/api/v1/login", json={"email": email, "password": PASSWORD})
    assert found.status_code == 200, found.text
    return str(found.json()["data"]["token"])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Any:
    """A server that was backed up while it was written to: its folder, what was acknowledged before, the file."""
    folder = tmp_path_factory.mktemp("original")
    with Web(folder / "data", empty_sqlite, LLM_BACKEND="quoting") as web:
        secret = shell(web.data, SETUP)
        token = signed_in(web, "alice@example.org")
        api = Api(web, token)
        source = api.call("POST", "sources", title="Pumps", content="Oil the pump weekly.", groups=["Pumps"])
        chat = api.call("POST", "chats", question="How often is the pump oiled?", groups=["Pumps"])
        relay = web.key("--kind", "relay", "--name", "importer")
        asker = web.user()
        saved: list[str] = []
        enough, over = threading.Event(), threading.Event()

        def write() -> None:
            while not over.is_set():
                title = f"Note {len(saved)}"
                api.call("POST", "sources", title=title, content=f"{title} says nothing.", groups=["Pumps"])
                saved.append(title)
                if len(saved) >= 3:
                    enough.set()

        writing = threading.Thread(target=write)
        writing.start()
        assert enough.wait(PATIENCE)
        before = list(saved)
        archive = folder / "backup.tar.gz"
        done = manage(web.data, "backup", str(archive))
        assert done.returncode == 0, done.stderr
        over.set()
        writing.join()
        key = (web.data / "admin_key").read_text()
    return locals()


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory, original: dict[str, Any]) -> Any:
    data = tmp_path_factory.mktemp("elsewhere") / "data"
    done = manage(data, "restore", str(original["archive"]))
    assert done.returncode == 0, done.stderr
    with Web(data, data / "switchboard.sqlite3", LLM_BACKEND="quoting") as web:
        yield web


def test_what_was_acknowledged_before_is_in_it(original: dict[str, Any], restored: Web) -> None:
    """Fault 28."""
    titles = {title for (title,) in restored.sql("SELECT title FROM privategpt_source")}
    assert {"Pumps", *original["before"]} <= titles
    assert restored.sql("PRAGMA integrity_check") == [("ok",)]


def test_people_sign_in_and_find_their_chats_and_sources(original: dict[str, Any], restored: Web) -> None:
    """Fault 28."""
    api = Api(restored, signed_in(restored, "alice@example.org"))
    chat = api.call("GET", f"chats/{original['chat']['chatId']}")
    assert "weekly" in json.dumps(chat)
    assert api.call("GET", f"sources/{original['source']['documentId']}")["title"] == "Pumps"
    again = api.call("POST", "chats", question="How often is the pump oiled?", groups=["Pumps"])
    assert "weekly" in json.dumps(again)  # the words' index came along


def test_tokens_and_second_factors_stay_valid(original: dict[str, Any], restored: Web) -> None:
    """Fault 28: what the secret key guards."""
    assert Api(restored, original["token"]).call("GET", "groups")
    assert restored.ask(original["relay"]).status_code == 503  # known, but there is no agent
    assert restored.ask("nonsense").status_code == 401
    assert restored.admin_key == original["key"].strip()
    users = restored.http.get("/admin/users", params={"admin_key": restored.admin_key}).text
    assert original["asker"].token in users  # unsealed
    assert shell(restored.data, CODE) == "True"


def test_the_file_is_the_owners_alone_and_says_what_it_holds(original: dict[str, Any]) -> None:
    archive = original["archive"]
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert [path.name for path in archive.parent.iterdir() if path.name.startswith(".")] == []
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    assert names == ["manifest.json", "database.sqlite3", "secret_key", "admin_key"]
    assert manifest["rows"]["accounts_user"] == 5
    assert "privategpt.0001_sources" in manifest["migrations"]


def test_it_does_not_go_over_what_is_there_unless_told(original: dict[str, Any], tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(migrated(), data)
    before = (data / "admin_key").read_text()
    refused = manage(data, "restore", str(original["archive"]))
    assert refused.returncode == 1
    assert "`--replace` moves it aside" in refused.stderr
    assert (data / "admin_key").read_text() == before
    done = manage(data, "restore", str(original["archive"]), "--replace")
    assert done.returncode == 0, done.stderr
    (aside,) = data.glob("replaced-*")
    assert (aside / "admin_key").read_text() == before
    assert (aside / "switchboard.sqlite3").exists()
    assert (data / "admin_key").read_text() == original["key"]


def test_it_is_refused_while_a_server_runs_on_the_folder(original: dict[str, Any], restored: Web) -> None:
    refused = manage(restored.data, "restore", str(original["archive"]), "--replace")
    assert refused.returncode == 1
    assert "A server runs on" in refused.stderr
    assert restored.http.get("/ready").status_code == 200


def test_a_file_that_is_not_whole_or_was_changed_is_refused(original: dict[str, Any], tmp_path: Path) -> None:
    whole = original["archive"].read_bytes()
    changed = gzip.compress(gzip.decompress(whole).replace(b"alice@example.org", b"mallory@exampl.org"[:17]))
    for content in (b"", b"no archive at all", whole[: len(whole) // 2], changed):
        (tmp_path / "file").write_bytes(content)
        refused = manage(tmp_path / "data", "restore", str(tmp_path / "file"))
        assert refused.returncode == 1, content[:20]
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
        assert not (tmp_path / "data" / "switchboard.sqlite3").exists()


def with_manifest(archive: Path, target: Path, **changes: Any) -> Path:
    """The archive with another manifest."""
    with tarfile.open(archive) as old, tarfile.open(target, "w:gz") as new:
        for entry in old:
            data = (old.extractfile(entry) or io.BytesIO()).read()
            if entry.name == "manifest.json":
                data = json.dumps(json.loads(data) | changes).encode()
            entry.size = len(data)
            new.addfile(entry, io.BytesIO(data))
    return target


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"migrations": ["relay.0999_later"]}, "newer program (it knows relay.0999_later)"),
        ({"vendor": "postgresql"}, "manage.py move"),
        ({"format": 2}, "use a newer one"),
        ({"rows": {"accounts_user": 6}}, "Rows are missing in"),
    ],
    ids=["newer", "other database", "other format", "other counts"],
)
def test_a_backup_that_does_not_fit_is_refused(
    original: dict[str, Any], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    archive = with_manifest(original["archive"], tmp_path / "changed", **changes)
    refused = manage(tmp_path / "data", "restore", str(archive))
    assert refused.returncode == 1
    assert said in refused.stderr
    assert not (tmp_path / "data" / "switchboard.sqlite3").exists()


def test_another_secret_in_the_environment_is_named(original: dict[str, Any], tmp_path: Path) -> None:
    refused = manage(tmp_path / "data", "restore", str(original["archive"]), SECRET_KEY="another" * 8)
    assert refused.returncode == 1
    assert "SECRET_KEY in the environment is not the backup's" in refused.stderr


def test_a_backup_that_cannot_be_written_leaves_no_file(original: dict[str, Any], tmp_path: Path) -> None:
    data = shutil.copytree(original["web"].data, tmp_path / "data")
    (tmp_path / "file").touch()
    refused = manage(data, "backup", str(tmp_path / "file"))
    assert "is there already" in refused.stderr
    refused = manage(data, "backup", str(tmp_path / "file" / "below"))
    assert refused.returncode == 1
    assert "No backup was made" in refused.stderr


def test_without_a_name_it_goes_into_the_data_folder(original: dict[str, Any], tmp_path: Path) -> None:
    data = shutil.copytree(original["web"].data, tmp_path / "data")
    assert manage(data, "backup").returncode == 0
    (found,) = (data / "backups").iterdir()
    assert found.name.startswith("switchboard-")
    assert manage(data, "restore", str(found), "--replace").returncode == 0  # from there as well


# -- secrets that are not here -------------------------------------------------------------------


def names_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_a_key_that_only_the_server_was_told_is_not_made_up(original: dict[str, Any], tmp_path: Path) -> None:
    data = shutil.copytree(original["web"].data, tmp_path / "data")
    (data / "admin_key").unlink()
    done = manage(data, "backup", str(tmp_path / "without"))
    assert done.returncode == 0, done.stderr
    assert "The admin key is not in it" in done.stderr
    assert not (data / "admin_key").exists()
    assert "admin_key" not in names_in(tmp_path / "without")
    assert manage(data, "backup", str(tmp_path / "with"), ADMIN_KEY="told to the server").returncode == 0
    assert "admin_key" in names_in(tmp_path / "with")
    there = tmp_path / "there"
    assert manage(there, "restore", str(tmp_path / "without"), ADMIN_KEY="told to the server").returncode == 0
    assert not (there / "admin_key").exists()


def test_a_secret_key_that_only_the_server_was_told_is_asked_for(original: dict[str, Any], tmp_path: Path) -> None:
    data = shutil.copytree(original["web"].data, tmp_path / "data")
    secret = (data / "secret_key").read_text().strip()
    (data / "secret_key").unlink()
    refused = manage(data, "backup", str(tmp_path / "file"))
    assert refused.returncode == 1
    assert "set it as the server has it" in refused.stderr
    assert not (data / "secret_key").exists()
    assert manage(data, "backup", str(tmp_path / "file"), SECRET_KEY=secret).returncode == 0
