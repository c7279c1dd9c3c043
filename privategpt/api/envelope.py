"""Contract 2's replies: `{"data", "message", "status"}`, and which failure is which of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from rest_framework.serializers import ValidationError

from accounts.faults import is_read_only
from accounts.people import Taken
from accounts.signin import Locked, WrongCredentials
from privategpt import answers, follow, ingest, storable

logger = logging.getLogger(__name__)

JSON = "application/json; charset=utf-8"
NOTICE = "This answer was generated automatically and may be wrong. Please check what matters."
NOT_FOUND = "Not found."
TOKEN_INVALID = "Unauthenticated: token expired or invalid."  # noqa: S105 - clients look for "token expired"
LATER = {"Retry-After": "2"}  # seconds
# No other reply may be kept by a cache or guessed to be HTML.
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
Errors = Mapping[str, list[str]]


class Refusal(Exception):
    """A reply that is no success. `errors` are sentences by field."""

    def __init__(
        self, status: int, message: str, *, errors: Errors | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.headers = headers or {}


def not_found() -> Refusal:
    """The one answer for what there is not and for what is somebody else's."""
    return Refusal(404, NOT_FOUND)


def unauthenticated() -> Refusal:
    """No, unknown, expired or revoked token."""
    return Refusal(401, TOKEN_INVALID, headers={"WWW-Authenticate": "Bearer"})


def invalid(errors: Errors) -> Refusal:
    """The fields and what is wrong with each."""
    first = next((text for texts in errors.values() for text in texts), "Invalid.")
    return Refusal(422, first, errors=errors)


def success(data: Any, *, notice: bool = False) -> bytes:
    """The body of a success."""
    found = {"data": data, "message": "success", "status": 200}
    if notice:
        found["notice"] = NOTICE
    return msgspec.json.encode(found)


def failure(refusal: Refusal) -> bytes:
    """The body of a refusal: `data` is there and null, for clients index it without looking at the status."""
    found: dict[str, Any] = {"data": None, "message": refusal.message, "status": refusal.status}
    if refusal.errors is not None:
        found["errors"] = refusal.errors
    return msgspec.json.encode(found)


def reply(data: Any, *, notice: bool = False) -> HttpResponse:
    """200 with its envelope."""
    return HttpResponse(success(data, notice=notice), content_type=JSON, headers=HEADERS)


def refuse(fault: Exception) -> HttpResponse:
    """The refusal for whatever went wrong."""
    refusal = understood(fault)
    headers = {**HEADERS, **refusal.headers}
    return HttpResponse(failure(refusal), status=refusal.status, content_type=JSON, headers=headers)


def understood(fault: Exception) -> Refusal:
    """The failure as contract 2 names it (section 5)."""
    match fault:
        case Refusal():
            return fault
        case WrongCredentials():
            return Refusal(401, "Unauthorized: wrong e-mail or password.")
        case Locked():
            return Refusal(429, str(fault), headers={"Retry-After": str(fault.seconds)})
        case Taken():
            return invalid({fault.args[0]: ["This name is taken already."]})
        case ValidationError():
            return invalid(_by_field(fault.detail))
        case ModelValidationError():
            return invalid(fault.message_dict if hasattr(fault, "error_dict") else {"": fault.messages})
        case answers.TooMany():
            return Refusal(429, "Too many answers are under way already; wait for one of them.", headers=LATER)
        case answers.Busy():
            return Refusal(409, "An answer of this chat is under way; wait for its end or stop it.", headers=LATER)
        case ingest.GroupGone():
            return invalid({"groups": ["A group was deleted just now."]})
        case ingest.SourceGone():
            return not_found()
        case storable.TooMuch():
            return Refusal(507, str(fault))
        case follow.TooManyStreams():
            return Refusal(429, str(fault), headers=LATER)
        case storable.Unstorable():
            return invalid({"content": [str(fault)]})
        case PermissionDenied():
            return Refusal(403, str(fault) or "Forbidden.")
        case ObjectDoesNotExist() | Http404():
            return not_found()
        case SuspiciousOperation():
            return Refusal(400, "Bad request.")
        case IntegrityError():
            return Refusal(409, "What this rests on was changed or deleted just now; look again.", headers=LATER)
        case follow.TooManyFollowers():
            return Refusal(503, "Too many answers are being followed.", headers=LATER)
        case follow.LetGo():
            return Refusal(503, "The server is restarting; the answer goes on in the chat.", headers=LATER)
        case OperationalError() if is_full(fault):
            logger.error("The disk is full: nothing can be saved. (%s)", fault)
            return Refusal(507, "The server's disk is full; nothing was saved.", headers=LATER)
        case _ if is_read_only(fault):
            return Refusal(503, "The database takes no changes at the moment; nothing was saved.", headers=LATER)
        case OperationalError() | InterfaceError():
            return Refusal(503, "The database is busy or cannot be reached.", headers=LATER)
    logger.error("A request failed in a way that nobody foresaw.", exc_info=fault)
    return Refusal(500, "Internal error.")


def is_full(fault: OperationalError) -> bool:
    """SQLite's words for it, and PostgreSQL's."""
    return any(words in str(fault) for words in ("is full", "No space left", "disk I/O error"))


def _by_field(detail: Any) -> dict[str, list[str]]:
    """DRF's nested errors with one list of sentences for each top field."""
    if not isinstance(detail, Mapping):
        return {"": _sentences(detail)}
    return {str(field): _sentences(found) for field, found in detail.items()}


def _sentences(found: Any) -> list[str]:
    if isinstance(found, Mapping):
        found = found.values()
    elif isinstance(found, str):
        return [str(found)]
    return list(dict.fromkeys(sentence for each in found for sentence in _sentences(each)))


def moment(at: datetime | None) -> str | None:
    """ISO-8601 in UTC with `Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if at else None
