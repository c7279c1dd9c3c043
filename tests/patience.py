"""How long a test waits for one step before it calls it a hang: a deadline, never a pause."""

from __future__ import annotations

# Seconds. A step takes a few on a quiet machine; the suite must also pass beside other work on one half as fast.
PATIENCE = 150.0
