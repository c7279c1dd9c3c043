"""What a child process owes its supervisor: to say when it serves, and to end when it ends.

A child process that ends with its parent, also when the parent was killed and could say nothing.

The supervisor alone holds the write end of a pipe; each child inherits the read end
and reads end-of-file from it as soon as the supervisor is gone, however that came."""

import contextlib
import os
import signal
import threading
import time

PARENT_PIPE = "SWITCHBOARD_PARENT_PIPE"  # the read end's file descriptor
READY_PIPE = "SWITCHBOARD_READY_PIPE"  # the write end's file descriptor
RENEWED = "SWITCHBOARD_RENEWED"  # set in a process that takes the place of one that was told to leave


def is_renewed() -> bool:
    """Whether this process has taken another one's place just now."""
    return bool(os.environ.pop(RENEWED, ""))


def say_ready() -> None:
    """Tells the supervisor that this process serves; a second call, or one without a supervisor, does nothing."""
    number = os.environ.pop(READY_PIPE, "")
    if number.isdecimal():
        with contextlib.suppress(OSError):  # the supervisor has gone
            os.write(int(number), b"1")
            os.close(int(number))


def end_with_parent(grace: float) -> None:
    """From now on the parent's end means SIGTERM to this process, and its end at once after `grace` seconds.

    Does nothing in a process that no supervisor started.
    """
    number = os.environ.pop(PARENT_PIPE, "")  # this process's own children are its own business
    if number.isdecimal():
        threading.Thread(target=_wait, args=(int(number), grace), name="parent-watch", daemon=True).start()


def _wait(pipe: int, grace: float) -> None:
    try:
        while os.read(pipe, 1):
            pass
    except OSError:  # no such descriptor: the variable came from somewhere else
        return
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os._exit(1)
