"""Whether the server that was started answers, and whether an agent has dialled in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
from django.conf import settings

from privategpt.serving.listener import Site

BETWEEN = 0.1  # seconds between two looks
READ_WITHIN = 3.0  # of one look
AGENT_WITHIN = 20.0  # seconds that the screen waits for the first agent, which loads a model


async def until_healthy(site: Site, *, given_up: Callable[[], bool]) -> bool:
    """True when the server answers; False as soon as `given_up` says so."""
    async with _client(site) as client:
        while not given_up():
            try:
                if (await client.get("/health")).status_code < 500:
                    return True
            except httpx.HTTPError:
                pass
            await asyncio.sleep(BETWEEN)
    return False


async def first_agents(site: Site, admin_key: str, *, coming: Callable[[], bool]) -> int:
    """How many agents are there, as soon as one is or none is coming any more."""
    until = time.monotonic() + AGENT_WITHIN
    async with _client(site) as client:
        while True:
            found = await _agents(client, admin_key)
            if found or not coming() or time.monotonic() > until:
                return found
            await asyncio.sleep(BETWEEN)


async def _agents(client: httpx.AsyncClient, admin_key: str) -> int:
    try:
        reply = await client.get("/api/connections", headers={"Authorization": admin_key})
        listed: Any = reply.json()["connections"]
        return len(listed)
    except (httpx.HTTPError, ValueError, KeyError):
        return 0


def _client(site: Site) -> httpx.AsyncClient:
    host = settings.ALLOWED_HOSTS[0].lstrip(".").replace("*", "localhost")  # the address itself may not be allowed
    # No proxy from the environment: this goes to our own child.
    return httpx.AsyncClient(
        base_url=f"http://{site.address}", headers={"Host": host}, trust_env=False, timeout=READ_WITHIN
    )
