"""What can be seen of the server from outside: its port, and the proxy in front of it."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from typing import Literal

WITHIN = 3.0  # seconds
Verdict = tuple[Literal["ok", "warn", "bad"], str]


class _Still(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """What is answered is looked at, not where it leads."""


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Still)


def port(host: str, number: int) -> Verdict:
    """Free, ours, or somebody else's."""
    place = "127.0.0.1" if host in {"", "0.0.0.0", "localhost"} else host  # noqa: S104 - compared, not bound
    shown = f"[{place}]" if ":" in place else place
    try:
        socket.create_connection((place, number), timeout=WITHIN).close()
    except OSError:
        return "ok", f"{number} is free: no server runs there"
    status = _status(f"http://{shown}:{number}/health", {"Host": "localhost"})
    if status in {200, 400}:  # 400: it takes only its own names
        return "ok", f"a server answers at {number}"
    return "bad", f"something else has port {number}"


def proxy(name: str) -> Verdict:
    """Whether the site answers over TLS, and keeps its figures to itself."""
    status = _status(f"https://{name}/health")
    if status != 200:
        return "warn", f"https://{name}/health does not answer from here ({status or 'no connection'})"
    if _status(f"https://{name}/metrics") == 200:
        return "bad", f"https://{name}/metrics is readable from outside"
    return "ok", f"https://{name} answers over TLS"


def _status(url: str, headers: dict[str, str] | None = None) -> int:
    """0 when nobody answers."""
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310 - our own addresses
    try:
        with _opener.open(request, timeout=WITHIN) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as fault:
        return int(fault.code)
    except (OSError, ValueError):
        return 0
