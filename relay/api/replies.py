"""Contract 1's replies: status, body and headers, and which failure is which of them."""

import logging
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError

from relay import dispatch, gojson
from relay.api.shapes import BadRequest
from relay.repeats import OtherBody

logger = logging.getLogger(__name__)

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
LATER = (("retry-after", "5"),)  # seconds
NOT_FOUND = b"404 page not found"


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out, whichever way the request came in. Header names are in lower case."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON


class Unauthorized(Exception):
    """The credential does not do. The text is the contract's."""


class ClientLeft(Exception):
    """The client hung up before its body was complete: there is nobody to reply to."""


class TooLarge(Exception):
    """The body is longer than it may be (bytes)."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is longer than {limit} bytes")


class TooSlow(Exception):
    """The body did not arrive in its time."""

    def __init__(self) -> None:
        super().__init__("The request body took too long")


def reply(status: int, body: Any, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A JSON reply."""
    return Reply(status, gojson.encode(body), headers)


def error(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """The contract's shape of a refusal."""
    return reply(status, {"error": text}, headers)


def failed_read(status: int, reason: str) -> Reply:
    """The contract's shape for an agent that did not answer: `err` says why."""
    return reply(status, {"err": reason, "error": "Failed to read response from the client"})


def refusal(fault: Exception) -> Reply:
    """The reply to a failed ask (contract 1, "order of checks" and section 2)."""
    match fault:
        case Unauthorized():
            return error(401, str(fault))
        case TooLarge():
            return error(413, str(fault))
        case TooSlow():
            return error(408, str(fault))
        case BadRequest():
            return error(400, "Invalid request")
        case OtherBody():
            return error(422, "This Idempotency-Key was used with another body")
        case dispatch.NoAgents():
            return error(503, "No available clients", LATER)
        case dispatch.OutOfReach():
            return error(503, "The agent cannot be reached just now", LATER)
        case dispatch.TooManyAsks():
            return error(429, "Too many of your questions are waiting already", LATER)
        case dispatch.QueueFull():
            return error(503, "Too many questions are waiting", LATER)
        case dispatch.WaitOver():
            return error(503, "Every agent stayed busy for as long as a question may wait", LATER)
        case dispatch.UnknownConversation():
            return error(404, "Conversation doesn't exists")
        case dispatch.ConversationAgentGone():
            return error(500, "Connection no longer exists")
        case dispatch.AgentError():
            return error(502, f"Agent error: {fault}")
        case dispatch.AgentSilent():
            return failed_read(504, str(fault))
        case dispatch.AgentRubbish():
            return reply(502, {"err": str(fault), "error": "Failed to convert response to ChatGptResponse"})
        case dispatch.AgentGone():
            return failed_read(502, str(fault))
        case dispatch.Draining():
            return error(503, "The server is restarting", LATER)
        case dispatch.NotSaved():
            return error(503, "The answer came but could not be saved", LATER)
        case DatabaseError():
            return error(500, "Failed to verify API key")
    logger.error("An ask failed in a way that nobody foresaw.", exc_info=fault)
    return error(500, "Internal error")
