"""Contract 1's bodies: what is read, and what is answered, key for key in the contract's order."""

from datetime import datetime
from typing import Any

import msgspec

from relay import gojson
from relay.dispatch import Question
from relay.pool import Agent

_ASK_KEYS = frozenset({"content", "conversation_id", "parent_id", "message_id"})
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time


class BadRequest(ValueError):
    """The body is not what the contract allows."""


class Connection(msgspec.Struct):
    """An agent as `GET /api/connections` lists it."""

    Ws: dict[str, str]
    Id: str
    Heartbeat: str
    LastMessageTime: str


class NewUser(msgspec.Struct):
    token: str
    user_id: str


class ListedUser(msgspec.Struct):
    user_id: str
    token: str


def question(body: bytes, owner: str) -> Question:
    """The question in an ask's body. Raises BadRequest."""
    return Question(owner=owner, **_texts(body, _ASK_KEYS))


def admin_fields(body: bytes) -> dict[str, str]:
    """`admin_key` and `user_id` of an admin route's body, "" where absent. Raises BadRequest."""
    if not body.strip():
        raise BadRequest
    return {"admin_key": "", "user_id": ""} | _texts(body, frozenset({"admin_key", "user_id"}))


def _texts(body: bytes, names: frozenset[str]) -> dict[str, Any]:
    try:
        found = gojson.fields(body, names)
    except gojson.NotJSON as fault:
        raise BadRequest from fault
    if not all(map(gojson.is_text, found.values())):
        raise BadRequest
    return found


def connection(agent: Agent) -> Connection:
    """The agent as it is listed."""
    return Connection({}, agent.id, moment(agent.heartbeat), moment(agent.asked_at))


def moment(seconds: float) -> str:
    """RFC 3339 with the local offset as Go writes it: no trailing zeros, `Z` for UTC; 0 is Go's zero time."""
    if not seconds:
        return NEVER
    local = datetime.fromtimestamp(seconds).astimezone()
    text = local.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    offset = local.strftime("%z")
    return text + ("Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:5]}")
