"""What `manage.py serve` runs: a row for each child process, in the order in which they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from privategpt.serving import firststart
from privategpt.serving.listener import SOCKET, Site
from privategpt.serving.supervisor import Child

WEB = "The web server"
AGENT = "The built-in agent"
NO_MODEL = 3  # exit status of runagent, which says itself what is missing
MANAGE = (sys.executable, str(Path(settings.BASE_DIR) / "manage.py"))
CLOSING = 10.0  # seconds of the web server after its drain, for sockets and the last writes


def children(site: Site, descriptor: int, admin_key: str) -> list[Child]:
    """The table. Secrets go by environment: arguments stand in the list of processes."""
    environment = {name: value for name, value in os.environ.items() if name != "ADMIN_PASSWORD"}
    environment |= {"HOST": site.host, "PORT": str(site.port)} | ({"ADMIN_KEY": admin_key} if admin_key else {})
    rows = [
        Child(
            WEB,
            (*MANAGE, "serve", "--only", "web"),
            environment | {SOCKET: str(descriptor)},
            grace=settings.DRAIN_SECONDS + CLOSING,
            descriptors=(descriptor,),
        )
    ]
    # After the web server: asks under way need it until the drain is over.
    return [*rows, _agent(site, environment)] if settings.BUILTIN_AGENT else rows


def _agent(site: Site, environment: Mapping[str, str]) -> Child:
    needs_token = not (settings.AGENTS_FROM_LOOPBACK and site.is_local)
    return Child(
        AGENT,
        (
            *(*MANAGE, "runagent", "--name", "built-in"),
            *("--url", f"ws://{site.address}/client/register"),
            *("--state", str(Path(settings.DATA_DIR) / "built_in_agent")),
        ),
        {**environment, "AGENT_TOKEN": firststart.agent_key() if needs_token else ""},
        final={NO_MODEL},
    )
