"""What `manage.py check --deploy` says about this server beyond Django's own list."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks

from privategpt.serving.listener import LOOPBACK


@checks.register(checks.Tags.security, deploy=True)
def others_can_listen(**kwargs: Any) -> list[checks.CheckMessage]:
    """Passwords and keys must not cross a network in clear."""
    if settings.HOST in LOOPBACK or settings.BEHIND_TLS:
        return []
    return [
        checks.Warning(
            f"HOST is {settings.HOST}: others can reach the server, and passwords and keys cross the network in clear.",
            hint="Put a proxy that ends TLS in front and set BEHIND_TLS=on (docs/operations.md).",
            id="switchboard.W001",
        )
    ]
