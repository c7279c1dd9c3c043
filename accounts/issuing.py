"""Making and ending keys. Who may make which key for whom is decided here, for the pages, contract 2, the admin site
and the command alike."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.core.exceptions import PermissionDenied
from django.db import transaction

from accounts.actors import Actor
from accounts.models import Group, Token, User

AGENTS_ROLE = "system"  # an agent reads other people's questions


def allow_making(actor: Actor, kind: str, owner: User | None) -> None:
    """Nobody makes a key that opens somebody else's door. An agent's opens nobody's, but reads what others ask: it
    takes the role for the system, and the owner is who may end it as well. Raises PermissionDenied.
    """
    if actor.is_limited:
        raise PermissionDenied("A limited token cannot deal with tokens; sign in instead.")
    if owner is not None and not owner.is_active:
        raise PermissionDenied(f"{owner} is not active.")
    if kind == Token.Kind.AGENT:
        if not actor.has_role(AGENTS_ROLE):
            raise PermissionDenied(f"An agent's key takes the role {AGENTS_ROLE}.")
        if owner is not None:
            actor.require_management(owner)
    elif owner is None:
        raise PermissionDenied("Only an agent's token may belong to nobody.")
    elif actor.user not in (None, owner):
        raise PermissionDenied(f"You may not make a key for {owner}, only for yourself.")


def make(
    actor: Actor,
    kind: Token.Kind,
    owner: User | None,
    *,
    name: str,
    days: float | None = None,
    expires_at: datetime | None = None,
    scopes: Iterable[str] = (),
    groups: Iterable[Group] = (),
    action: str = "add token",
) -> tuple[Token, str]:
    """A new token and its key, narrowed to the groups if there are any. Raises PermissionDenied."""
    allow_making(actor, kind, owner)
    groups = list(groups)
    with transaction.atomic():
        token, key = Token.objects.issue(kind, owner, name=name, days=days, scopes=scopes)
        if expires_at:
            token.expires_at = expires_at
            token.save(update_fields=["expires_at"])
        if groups and kind == Token.Kind.API:
            token.narrow(groups)
        actor.record(action, f"{token} for {owner}" if owner != actor.user else token)
    return token, key


def may_end(actor: Actor, token: Token) -> bool:
    """One's own; those of people whom one administers; an agent's that belongs to nobody, for who runs the system."""
    if actor.user is None or token.user == actor.user:
        return not actor.is_limited
    if token.user is None:
        return actor.has_role(AGENTS_ROLE)
    return actor.has_role("users") and actor.may_manage(token.user)


def end(actor: Actor, token: Token, action: str = "revoke token") -> None:
    """It opens nothing from now on. Raises PermissionDenied."""
    if not may_end(actor, token):
        raise PermissionDenied(f"You may not revoke {token}.")
    with transaction.atomic():
        Token.objects.filter(pk=token.pk).revoke()
        actor.record(action, token)
