"""A child's signs of life for its supervisor: one a second, as long as its work goes on.

A process that stands still, and one whose work does, falls silent; what follows is for the supervisor to say."""

from __future__ import annotations

import os
import threading
import time

PULSE_PIPE = "SWITCHBOARD_PULSE_PIPE"  # the write end's file descriptor
EVERY = 1.0  # seconds
LOADING = 300.0  # seconds in which a process has loaded whatever it needs


class Pulse:
    """Beats in a thread of its own. Without a supervisor it does nothing."""

    def __init__(self, stuck_after: float) -> None:
        """`stuck_after`: seconds without `go_on` after which the work counts as standing still."""
        self._stuck_after = stuck_after
        self._until = time.monotonic() + LOADING
        number = os.environ.pop(PULSE_PIPE, "")  # this process's own children are its own business
        if number.isdecimal():
            threading.Thread(target=self._beat, args=(int(number),), name="pulse", daemon=True).start()

    def go_on(self) -> None:
        """The work has made a step."""
        self._until = time.monotonic() + self._stuck_after

    def _beat(self, pipe: int) -> None:
        try:
            os.set_blocking(pipe, False)
            while True:
                if time.monotonic() < self._until:
                    self._say(pipe)
                time.sleep(EVERY)
        except OSError:  # no such descriptor, or the supervisor has gone: what follows from that is privategpt.orphan's
            return

    def _say(self, pipe: int) -> None:
        try:
            os.write(pipe, b".")
        except BlockingIOError:  # nobody reads just now; what is there already says the same
            return
