"""How a log line looks: one line, whatever a stranger put into it."""

import logging

# C0, DEL and C1, and the separators that some viewers break lines at.
ESCAPES = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}
ESCAPES |= {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class LineFormatter(logging.Formatter):
    """Time, level, logger and message, with line breaks and terminal codes of the message escaped."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The traceback that may follow keeps its lines; only what was logged is escaped."""
        record.message = record.message.translate(ESCAPES)
        return super().formatMessage(record)
