"""The relay's limits as one typed value; what each means stands beside it in the settings (README, "Settings")."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

TICK = 0.25  # seconds between two looks at the clock for deadlines and pings
RETRIES = 2  # other agents that an ask may go to after it was lost
FAILURES_TO_REST = 5  # in a row: broken or error answers, or answers to nothing that was asked


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    ask_timeout: float
    agent_timeout: float
    queue_wait: float
    queue_size: int
    queue_per_user: int
    max_ask_bytes: int
    max_frame_bytes: int
    max_agents: int
    ping_every: float
    pong_within: float
    agent_return: float
    agent_rest: float
    claim_ping: float
    confirm_within: float
    conversation_days: float

    @classmethod
    def from_settings(cls) -> "Limits":
        values: dict[str, Any] = settings.RELAY
        return cls(**values)
