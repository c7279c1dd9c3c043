"""Child processes: started, started again when they crash, and ended in an order that loses no work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from privategpt.orphan import PARENT_PIPE, READY_PIPE, RENEWED
from privategpt.pulse import PULSE_PIPE
from privategpt.serving.parts import DOWN, ENDED, SILENT, STARTING, UNREACHABLE, UP, Part

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0  # seconds from a crash to the next start; doubles with each crash
LONGEST_PAUSE = 30.0
NOT_STARTED = 126  # the shell's exit status for it
STEADY = 60.0  # seconds of life after which a crash counts as the first one again
READY_WITHIN = 60.0  # seconds from a start to the child's word that it serves
LOOK = 1.0  # seconds between two looks at the children's signs of life
LATE = 1.0  # seconds that a look may be late before its judgements are put off: what came meanwhile is read first
SILENT_FOR = 15.0  # seconds without a sign of life after which a child is killed and started anew
FIRST_SIGN = 120.0  # the same before the first one
REACHED_EVERY = 5.0  # seconds between two looks whether a child can be reached
MISSES = 3  # such looks in a row after which one that could be reached before is killed and started anew
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
    has_pulse: bool = False  # it gives signs of life (privategpt.pulse)
    reached: Callable[[], bool] | None = None  # whether others can reach it; returns at once


class Supervisor:
    """Keeps children running. They end one after the other, in the order in which they are given."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._pipe, self._lifeline = os.pipe()  # only this process holds the lifeline: see privategpt.orphan
        self._keepers = {child.name: _Keeper(child, self._pipe) for child in children}
        self._renewing = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts every child."""
        for keeper in self._keepers.values():
            keeper.start()
        self._watch = asyncio.get_running_loop().create_task(self._look_after())

    async def _look_after(self) -> None:
        """Kills who stands still; it starts again as after any crash."""
        due = time.monotonic() + LOOK
        while True:
            await asyncio.sleep(LOOK)
            now = time.monotonic()
            is_late, due = now - due > LATE, now + LOOK
            if is_late:  # this process stood still itself
                continue
            for keeper in self._keepers.values():
                keeper.look(now)

    def parts(self) -> list[Part]:
        """How every child stands."""
        return [keeper.part() for keeper in self._keepers.values()]

    def ends(self, name: str) -> int:
        """How often this child has ended by itself."""
        return self._keepers[name].ends

    def is_coming(self, name: str) -> bool:
        """Whether there is such a child, and it has not ended yet."""
        return name in self._keepers and not self._keepers[name].ends

    async def stop(self) -> None:
        """Ends the children, each after the one before has ended; those of a group at the same time."""
        if self._watch:
            self._watch.cancel()
        for keeper in self._keepers.values():
            keeper.is_ending = True  # none is started again while the others end
        for _, group in groupby(self._keepers.values(), lambda keeper: keeper.child.group or keeper.child.name):
            await asyncio.gather(*[keeper.stop() for keeper in group])
        os.close(self._lifeline)
        os.close(self._pipe)

    async def renew(self) -> bool:
        """Has the renewable children end and start again, one after the other, so that there is always one that
        serves if there are several. When one does not come back, the others stay as they are: False."""
        async with self._renewing:
            for keeper in self._keepers.values():
                if keeper.child.is_renewable and not await keeper.renew():
                    logger.error("%s does not come back; the others are left as they are.", keeper.child.name)
                    return False
        return True

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
        self._born = self._heard_at = 0.0  # monotonic; heard at 0: not yet in this life
        self._reached_at = 0.0  # of the last look
        self._misses = 0  # in a row
        self._was_reached = False  # in this life
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
        self._born, self._heard_at, self._misses, self._was_reached = time.monotonic(), 0.0, 0, False
        said: list[int] = []
        if self.child.is_renewable:
            environment[READY_PIPE] = str(self._open_pipe(said, self._heard))
            environment |= {RENEWED: "1"} if self._is_renewing else {}
        if self.child.has_pulse:
            environment[PULSE_PIPE] = str(self._open_pipe(said, self._beat))
        descriptors += said
        try:
            return await asyncio.create_subprocess_exec(
                *self.child.command,
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl+C reaches the supervisor alone, which ends them in order
            )
        finally:
            for pipe in said:
                os.close(pipe)

    def _open_pipe(self, said: list[int], heard: Callable[[int], None]) -> int:
        """Its write end, for the child."""
        read, write = os.pipe()
        said.append(write)
        asyncio.get_running_loop().add_reader(read, heard, read)
        return write

    def _beat(self, pipe: int) -> None:
        """A sign of life; or the process, whose was the pipe, has ended."""
        if os.read(pipe, 4096):
            self._heard_at = time.monotonic()
            return
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)

    def look(self, now: float) -> None:
        """Ends a process that gives no sign of life, or that nobody can reach any more."""
        if self._process is None or self.is_ending or self._is_renewing:
            return
        if self._is_silent(now):
            silent = now - (self._heard_at or self._born)
            logger.error("%s gave no sign of life for %.0f s; it is killed and starts again.", self.child.name, silent)
            self.kill()
        elif self.child.reached and now - self._reached_at >= REACHED_EVERY:
            self._reached_at = now
            is_reached = self.child.reached()
            self._was_reached = self._was_reached or is_reached
            self._misses = 0 if is_reached or not self._was_reached else self._misses + 1
            if self._misses >= MISSES:
                logger.error("%s cannot be reached any more; it is killed and starts again.", self.child.name)
                self.kill()

    def _is_silent(self, now: float) -> bool:
        if not self.child.has_pulse:
            return False
        return now - self._heard_at > SILENT_FOR if self._heard_at else now - self._born > FIRST_SIGN

    def part(self) -> Part:
        return Part(self.child.name, self._state(), self.ends)

    def _state(self) -> str:
        if self._process is None:
            return ENDED if self._task and self._task.done() else DOWN
        if self._is_silent(time.monotonic()):
            return SILENT
        if self.child.has_pulse and not self._heard_at:
            return STARTING
        if self.child.reached and not self._was_reached:
            return STARTING
        return UNREACHABLE if self._misses else UP

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
