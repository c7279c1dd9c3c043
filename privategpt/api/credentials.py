"""Who calls: the bearer tokens in both headers of contract 2 (section 7), and what their token may do."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.actors import Actor
from accounts.addresses import peer
from accounts.keyring import KeyRing, Principal
from accounts.models import Group, Token, User
from privategpt.api.envelope import unauthenticated
from privategpt.models import Chat, Scenario, Source

if TYPE_CHECKING:
    from privategpt.models import ChatQuerySet, ScenarioQuerySet, SourceQuerySet

logger = logging.getLogger(__name__)

HEADERS = ("authorization", "authentication")
BEARER = re.compile(r"(?:^|,)\s*bearer\s+([^\s,]+)", re.IGNORECASE)
MOST_TRIED = 8  # tokens of one header; clients that append at each sign-in send two
STAMPED_EVERY = timedelta(minutes=1)

# What a named token may be limited to. A login's token has none of them, which means all, its own tokens included.
SCOPES: Final[dict[str, str]] = {
    "chats": "Ask, and read and delete own chats",
    "sources:read": "List and see sources",
    "sources:write": "Store, edit and delete sources",
    "admin": "Groups, users and scenarios, as far as the roles go",
}

Shown = list[list[Principal]]  # by header, then in the order in which they stand there

_rings: tuple[asyncio.AbstractEventLoop, KeyRing] | None = None


def ring() -> KeyRing:
    """The running loop's memory of api tokens."""
    global _rings
    loop = asyncio.get_running_loop()
    if _rings is None or _rings[0] is not loop:
        _rings = loop, KeyRing(Token.Kind.API)
    return _rings[1]


@dataclass(frozen=True, slots=True)
class Caller:
    """A user through one of their tokens: what may be read, and by which rights."""

    user: User
    token: Token
    address: str
    narrowed_to: list[Group] | None = field(default=None)

    @property
    def actor(self) -> Actor:
        """For all that concerns people, groups and keys."""
        reached = None if self.narrowed_to is None else self.groups()
        return Actor(self.user, self.address, "api", self.token.pk, is_limited=self.is_limited, narrowed_to=reached)

    @property
    def is_limited(self) -> bool:
        """Whether the token may less than its user."""
        scopes = set(self.token.scopes)
        return self.narrowed_to is not None or bool(scopes and not scopes >= SCOPES.keys())

    def sources(self) -> SourceQuerySet:
        """Those that may be read."""
        return Source.objects.visible_to(self.user, self.narrowed_to)

    def chats(self) -> ChatQuerySet:
        """One's own."""
        return Chat.objects.visible_to(self.user, self.narrowed_to)

    def scenarios(self) -> ScenarioQuerySet:
        """Those that may be asked with."""
        return Scenario.objects.visible_to(self.user)

    def groups(self) -> list[Group]:
        """The user's groups that this token reaches."""
        own = list(self.user.groups.all())
        return own if self.narrowed_to is None else [group for group in own if group in self.narrowed_to]

    def reachable(self) -> QuerySet[Group]:
        """All groups, or for a narrowed token those that it reaches: for names in requests and in lists."""
        rows = Group.objects.all()
        return rows if self.narrowed_to is None else rows.filter(pk__in=[group.pk for group in self.groups()])

    def require_scope(self, scope: str | None) -> None:
        """Raises PermissionDenied; None asks for no scope."""
        if scope and self.token.scopes and scope not in self.token.scopes:
            raise PermissionDenied(f"This token lacks the scope {scope}.")

    def require_role(self, role: str | None) -> None:
        """Raises PermissionDenied; None asks for no role."""
        if role and not self.user.has_role(role):
            raise PermissionDenied(f"This takes the role {role}.")


def shown(request: HttpRequest) -> list[list[bytes]]:
    """The bearer tokens of each header that has any. A header that comes twice is no credential."""
    return [found for name in HEADERS if (found := _bearers(_values(request, name)))]


def _values(request: HttpRequest, name: str) -> list[bytes]:
    """As they came: Django joins doubled headers, and takes an underscore for a hyphen."""
    scope = getattr(request, "scope", None)
    if scope is not None:
        return [value for key, value in scope["headers"] if key == name.encode()]
    value = request.headers.get(name)
    return [] if value is None else [value.encode("latin-1", "replace")]


def _bearers(values: list[bytes]) -> list[bytes]:
    if len(values) != 1:
        return []
    found = BEARER.findall(values[0].decode("latin-1"))
    return [token.encode("latin-1") for token in found[:MOST_TRIED]]


async def authenticate(request: HttpRequest) -> Shown:
    """The tokens of each header that memory takes for valid. Raises Refusal (401) when there are none."""
    found = [valid for tokens in shown(request) if (valid := await _valid(tokens))]
    if not found:
        raise unauthenticated()
    return found


async def _valid(tokens: list[bytes]) -> list[Principal]:
    keys = ring()
    found = [await keys.find(token) for token in tokens]
    return [principal for principal in found if principal]


def caller(shown: Shown, request: HttpRequest) -> Caller:
    """The first token of each header that is usable now, and its user as they are now.

    Memory is a moment behind; here a right that was taken away is gone at once, and a token that was revoked lets
    the next in its header count. Two headers must agree on the user. Raises Refusal (401).
    """
    wanted = [principal.token for header in shown for principal in header]
    usable = {token.pk: token for token in Token.objects.usable().select_related("user").filter(pk__in=wanted)}
    found = [next((usable[each.token] for each in header if each.token in usable), None) for header in shown]
    tokens = [token for token in found if token]
    if not tokens or tokens[0].user is None or len({token.user_id for token in tokens}) > 1:
        raise unauthenticated()
    _stamp(tokens[0])
    narrowed_to = list(tokens[0].groups.all()) if tokens[0].is_narrowed else None
    return Caller(tokens[0].user, tokens[0], peer(request), narrowed_to)


def _stamp(token: Token) -> None:
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > STAMPED_EVERY:
        try:
            Token.objects.filter(pk=token.pk).update(last_used_at=now)
        except DatabaseError as fault:  # whoever only reads goes on where nothing can be written
            logger.info("The use of a token was not noted: %s", fault)
