"""Open files: as many as may be, and a reserve for the database that no connection gets."""

from __future__ import annotations

import asyncio
import logging
import resource
import time

from django.conf import settings

logger = logging.getLogger(__name__)

OTHERS = 4096  # files beside agents' and askers' sockets, generously
FEW = 8192  # a limit below it is worth a word at each start
RESERVE = 64  # files, at most an eighth of all, that are kept for the database, for logs and for the server's own work
SAID_EVERY = 10.0  # seconds
_most = resource.RLIM_INFINITY
_said_at = float("-inf")


def allow_many() -> None:
    """Every agent and every asker is an open file, and many systems begin with 1,024."""
    global _most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.RELAY["max_agents"] + OTHERS
    within = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < within:
        resource.setrlimit(resource.RLIMIT_NOFILE, (within, hard))
        soft = within
    _most = soft
    if soft != resource.RLIM_INFINITY and soft < min(wanted, FEW):
        logger.info("At most %d files may be open, so about as many connections; LimitNOFILE or `ulimit -Hn`.", soft)


def are_scarce(transport: asyncio.BaseTransport, *, left: float = 1.0) -> bool:
    """Whether this new connection is one of the reserve, or of this share of it. The kernel gives the lowest number
    that is free, so the number tells how many files are open."""
    connection = transport.get_extra_info("socket")
    if connection is None or _most == resource.RLIM_INFINITY:
        return False
    return bool(connection.fileno() >= _most - left * min(RESERVE, _most // 8))


def say_scarce() -> None:
    """Once in a while."""
    global _said_at
    if time.monotonic() - _said_at > SAID_EVERY:
        _said_at = time.monotonic()
        logger.error(
            "Nearly all of the %d files that may be open are; new connections are refused (503). "
            "Raise the limit: LimitNOFILE of the service, or `ulimit -n`.",
            _most,
        )
