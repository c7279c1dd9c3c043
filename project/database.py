"""Which database: SQLite in the data folder, or the PostgreSQL that DATABASE_URL names (docs/database.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

EXAMPLE = "postgres://user:password@host:5432/name"
SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
OPTIONS = {"sslmode", "sslrootcert", "sslcert", "sslkey", "host", "connect_timeout", "application_name", "options"}
# Of several hosts: which to take, and in what order they are tried.
CHOICES = {
    "target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
    "load_balance_hosts": {"disable", "random"},
}
OPTIONS |= set(CHOICES)
# Seconds. A pool that gives up soon begins anew with the next request: else its pauses double, and what waits
# for a database that came back waits as long as that was away.
WAIT, RECONNECT, IDLE = 3.0, 4.0, 60.0
ALIVE = {"keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3}


def sqlite(path: Path) -> dict[str, Any]:
    """Django's entry for a file."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # A deferred transaction that upgrades fails at once, whatever the timeout says.
            "transaction_mode": "IMMEDIATE",
            "timeout": 5,
            # FULL: what was answered survives a power cut too; group commit keeps it cheap.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }


def postgres(url: str, *, pool: int) -> dict[str, Any]:
    """Django's entry for a server, with at most `pool` connections in each process. Raises ImproperlyConfigured."""
    try:
        parts = urlsplit(url)
        hosts, ports = _places(parts.netloc.rpartition("@")[2])
    except ValueError as error:
        raise _wrong(f"is no URL ({error})") from None
    if parts.scheme not in {"postgres", "postgresql"}:
        raise _wrong(f"begins with {parts.scheme or 'nothing'}://, and only postgres:// is known")
    options = _options(parts.query)
    name = unquote(parts.path.removeprefix("/"))
    if not name or "/" in name or parts.fragment:
        raise _wrong("names no database")
    host = options.pop("host", "") or ",".join(hosts)
    if not host:
        raise _wrong("names no host")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": ",".join(ports) if any(ports) else "",
        "CONN_MAX_AGE": 0,  # the pool keeps them
        "CONN_HEALTH_CHECKS": True,  # none is handed out that a restart of the server has ended
        "OPTIONS": {"connect_timeout": 5, **ALIVE, **options, "pool": pool_of(pool)},
    }


def pool_of(most: int) -> dict[str, Any]:
    """The pool of one process; connections beyond the first are opened when they are needed."""
    return {
        "min_size": 1,
        "max_size": most,
        "timeout": WAIT,
        "reconnect_timeout": RECONNECT,
        "max_idle": IDLE,
        "max_waiting": 1000,
    }


def _options(query: str) -> dict[str, Any]:
    found: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    if strangers := sorted(set(found) - OPTIONS):
        raise _wrong(f"has the option {strangers[0]}; known: {', '.join(sorted(OPTIONS))}")
    if found.get("sslmode", "prefer") not in SSL_MODES:
        raise _wrong(f"has sslmode={found['sslmode']}; known: {', '.join(sorted(SSL_MODES))}")
    for name, known in CHOICES.items():
        if name in found and found[name] not in known:
            raise _wrong(f"has {name}={found[name]}; known: {', '.join(sorted(known))}")
    return found


def _places(netloc: str) -> tuple[list[str], list[str]]:
    """Hosts and their ports, of `one:5432,two,[::1]:5433`. Raises ValueError."""
    hosts, ports = [], []
    for place in netloc.split(","):
        parts = urlsplit(f"//{place}")
        if not parts.hostname and "," in netloc:
            raise ValueError("a host is missing")
        hosts.append(unquote(parts.hostname or ""))
        ports.append(str(parts.port or ""))
    return hosts, ports


def _wrong(what: str) -> ImproperlyConfigured:
    """Says nothing of the URL itself: there is a password in it."""
    return ImproperlyConfigured(f"DATABASE_URL {what}; set it like {EXAMPLE}, or leave it out to use SQLite.")
