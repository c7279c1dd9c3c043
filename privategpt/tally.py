"""What became of the answers of this process, counted: by backend and outcome, never by person or text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

Told = Callable[[str, float, Mapping[str, str]], None]  # what has just ended, its seconds, and how

REGISTRY = CollectorRegistry()
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

ANSWERS = Counter("switchboard_answers", "Answers in chats that have ended.", ["backend", "outcome"], registry=REGISTRY)
FIRST = Histogram(
    "switchboard_answer_first_text_seconds",
    "From the start of an answer to its first text.",
    ["backend"],
    buckets=SECONDS,
    registry=REGISTRY,
)
WHOLE = Histogram(
    "switchboard_answer_seconds",
    "From the start of an answer to its end.",
    ["backend"],
    buckets=SECONDS,
    registry=REGISTRY,
)
SEARCHES = Histogram(
    "switchboard_search_seconds", "Searches for the passages of an answer.", buckets=FAST, registry=REGISTRY
)
TOKENS = Counter("switchboard_tokens", "Tokens, where the backend says how many.", ["kind"], registry=REGISTRY)
CHARACTERS = Counter("switchboard_answer_characters", "Characters of answers.", registry=REGISTRY)


class Listener:
    """Who else is told when a search or an answer has ended; nobody, unless somebody traces."""

    told: Told | None = None


LISTENER = Listener()


def searched(seconds: float) -> None:
    """A search is over."""
    SEARCHES.observe(seconds)
    if LISTENER.told:
        LISTENER.told("search", seconds, {})


def answered(backend: str, outcome: str, trace: Mapping[str, Any], characters: int) -> None:
    """An answer is over. `trace` is its own: times in milliseconds, and tokens when they are known."""
    name = backend or "none"
    ANSWERS.labels(name, outcome).inc()
    CHARACTERS.inc(characters)
    times = trace["times"]
    if "first" in times:
        FIRST.labels(name).observe(times["first"] / 1000)
    if "done" in times:
        WHOLE.labels(name).observe(times["done"] / 1000)
        if LISTENER.told:
            LISTENER.told("generation", times["done"] / 1000, {"backend": name, "outcome": outcome})
    for kind, count in trace.get("tokens", {}).items():
        TOKENS.labels(kind).inc(count or 0)
