"""Child processes: started, started again when they crash, and ended in an order that loses no work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from privategpt.orphan import PARENT_PIPE

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0  # seconds from a crash to the next start; doubles with each crash
LONGEST_PAUSE = 30.0
NOT_STARTED = 126  # the shell's exit status for it
STEADY = 60.0  # seconds of life after which a crash counts as the first one again


@dataclass(frozen=True, slots=True)
class Child:
    """What to start, and how it ends."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    grace: float = 10.0  # seconds from SIGTERM to SIGKILL
    descriptors: Sequence[int] = ()  # open files that it inherits
    final: Collection[int] = ()  # exit statuses that a new start would not change; the child has said why


class Supervisor:
    """Keeps children running. They end one after the other, in the order in which they are given."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._pipe, self._lifeline = os.pipe()  # only this process holds the lifeline: see privategpt.orphan
        self._keepers = {child.name: _Keeper(child, self._pipe) for child in children}

    def start(self) -> None:
        """Starts every child."""
        for keeper in self._keepers.values():
            keeper.start()

    def ends(self, name: str) -> int:
        """How often this child has ended by itself."""
        return self._keepers[name].ends

    def is_coming(self, name: str) -> bool:
        """Whether there is such a child, and it has not ended yet."""
        return name in self._keepers and not self._keepers[name].ends

    async def stop(self) -> None:
        """Ends the children, each after the one before has ended."""
        for keeper in self._keepers.values():
            keeper.is_ending = True  # none is started again while the others end
        for keeper in self._keepers.values():
            await keeper.stop()
        os.close(self._lifeline)
        os.close(self._pipe)

    def kill(self) -> None:
        """Ends every child at once."""
        for keeper in self._keepers.values():
            keeper.is_ending = True
            keeper.kill()


class _Keeper:
    """One child and its next lives."""

    def __init__(self, child: Child, pipe: int) -> None:
        self.child = child
        self.ends = 0
        self.is_ending = False
        self._pipe = pipe
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        while not self.is_ending:
            born = time.monotonic()
            status = await self._live()
            if self.is_ending:
                return
            self.ends += 1
            if status in self.child.final:
                return
            if time.monotonic() - born > STEADY:
                pause = FIRST_PAUSE
            logger.error("%s ended (%s); it starts again in %g s.", self.child.name, _reason(status), pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _live(self) -> int:
        """From the start to the end of the process; its exit status, negative for a signal."""
        try:
            process = self._process = await self._started()
        except OSError as error:  # no memory or no process left, for the moment
            logger.error("%s could not be started: %s", self.child.name, error)  # noqa: TRY400 - no fault of the code
            return NOT_STARTED
        status = await process.wait()
        _signal_group(process.pid, signal.SIGKILL)  # what it may have started and left
        self._process = None
        return status

    async def _started(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.child.command,
            stdin=asyncio.subprocess.DEVNULL,
            env={**self.child.environment, PARENT_PIPE: str(self._pipe)},
            pass_fds=(self._pipe, *self.child.descriptors),
            start_new_session=True,  # Ctrl+C reaches the supervisor alone, which ends them in order
        )

    async def stop(self) -> None:
        process, task = self._process, self._task
        if process is None:
            if task:
                task.cancel()  # it waits for its next start
            return
        # Not `process.terminate()`: it polls first, and would take the exit status from under asyncio.
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(self.child.grace):
                await process.wait()
        except TimeoutError:
            logger.warning("%s did not end within %g s and is killed.", self.child.name, self.child.grace)
            self.kill()
        if task:
            await task

    def kill(self) -> None:
        if self._process:
            _signal_group(self._process.pid, signal.SIGKILL)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already
        os.killpg(leader, number)


def _reason(status: int) -> str:
    return f"status {status}" if status >= 0 else f"signal {-status}"
