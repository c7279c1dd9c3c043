"""Who calls: the bearer tokens in both headers of contract 2 (section 7), and what their token may do."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils import timezone

from accounts.addresses import peer
from accounts.keyring import KeyRing, Principal
from accounts.models import Group, Token, User
from accounts.people import Actor
from privategpt.api.envelope import unauthenticated
from privategpt.models import Chat, Scenario, Source

if TYPE_CHECKING:
    from privategpt.models import ChatQuerySet, ScenarioQuerySet, SourceQuerySet

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
        """For the audit log."""
        return Actor(self.user, self.address, "api", self.token.pk)

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


async def authenticate(request: HttpRequest) -> Principal:
    """The first valid token of each header; both must belong to one user. Raises Refusal (401)."""
    found = [principal for tokens in shown(request) if (principal := await _first(tokens))]
    if not found or len({principal.user for principal in found}) > 1:
        raise unauthenticated()
    return found[0]


async def _first(tokens: list[bytes]) -> Principal | None:
    keys = ring()
    for token in tokens:
        if principal := await keys.find(token):
            return principal
    return None


def caller(principal: Principal, request: HttpRequest) -> Caller:
    """The token's row and user as they are now: a right that was taken away is gone at once. Raises Refusal (401)."""
    token = Token.objects.usable().select_related("user").filter(pk=principal.token).first()
    if token is None or token.user is None:
        raise unauthenticated()
    _stamp(token)
    narrowed_to = list(token.groups.all()) if token.is_narrowed else None
    return Caller(token.user, token, peer(request), narrowed_to)


def _stamp(token: Token) -> None:
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > STAMPED_EVERY:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
