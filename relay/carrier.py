"""Carries parcels between processes through Redis, by publish and subscribe; connects again when Redis was away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.1  # seconds to the first try to connect again; doubles up to
LONGEST_PAUSE = 1.0
CONNECT_WITHIN = 2.0
PUBLISH_WITHIN = 2.0  # a Redis that answers more slowly counts as away

Posted = tuple[str, bytes]  # where to, and what


class Office(Protocol):
    """Whose parcels are carried."""

    def connected(self) -> None:
        """From now on what is sent to this process arrives."""

    def cut_off(self) -> None:
        """Redis is away: anything may be lost."""

    def outgoing(self) -> Sequence[Posted]:
        """What is to be sent now; asked again until there is nothing."""

    def delivered(self, posted: Sequence[Posted], receivers: Sequence[int]) -> None:
        """How many processes got each."""

    def incoming(self, data: bytes) -> None:
        """A parcel for this process."""


class Carrier:
    """Two connections, one that publishes and one that is subscribed; both end with either of them."""

    def __init__(self, url: str, channels: Sequence[str], office: Office) -> None:
        self._url, self._channels, self._office = url, channels, office
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_up = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, last: Posted) -> None:
        """Says one last thing if that can be done at once."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.is_up:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with client(self._url, PUBLISH_WITHIN) as redis:
                    await redis.publish(*last)

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            why = "the connection was closed"
            try:
                await self._connected()
            except (RedisError, OSError, TimeoutError) as fault:
                why = str(fault)
            except ExceptionGroup as faults:
                _, others = faults.split((RedisError, OSError, TimeoutError))
                if others:
                    logger.exception("The line to the other processes stumbled and begins anew.")
                why = str(faults.exceptions[0])
            except Exception as fault:
                logger.exception("The line to the other processes stumbled and begins anew.")
                why = str(fault)
            was_up, self.is_up = self.is_up, False
            if was_up:
                logger.warning("Redis is away (%s); agents of other processes are out of reach until it is back.", why)
                self._office.cut_off()
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - not all processes at the same moment
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _connected(self) -> None:
        async with client(self._url, PUBLISH_WITHIN) as writer, client(self._url, None) as reader:
            await writer.ping()
            async with reader.pubsub() as subscription:
                await subscription.subscribe(*self._channels)
                for _ in self._channels:
                    async with asyncio.timeout(CONNECT_WITHIN):
                        await subscription.parse_response()
                self.is_up = True
                self._office.connected()
                self._wake.set()
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._read(subscription))
                    both.create_task(self._write(writer))

    async def _read(self, subscription: Any) -> None:
        while True:
            answer = await subscription.parse_response()
            if answer[0] == b"message":
                self._office.incoming(answer[2])

    async def _write(self, writer: Redis) -> None:
        """All that waits goes out in one write; what comes meanwhile waits for the next one."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while posted := self._office.outgoing():
                pipeline = writer.pipeline(transaction=False)
                for channel, data in posted:
                    pipeline.publish(channel, data)
                self._office.delivered(posted, await pipeline.execute())


def client(url: str, within: float | None) -> Redis:
    """A client that repeats nothing by itself: nobody could tell what arrived twice, or not at all."""
    return Redis.from_url(
        url,
        protocol=2,  # its messages need no dispatching in the client
        socket_connect_timeout=CONNECT_WITHIN,
        socket_timeout=within,
        retry=Retry(NoBackoff(), 0),
    )
