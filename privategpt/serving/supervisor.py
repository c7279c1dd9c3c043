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
from itertools import groupby

from privategpt.orphan import PARENT_PIPE, READY_PIPE, RENEWED

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0  # seconds from a crash to the next start; doubles with each crash
LONGEST_PAUSE = 30.0
NOT_STARTED = 126  # the shell's exit status for it
STEADY = 60.0  # seconds of life after which a crash counts as the first one again
READY_WITHIN = 60.0  # seconds from a start to the child's word that it serves
LEAVE = signal.SIGUSR1  # to a child that is to be renewed: let the others go on with the work, and end


@dataclass(frozen=True, slots=True)
class Child:
    """What to start, and how it ends."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    grace: float = 10.0  # seconds from SIGTERM to SIGKILL
    descriptors: Sequence[int] = ()  # open files that it inherits
    final: Collection[int] = ()  # exit statuses that a new start would not change; the child has said why
    group: str = ""  # those of one group that stand together end at the same time
    is_renewable: bool = False  # it knows LEAVE, and says through READY_PIPE when it serves


class Supervisor:
    """Keeps children running. They end one after the other, in the order in which they are given."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._pipe, self._lifeline = os.pipe()  # only this process holds the lifeline: see privategpt.orphan
        self._keepers = {child.name: _Keeper(child, self._pipe) for child in children}
        self._renewing = asyncio.Lock()

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
        """Ends the children, each after the one before has ended; those of a group at the same time."""
        for keeper in self._keepers.values():
            keeper.is_ending = True  # none is started again while the others end
        for _, group in groupby(self._keepers.values(), lambda keeper: keeper.child.group or keeper.child.name):
            await asyncio.gather(*[keeper.stop() for keeper in group])
        os.close(self._lifeline)
        os.close(self._pipe)

    async def renew(self) -> None:
        """Has the renewable children end and start again, one after the other, so that there is always one that
        serves if there are several. When one does not come back, the others stay as they are."""
        if self._renewing.locked():
            return
        async with self._renewing:
            for keeper in self._keepers.values():
                if keeper.child.is_renewable and not await keeper.renew():
                    logger.error("%s does not come back; the others are left as they are.", keeper.child.name)
                    return

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
        self._is_renewing = False
        self._serves = asyncio.Event()
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
            if self._is_renewing:
                continue
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
        environment = {**self.child.environment, PARENT_PIPE: str(self._pipe)}
        descriptors = [self._pipe, *self.child.descriptors]
        self._serves.clear()
        if self.child.is_renewable:
            heard, said = os.pipe()
            descriptors.append(said)
            environment[READY_PIPE] = str(said)
            environment |= {RENEWED: "1"} if self._is_renewing else {}
            asyncio.get_running_loop().add_reader(heard, self._heard, heard)
        try:
            return await asyncio.create_subprocess_exec(
                *self.child.command,
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl+C reaches the supervisor alone, which ends them in order
            )
        finally:
            if self.child.is_renewable:
                os.close(said)

    def _heard(self, pipe: int) -> None:
        """The child serves, or has ended before it could say so."""
        if os.read(pipe, 1):
            self._serves.set()
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)

    async def renew(self) -> bool:
        """Ends the process in its own time and starts the next; False when that does not come to serve."""
        process = self._process
        if process is None or self.is_ending:
            return not self.is_ending
        self._is_renewing = True
        self._serves.clear()
        try:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, LEAVE)
            await self._end_of(process)
            async with asyncio.timeout(READY_WITHIN):
                await self._serves.wait()
        except TimeoutError:
            return False
        finally:
            self._is_renewing = False
        return True

    async def _end_of(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(self.child.grace):
                await process.wait()
        except TimeoutError:
            logger.warning("%s did not end within %g s and is killed.", self.child.name, self.child.grace)
            self.kill()

    async def stop(self) -> None:
        process, task = self._process, self._task
        if process is None:
            if task:
                task.cancel()  # it waits for its next start
            return
        # Not `process.terminate()`: it polls first, and would take the exit status from under asyncio.
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        await self._end_of(process)
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
