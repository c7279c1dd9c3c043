"""Where a request comes from."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest

LONGEST = 64  # characters


def peer(request: HttpRequest) -> str:
    """The client's network address.

    Behind the TLS proxy the last entry of X-Forwarded-For is the proxy's own word; anybody could have
    written those before it. Without a proxy the header is a stranger's word and is not read.
    """
    if settings.BEHIND_TLS:
        last = request.headers.get("X-Forwarded-For", "").split(",")[-1].strip()
        if last:
            return last[:LONGEST]
    return str(request.META.get("REMOTE_ADDR") or "")


def peer_of(scope: Mapping[str, Any]) -> str:
    """The same for a request that Django has not seen, by its ASGI scope."""
    if settings.BEHIND_TLS:
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        last = b",".join(said).decode("latin-1").split(",")[-1].strip()
        if last:
            return last[:LONGEST]
    client = scope.get("client")
    return str(client[0]) if client else ""


def door(request: HttpRequest) -> str:
    """By which door a page's request came, as the audit log names it."""
    return "admin site" if request.path_info.startswith("/admin/") else "browser"


def network(address: str) -> str:
    """What one household or host can choose among counts as one: an IPv6 address's /64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)
