"""A disk without any space left (fault 17): writes are refused with a reason, reads go on, nothing breaks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import leg
from tests.running import until
from tests.wire_server import Web

pytestmark = pytest.mark.skipif(leg.SERVER is not None, reason="PostgreSQL's files are on another disk")
TEXT = "Oil the pump weekly. " * 2_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MiB."""
    found = tmp_path / "small"
    found.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(found)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield found
    subprocess.run(["umount", "-l", str(found)], check=False)


def fill(disk: Path) -> Path:
    """Takes all the space there is."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return filler


def test_writes_are_refused_reads_go_on_and_it_recovers(small: Path, empty_sqlite: Path) -> None:
    """Fault 17."""
    (small / "data").mkdir()
    (small / "data" / "log").symlink_to(small.with_name("log"))  # the log is on another disk
    with Web(small / "data", empty_sqlite) as web:
        email = "alice@example.org"
        user = web.user()
        web.sql("UPDATE accounts_user SET email = ?, roles = '[\"documents\"]'", email)
        headers = {"Authorization": f"Bearer {web.key('--kind', 'api', '--user', email)}"}

        def store() -> Any:
            body = {"title": "Pumps", "content": TEXT, "groups": []}
            return web.http.post("/api/v1/sources", headers=headers, json=body)

        first = store().json()["data"]["documentId"]
        filler = fill(small)
        refused = [store() for _ in range(3)]
        assert {found.status_code for found in refused} <= {503, 507}
        assert refused[-1].json()["message"] == "The server's disk is full; nothing was saved."
        assert web.http.get(f"/api/v1/sources/{first}", headers=headers).status_code == 200
        assert web.http.get("/health").status_code == 200
        assert web.ask(user.token).status_code == 503  # there is no agent; the key is known
        filler.unlink()
        until(lambda: store().status_code == 200, "space is back")
        assert "The disk is full: nothing can be saved." in web.log
        assert web.sql("PRAGMA integrity_check") == [("ok",)]
        titles = web.sql("SELECT count(*) FROM privategpt_source")[0][0]
        assert titles == 2  # what was refused is not there
