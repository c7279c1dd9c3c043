"""A child process that ends with its parent, also when the parent was killed and could say nothing.

The supervisor alone holds the write end of a pipe; each child inherits the read end
and reads end-of-file from it as soon as the supervisor is gone, however that came."""

import os
import signal
import threading
import time

PARENT_PIPE = "SWITCHBOARD_PARENT_PIPE"  # the read end's file descriptor


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
