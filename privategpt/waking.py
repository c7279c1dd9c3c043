"""Word between the processes that answers have changed, through the channel layer: "look at these rows now".

Hints only. The layer may lose them, and then the rows are looked at all the same, a little later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID, uuid4

from channels.layers import get_channel_layer
from django.conf import settings
from redis.exceptions import RedisError

GROUP = "answers"
TOLD_EVERY = 0.04  # seconds; what changes meanwhile goes into one message
WITHIN = 2.0  # seconds for a message; after that Redis counts as away
RETRY = 1.0  # seconds
MOST = 2_000  # answers in one message; of more, nobody is told
AWAY = (RedisError, OSError, TimeoutError)


class Waker:
    """One process's ear and mouth. Silent and deaf where there is no Redis."""

    def __init__(self, changed: Callable[[UUID], None]) -> None:
        """`changed` hears on the loop which answers other processes have written to."""
        self._layer: Any = get_channel_layer() if settings.REDIS_URL else None
        self._own = uuid4().hex
        self._changed = changed
        self._pks: set[UUID] = set()
        self._sending: asyncio.Task[None] | None = None
        self._listening = asyncio.create_task(self._listen()) if self._layer else None

    @property
    def is_alone(self) -> bool:
        """Whether no word ever comes."""
        return self._layer is None

    def tell(self, pks: Iterable[UUID]) -> None:
        """The rows of these answers were written just now."""
        if self._layer is None:
            return
        self._pks.update(pks)
        if self._pks and self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        for task in (self._listening, self._sending):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, *AWAY):
                    await task

    async def _send(self) -> None:
        try:
            while self._pks:
                pks, self._pks = self._pks, set()
                message = {"type": "answers.changed", "by": self._own, "pks": [str(pk) for pk in list(pks)[:MOST]]}
                async with asyncio.timeout(WITHIN):
                    await self._layer.group_send(GROUP, message)
                await asyncio.sleep(TOLD_EVERY)
        except AWAY:
            self._pks.clear()
        finally:
            self._sending = None

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(*AWAY):
                channel = await self._layer.new_channel()
                await self._layer.group_add(GROUP, channel)
                while True:
                    message = await self._layer.receive(channel)
                    if message.get("by") != self._own:
                        for pk in message.get("pks", ()):
                            self._changed(UUID(pk))
            await asyncio.sleep(RETRY)
