"""How a log line looks: one line, whatever a stranger put into it, and which request it belongs to."""

import contextlib
import json
import logging
import os
import select
import sys
import traceback
from collections import Counter
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from accounts.faults import is_away
from relay.ids import request_id

# C0, DEL and C1, and the separators that some viewers break lines at.
ESCAPES = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}
ESCAPES |= {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}
PIECE = 4096  # bytes that a pipe takes at once when it says that it takes any (PIPE_BUF)

RECORDS: Counter[str] = Counter()  # what this process has logged, by level
Fault = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LineFormatter(logging.Formatter):
    """Time, level, logger and message, with line breaks and terminal codes of the message escaped."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The traceback that may follow keeps its lines; only what was logged is escaped."""
        record.message = record.message.translate(ESCAPES)
        found = request_id.get()
        return super().formatMessage(record) + (f" [{found}]" if found else "")


class JsonFormatter(logging.Formatter):
    """An object in one line. Of an exception it holds the kind and the places, not the text: that may be anybody's."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage().translate(ESCAPES),
            "process": record.process,
        }
        if found := request_id.get():
            entry["request_id"] = found
        if record.exc_info and record.exc_info[0]:
            entry |= _fault(record.exc_info)
        return json.dumps(entry)


def _fault(info: Fault) -> dict[str, Any]:
    kind, _, trace = info
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
    return {"exception": kind.__qualname__ if kind else "", "places": places}


class Refused(logging.Filter):
    """What Django refuses as suspicious is a stranger's doing: a line says so, and no traceback follows it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.security."):
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class NoTrace(logging.Filter):
    """Of a database that is away the log says so in a line; the place where that was noticed tells nobody anything."""

    def filter(self, record: logging.LogRecord) -> bool:
        fault = record.exc_info[1] if record.exc_info else None
        if is_away(fault):
            record.msg, record.args = f"{record.getMessage()} ({' '.join(str(fault).split())})", ()
            record.exc_info, record.exc_text = None, None
        return True


class Stderr(logging.Handler):
    """Standard error, which nobody waits for: a line that it does not take at once is counted and dropped.

    A log that is full, closed or not read must neither stop the event loop nor end a request.
    """

    terminator = "\n"

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        RECORDS[record.levelname] += 1
        try:
            line = self.format(record)
            if self.lost:
                line = f"{self._loss(record)}{self.terminator}{line}"
            self._write(f"{line}{self.terminator}")
            self.lost = 0
        except Exception:  # whatever is wrong with the log, those who log have done nothing wrong
            self.lost += 1

    def _loss(self, record: logging.LogRecord) -> str:
        says = f"{self.lost} lines of the log were lost: it took none."
        return self.format(logging.makeLogRecord({**_SELF, "msg": says, "created": record.created}))

    def _write(self, text: str) -> None:
        """Raises what the stream raises, and BlockingIOError when nobody reads the pipe."""
        stream = sys.stderr
        if stream is None:
            raise BrokenPipeError
        number = None
        with contextlib.suppress(OSError, ValueError):  # no file of the system's: a test's own stream
            number = stream.fileno()
        if number is None:
            stream.write(text)
            return
        data = text.encode("utf-8", "backslashreplace")
        while data:
            if not _takes(number):
                raise BlockingIOError
            data = data[os.write(number, data[:PIECE]) :]


_SELF = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}


def _takes(number: int) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poll.poll(0))
