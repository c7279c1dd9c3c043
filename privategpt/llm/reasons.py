"""Why an endpoint ended its answer: the words for it that are known, and what each means. No other word ends one."""

from __future__ import annotations

from privategpt.llm.base import BackendError

LENGTH, FILTER, TOOLS, REFUSAL = "length", "content_filter", "tool_calls", "refusal"
WHOLE, BROKEN = "stop", "error"
LONGEST_SAID = 300  # characters of an endpoint's own words

# In lower case. Each endpoint has words of its own; a word that is not here ends nothing.
KNOWN = {
    **dict.fromkeys(
        ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete", "completed", "done"), WHOLE
    ),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length", "max_length"), LENGTH),
    **dict.fromkeys(
        ("content_filter", "content_filtered", "safety", "sensitive", "recitation", "blocklist", "prohibited_content"),
        FILTER,
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), TOOLS),
    REFUSAL: REFUSAL,
    **dict.fromkeys(
        ("error", "abort", "aborted", "cancelled", "canceled", "network_error", "insufficient_system_resource"), BROKEN
    ),
}
# What an endpoint may write while the answer goes on.
NOT_YET = frozenset({"", "null", "none", "nil", "undefined", "not_finished", "unfinished", "in_progress"})
CUTS = frozenset({LENGTH, FILTER, TOOLS, REFUSAL})  # the answer is not whole

OURS = 422  # the status of what the question itself earned: another try, or endpoint, would say the same


def word(reason: object) -> str:
    """The reason as it is compared; "" where there is none yet."""
    found = reason.strip().lower().removeprefix("finish_reason_") if isinstance(reason, str) else ""
    return "" if found in NOT_YET else found


def plain(said: object) -> str:
    """An endpoint's own words as one short line of visible characters."""
    if not isinstance(said, str):
        return ""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in said[: 20 * LONGEST_SAID]).split())
    return text if len(text) <= LONGEST_SAID else text[: LONGEST_SAID - 1] + "…"


def nothing(reason: str, *, thought: bool, refused: str) -> BackendError:
    """Why there is no text at all."""
    if refused or reason == REFUSAL:
        return BackendError("The language model refused to answer.", said=plain(refused), status=OURS)
    if reason == FILTER:
        return BackendError("The language model's server withheld the answer (content filter).", status=OURS)
    if reason == TOOLS:
        return BackendError("The language model wanted to use a tool instead of answering.", status=OURS)
    if reason == LENGTH and thought:
        return BackendError("The language model used up its tokens on thinking, before it answered.")
    if reason == LENGTH:
        return BackendError("The language model reached its limit of tokens before it answered.")
    if thought:
        return BackendError("The language model thought about it and then answered nothing.", retryable=True)
    return BackendError("The language model answered nothing.", retryable=True)
