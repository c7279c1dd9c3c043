"""A start waits for what is away for a moment: a service manager gives up on whoever ends at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings

T = TypeVar("T")
logger = logging.getLogger(__name__)

BETWEEN = 0.5  # seconds between two tries


class Away(Exception):
    """Not there just now; it may come by itself. Says what it is, and why."""


def patiently(attempt: Callable[[], T]) -> T:
    """What the attempt returns; made again for START_PATIENCE seconds while it raises Away, which then comes out."""
    until, has_said = time.monotonic() + settings.START_PATIENCE, False
    while True:
        try:
            return attempt()
        except Away as reason:
            if time.monotonic() >= until:
                raise
            if not has_said:
                logger.warning("%s Waiting for it for up to %g s.", reason, settings.START_PATIENCE)
                has_said = True
        time.sleep(BETWEEN)
