"""What is wrong with this place, or soon will be: one finding a line, each with what to do."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.db import DatabaseError, connection

from privategpt.operations import backup, rounds, schedule
from privategpt.operations.backup import SECRETS
from privategpt.serving import database, firststart, redis
from privategpt.serving.listener import LOOPBACK

GIB = 1 << 30
LEAST_SPACE = 2 * GIB
LEAST_FILES = 4096
LEAST_KEY = 16  # characters
OLD = 2  # times the hours between two backups
LEAST_POSTGRES = 150_000

Level = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`do` is empty where nothing is to be done."""

    level: Level
    what: str
    says: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.what:<10} {self.says}{f' -> {self.do}' if self.do else ''}"


Findings = Iterator[Finding]


def examine() -> Findings:
    """Everything, in order; a check that itself fails is a finding."""
    checks: tuple[Callable[[], Findings], ...] = (
        *(_settings, _files, _space, _limits, _database, _connections),
        *(_redis, _port, _proxy, _backups, _versions),
    )
    for check in checks:
        try:
            yield from check()
        except (OSError, DatabaseError, ValueError) as fault:
            what = check.__name__.removeprefix("_")
            yield Finding("bad", what, f"could not be looked at: {' '.join(str(fault).split())}", "mend that first")


def _settings() -> Findings:
    before = True
    if settings.DEBUG:
        before = False
        yield Finding("bad", "settings", "DEBUG is on: faults show the program's inside", "unset DEBUG")
    if settings.HOST not in LOOPBACK and not settings.BEHIND_TLS:
        before = False
        yield Finding(
            "warn", "settings", f"HOST is {settings.HOST} without TLS", "put a proxy in front and set BEHIND_TLS=on"
        )
    if "*" in settings.ALLOWED_HOSTS:
        before = False
        yield Finding("warn", "settings", "ALLOWED_HOSTS takes any name", "name the site")
    for name in ("SECRET_KEY", "ADMIN_KEY"):
        if len(getattr(settings, name)) < LEAST_KEY:
            before = False
            yield Finding("warn", "settings", f"{name} has fewer than {LEAST_KEY} characters", "set a longer one")
    if before:
        yield Finding("ok", "settings", "are understood")


def _files() -> Findings:
    folder = Path(settings.DATA_DIR)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("bad", "files", f"{folder} cannot be written", "give it to the user that the server runs as")
        return
    private = [folder / name for name in SECRETS] + sorted(folder.glob("*.sqlite3*"))
    private += sorted(folder.glob("backups/*"))
    wrong = [path for path in private if path.is_file() and path.stat().st_mode & 0o077]
    for path in wrong:
        yield Finding("bad", "files", f"{path} can be read or changed by other users", f"chmod 600 {path}")
    if folder.stat().st_mode & 0o022:
        yield Finding("bad", "files", f"others can write into {folder}", f"chmod 700 {folder}")
    elif not wrong:
        yield Finding("ok", "files", f"{folder} is ours alone")


def _space() -> Findings:
    folder = Path(settings.DATA_DIR)
    free = shutil.disk_usage(folder).free
    needed = LEAST_SPACE
    if connection.vendor == "sqlite" and (path := Path(str(connection.settings_dict["NAME"]))).exists():
        needed = max(needed, 2 * path.stat().st_size)  # a copy before migrating, or a backup and its draft
    says = f"{free / GIB:.1f} GiB are free in {folder}"
    if free < needed:
        yield Finding("warn", "space", says, f"make room for {needed / GIB:.1f}: a backup needs it while it is made")
    else:
        yield Finding("ok", "space", says)


def _limits() -> Findings:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < LEAST_FILES:
        yield Finding("warn", "limits", f"{soft} open files at most", "LimitNOFILE=65536, or ulimit -n 65536")
    else:
        yield Finding("ok", "limits", f"{soft} open files at most")


def _database() -> Findings:
    try:
        database.check()
    except database.NotReady as reason:
        yield Finding("bad", "database", str(reason), "see the sentence")
        return
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(1)")
            (verdict,) = cursor.fetchone()
        if verdict != "ok":
            yield Finding("bad", "database", f"is damaged: {verdict}", "restore the last backup")
            return
    else:
        yield from _postgres()
    yield Finding("ok", "database", f"{connection.vendor} answers and is in this program's state")


def _postgres() -> Findings:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('transaction_read_only')")
        version, read_only = cursor.fetchone()
    if version < LEAST_POSTGRES:
        yield Finding("bad", "database", f"PostgreSQL {version // 10_000}", "use 15 or newer")
    if read_only == "on":
        yield Finding("bad", "database", "takes no writes", "point DATABASE_URL at the primary (target_session_attrs)")
    if not shutil.which("pg_dump"):
        yield Finding("warn", "database", "pg_dump is not in PATH: no backups", "install PostgreSQL's client programs")


def _connections() -> Findings:
    if connection.vendor != "postgresql":
        return
    pool = settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('max_connections')::int")
        (most,) = cursor.fetchone()
    fit = (most - 10) // pool
    level: Level = "warn" if fit < 3 else "ok"
    do = "lower DATABASE_POOL or raise max_connections" if fit < 3 else ""
    yield Finding(level, "database", f"{most} connections, {pool} for each process: enough for {fit} processes", do)


def _redis() -> Findings:
    if not settings.REDIS_URL:
        yield Finding("ok", "redis", "is not used: one web process")
        return
    try:
        redis.check(settings.REDIS_URL)
    except firststart.BadSetting as reason:
        yield Finding("bad", "redis", str(reason), "see the sentence")
    else:
        yield Finding("ok", "redis", "answers")


def _port() -> Findings:
    verdict, says = rounds.port(settings.HOST, settings.PORT)
    do = "stop the other program, or set PORT" if verdict == "bad" else ""
    yield Finding(verdict, "port", says, do)


def _proxy() -> Findings:
    if not settings.BEHIND_TLS:
        yield Finding("ok", "proxy", "none is expected (BEHIND_TLS is off)")
        return
    names = [name for name in settings.ALLOWED_HOSTS if name not in {*LOOPBACK, "[::1]", "*"}]
    if not names:
        yield Finding("warn", "proxy", "ALLOWED_HOSTS names no site", "set it to the name that people type")
    for name in names:
        verdict, says = rounds.proxy(name.lstrip("."))
        do = "" if verdict == "ok" else "compare the proxy's settings with deploy/nginx.conf or deploy/Caddyfile"
        yield Finding(verdict, "proxy", says, do)


def _backups() -> Findings:
    made, state = schedule.last_made(), schedule.state()
    age = None if made is None else (time.time() - made) / 3600
    says = "none is known" if age is None else f"the last one is {age:.0f} hours old"
    if not settings.BACKUP_EVERY:
        level: Level = "ok" if age is not None and age < 7 * 24 else "warn"
        yield Finding(level, "backups", says, "" if level == "ok" else "set BACKUP_EVERY, or have cron make them")
        return
    if state and state.error:
        yield Finding("bad", "backups", f"the last try failed: {state.error}", "mend that; it is tried again")
    elif age is None or age > OLD * settings.BACKUP_EVERY:
        yield Finding("warn", "backups", says, "is a worker running?")
    else:
        yield Finding("ok", "backups", says)


def _versions() -> Findings:
    python = ".".join(map(str, sys.version_info[:3]))
    program = backup.version() or "unknown"
    yield Finding("ok", "versions", f"Switchboard {program}, Python {python}, SQLite {sqlite3.sqlite_version}")
