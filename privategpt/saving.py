"""Answers on their way into their rows: many growing texts share one transaction a few times a second.

A last save is written at once, and whoever waits for it is told when it is on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import DatabaseError, IntegrityError, close_old_connections
from django.db.models import Q

from accounts.units import unit
from privategpt.models import LOST, Citation, Message, Source
from privategpt.writing import transaction_in_turn

logger = logging.getLogger(__name__)

SAVE_EVERY = 0.25  # seconds between two saves of growing texts
GAP = 0.004  # seconds between the starts of two commits under load
RETRY = 0.5  # seconds until a save that failed is tried again
LAST_TRIES = 60  # of a last save: half a minute of a full disk or a locked database

# An answer that somebody took for lost (a clock that jumped) but that goes on is not lost.
STILL_OURS = Q(state__in=[Message.State.WAITING, Message.State.ANSWERING]) | Q(state=Message.State.FAILED, error=LOST)


@dataclass(slots=True)
class Save:
    """What is to be written of one answer; `values` are columns of its row."""

    pk: UUID
    values: dict[str, Any]
    citations: Sequence[Citation] = ()
    cited: Sequence[int] = ()
    is_stopped: bool = False  # its row may say so already: whoever stopped it could not know its last words
    tries: int = 0


@dataclass(eq=False, slots=True)
class Saved:
    """One answer as the saver knows it: where its values come from, and whom to tell."""

    pk: UUID
    current: Callable[[], Save]
    lost: Callable[[], None]  # its row is gone, or somebody else ended it
    last: Save | None = None
    done: Callable[[bool], None] | None = None  # whether the last save succeeded
    heard: Callable[[], None] | None = None  # that its citations are on the disk


class Saver:
    """Bound to the running event loop; writes in one thread."""

    def __init__(self, told: Callable[[Collection[UUID]], None] | None = None) -> None:
        """`told` hears which rows were written."""
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._growing: dict[UUID, Saved] = {}
        self._ended: dict[UUID, Saved] = {}
        self._timer: asyncio.Handle | None = None
        self._due = 0.0  # the loop's time at which it fires
        self._work: asyncio.Task[None] | None = None
        self._begun_at = float("-inf")
        self._is_closed = False

    def touch(self, saved: Saved, *, within: float = SAVE_EVERY) -> None:
        """Its row is to follow its text soon."""
        self._growing[saved.pk] = saved
        self._plan(within)

    def finish(self, saved: Saved, last: Save, done: Callable[[bool], None]) -> None:
        """Writes its end now; `done` hears on the loop whether that succeeded (False also when the row is gone)."""
        self._growing.pop(saved.pk, None)
        saved.last, saved.done = last, done
        self._ended[saved.pk] = saved
        self._plan(0)

    async def close(self) -> None:
        """Returns when every last save is written or given up."""
        while self._ended or self._work:
            await (self._work or asyncio.sleep(GAP))
        self._is_closed = True
        if self._timer:
            self._timer.cancel()
        self._thread.shutdown(wait=False)

    def _plan(self, within: float) -> None:
        if self._work or self._is_closed:
            return  # what is at work plans the next one when it ends
        due = max(self._loop.time() + within, self._begun_at + GAP)
        if self._timer and self._due <= due:
            return
        if self._timer:
            self._timer.cancel()
        self._timer, self._due = self._loop.call_at(due, self._start), due

    def _start(self) -> None:
        self._timer = None
        self._begun_at = self._loop.time()
        self._work = self._loop.create_task(self._flush())

    async def _flush(self) -> None:
        growing, self._growing = self._growing, {}
        ended, self._ended = self._ended, {}
        last = [saved.last for saved in ended.values() if saved.last]
        current = {pk: saved.current() for pk, saved in growing.items()}
        try:
            kept, failed = await self._written([*last, *current.values()])
            if self._told:
                self._told(kept)
            for saved in growing.values():
                if saved.pk in kept and saved.heard and current[saved.pk].citations:
                    saved.heard()
                elif saved.pk in failed:
                    self._growing.setdefault(saved.pk, saved)
                elif saved.pk not in kept:
                    saved.lost()
            for saved in ended.values():
                self._settle(saved, is_kept=saved.pk in kept, may_retry=saved.pk in failed)
        finally:
            self._work = None
            if any(saved.last and not saved.last.tries for saved in self._ended.values()):
                self._plan(0)
            elif self._ended or self._growing:
                self._plan(RETRY if self._ended else SAVE_EVERY)

    async def _written(self, saves: Sequence[Save]) -> tuple[set[UUID], set[UUID]]:
        """What `write` returns, whoever cancels us: the thread goes on, and somebody waits for its word."""
        writing = self._loop.run_in_executor(self._thread, _write_and_let_go, saves)
        while not writing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([writing])
        return writing.result()

    def _settle(self, saved: Saved, *, is_kept: bool, may_retry: bool) -> None:
        if saved.last is None or saved.done is None:
            return
        saved.last.tries += 1
        if may_retry and saved.last.tries < LAST_TRIES:
            self._ended[saved.pk] = saved
        else:
            saved.done(is_kept)


def _write_and_let_go(saves: Sequence[Save]) -> tuple[set[UUID], set[UUID]]:
    close_old_connections()
    try:
        return write(saves)
    finally:
        close_old_connections()


def write(saves: Sequence[Save], *, again: bool = True) -> tuple[set[UUID], set[UUID]]:
    """All in one transaction; when that fails, each by itself. Returns whose rows took it, and whose could not."""
    try:
        return _written_together(sorted(saves, key=lambda save: save.pk)), set()
    except (DatabaseError, ValueError) as fault:
        if len(saves) == 1 and again and isinstance(fault, IntegrityError):
            return write(saves, again=False)  # a source went away at this very moment: now its absence is seen
        if len(saves) == 1:
            logger.error("An answer could not be saved: %s", fault)  # noqa: TRY400 - the trace holds the text
            return set(), {saves[0].pk}
    kept, failed = set(), set()
    for save in saves:
        took, not_taken = write([save])
        kept |= took
        failed |= not_taken
    return kept, failed


@unit
def _written_together(saves: Sequence[Save]) -> set[UUID]:
    """In one order, whichever process writes: two that meet must not wait for each other."""
    with transaction_in_turn():
        return {save.pk for save in saves if _write(save)}


def _write(save: Save) -> bool:
    may_write = STILL_OURS | Q(state=Message.State.STOPPED) if save.is_stopped else STILL_OURS
    if not Message.objects.filter(may_write, pk=save.pk).update(**save.values):
        return False
    if save.citations:
        # Sources that went away since they were found take their citations with them.
        wanted = {row.source_id for row in save.citations}
        doomed = Source.objects.doomed().values("pk")
        alive = set(Source.objects.filter(pk__in=wanted).exclude(pk__in=doomed).values_list("pk", flat=True))
        rows = [row for row in save.citations if row.source_id in alive]
        Citation.objects.bulk_create(rows, ignore_conflicts=True)
    if save.cited:
        Citation.objects.filter(message=save.pk, number__in=save.cited).update(is_cited=True)
    return True
