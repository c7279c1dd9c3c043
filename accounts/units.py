"""Whole units of work: a transaction that the database gave up for others' sake is made again, from its beginning."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, connection

from accounts.faults import is_lost

logger = logging.getLogger(__name__)

TRIES = 5
FIRST_PAUSE = 0.02  # seconds at most; each next one may be twice as long

P = ParamSpec("P")
T = TypeVar("T")


def unit(function: Callable[P, T]) -> Callable[P, T]:
    """For a function that commits once, at its end: it is called anew when its transaction lost to others.

    Inside a transaction of its caller's that one is the unit, and this does nothing.
    """

    @functools.wraps(function)
    def called(*args: P.args, **named: P.kwargs) -> T:
        for number in range(1, TRIES):
            if connection.in_atomic_block:
                break
            try:
                return function(*args, **named)
            except DatabaseError as fault:
                if not is_lost(fault):
                    raise
                logger.info("A transaction gave way to another one and is made again (%d of %d).", number, TRIES - 1)
            # At random, so that the two do not meet again.
            time.sleep(random.uniform(0, FIRST_PAUSE * 2 ** (number - 1)))  # noqa: S311 - no secret
        return function(*args, **named)

    return called
