"""What `data` holds in contract 2's successes, as JSON schemas, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from privategpt.api.scenarios import FIELDS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
MOMENT_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
ID: Schema = {"type": "string", "format": "uuid"}
NOTHING: Schema = {"type": "object", "maxProperties": 0}
NOTHING_LISTED: Schema = {"type": "array", "maxItems": 0}


def many(item: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": item}


def thing(**fields: Schema) -> Schema:
    """An object with these keys, all of them there."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def with_more(found: Schema, **fields: Schema) -> Schema:
    """The same with keys that need not be there."""
    return {**found, "properties": {**found["properties"], **fields}}


def page(name: str, item: Schema) -> Schema:
    """A part of a list."""
    return thing(**{name: many(item)}, page=WHOLE, perPage=WHOLE, lastPage=WHOLE, total=WHOLE)


DETAIL = thing(
    sourceId=ID,
    documentId=ID,
    title=TEXT,
    page=WHOLE,
    context=TEXT,
    score=NUMBER,
    heading=TEXT,
    start=WHOLE,
    end=WHOLE,
)
# Ids by default; objects for release 1.4 (`X-PGPT-Api-Version: 1.4`).
# Only with an answer that is not whole.
CUT_OFF = {"cutOff": {"enum": ["length", "content_filter", "tool_calls", "refusal"]}}
RESTING = {"sources": many({"type": ["string", "object"]}), "sourceDetails": many(DETAIL)}
ANSWER = with_more(thing(chatId=ID, messageId=ID, answer=TEXT, language=TEXT, **RESTING), **CUT_OFF)
CHAT = {
    "chatId": ID,
    "title": TEXT,
    "language": TEXT,
    "groups": many(TEXT),
    "usePublic": FLAG,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
}
MESSAGE = with_more(
    thing(messageId=ID, question=TEXT, answer=TEXT, language=TEXT, state=TEXT, createdAt=MOMENT, **RESTING), **CUT_OFF
)
IDS = {"sourceId": ID, "documentId": ID}
SOURCE = thing(
    **IDS,
    title=TEXT,
    groups=many(TEXT),
    isPublic=FLAG,
    state={"enum": ["creation", "processing", "vectorized", "error"]},
    stateReason=TEXT,
    progress=thing(done=WHOLE, total=WHOLE),
    language=TEXT,
    creator=thing(email={"type": ["string", "null"]}, name=TEXT),
    createdAt=MOMENT,
    updatedAt=MOMENT,
)
USER = thing(
    email=TEXT,
    name=TEXT,
    language=TEXT,
    timezone=TEXT,
    usePublic=FLAG,
    groups=many(TEXT),
    roles=many(TEXT),
    isActive=FLAG,
    createdAt=MOMENT,
)
TOKEN = {
    "id": WHOLE,
    "name": TEXT,
    "hint": TEXT,
    "scopes": many(TEXT),
    "groups": many(TEXT),
    "isNarrowed": FLAG,
    "isCurrent": FLAG,
    "createdAt": MOMENT,
    "expiresAt": MOMENT_OR_NULL,
    "lastUsedAt": MOMENT_OR_NULL,
}
SCENARIO = thing(id=ID, scenarioId=ID, **{name: {} for name in FIELDS})
LISTED = thing(sources=many(ID))

# By the view's class and the method.
DATA: dict[tuple[str, str], Schema] = {
    ("Login", "POST"): thing(token=TEXT),
    ("Chats", "GET"): page("chats", thing(**CHAT)),
    ("Chats", "POST"): ANSWER,
    ("OneChat", "GET"): thing(**CHAT, messages=many(MESSAGE), isLocked=FLAG),
    ("OneChat", "POST"): ANSWER,
    ("OneChat", "PATCH"): ANSWER,
    ("SourcesOrList", "GET"): page("sources", SOURCE),
    ("SourcesOrList", "POST"): {"anyOf": [thing(**IDS), LISTED]},
    ("SourcesOfGroup", "POST"): LISTED,
    ("OneSource", "GET"): SOURCE,
    ("OneSource", "PATCH"): thing(**IDS),
    ("OneSource", "DELETE"): NOTHING_LISTED,
    ("Groups", "GET"): thing(personalGroups=many(TEXT), assignableGroups=many(TEXT)),
    ("Users", "GET"): page("users", USER),
    ("Scenarios", "GET"): page("scenarios", SCENARIO),
    ("Scenarios", "POST"): SCENARIO,
    ("OneScenario", "PATCH"): SCENARIO,
    ("Tokens", "GET"): page("tokens", thing(**TOKEN)),
    ("Tokens", "POST"): thing(**TOKEN, token=TEXT),
}


def data(view: str, method: str) -> Schema:
    """What `data` holds; the empty object where there is nothing to say."""
    return DATA.get((view, method), NOTHING)
