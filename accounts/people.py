"""What an administrator does with people and groups. Each act is one transaction with its audit row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Group, Token, User
from accounts.units import unit


class Taken(Exception):
    """Somebody, or some group, has this name already; the first argument says what: "email" or "groupName"."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, from where, and with which token: that one outlives a new password of one's own."""

    user: User
    address: str = ""
    way: str = "api"
    token: int | None = None

    def record(self, action: str, what: object) -> None:
        """One row of the audit log."""
        audit.record(action, what, by=self.user, way=self.way, address=self.address)


@unit
def add(actor: Actor, email: str, password: str, groups: Iterable[Group], roles: Sequence[str], **fields: Any) -> User:
    """A new user. Raises Taken, PermissionDenied for a role one may not give, ValidationError for a weak password."""
    _may_give(actor, roles)
    draft = User(email=email, name=fields.get("name", ""))
    _good_password(password, draft)
    try:
        with transaction.atomic():
            user = User.objects.create_user(email, password, roles=list(roles), **fields)
            user.groups.set(groups)
            actor.record("add user", user)
    except IntegrityError:
        if User.objects.filter(email=email).exists():
            raise Taken("email") from None
        raise
    return user


@unit
def edit(
    actor: Actor,
    user: User,
    *,
    password: str | None = None,
    groups: Iterable[Group] | None = None,
    roles: Sequence[str] | None = None,
    **fields: Any,
) -> None:
    """Changes what is given. A new password ends every session and every api token but the one in use."""
    _may_manage(actor, user)
    if password is not None:
        _good_password(password, user)
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=user.pk)
        if roles is not None:
            _may_give(actor, set(roles) ^ set(user.roles))
            fields["roles"] = list(roles)
        for name, value in fields.items():
            setattr(user, name, value)
        if fields:
            user.save(update_fields=list(fields))
        if password is not None:
            _change_password(actor, user, password)
        if groups is not None:
            user.groups.set(groups)
        given = {"password": password, "groups": groups}
        changed = [*fields, *(name for name, value in given.items() if value is not None)]
        actor.record("change user", f"{user} {', '.join(changed)}")


@unit
def retire(actor: Actor, user: User) -> None:
    """Ends the user; never oneself, so that there is always an administrator left."""
    if user == actor.user:
        raise PermissionDenied("You cannot delete yourself.")
    _may_manage(actor, user)
    with transaction.atomic():
        user.retire()
        actor.record("delete user", user)


@unit
def reactivate(actor: Actor, user: User) -> None:
    """Lets a retired user in again; the old tokens stay revoked."""
    _may_manage(actor, user)
    with transaction.atomic():
        user.reactivate()
        actor.record("reactivate user", user)


@unit
def add_group(actor: Actor, name: str, description: str) -> Group:
    """A new group with its maker as the first member: one uploads to groups of one's own only. Raises Taken."""
    try:
        with transaction.atomic():
            group = Group.objects.create(name=name, description=description)
            group.members.add(actor.user)
            actor.record("add group", group)
    except IntegrityError:
        if Group.objects.filter(name=name).exists():
            raise Taken("groupName") from None
        raise
    return group


def _may_manage(actor: Actor, user: User) -> None:
    if not actor.user.may_manage(user):
        raise PermissionDenied(f"You may not change {user}, who has rights that you do not have.")


def _may_give(actor: Actor, roles: Iterable[str]) -> None:
    refused = sorted(role for role in roles if not actor.user.may_give(role))
    if refused:
        raise PermissionDenied(f"You may not give or take roles that you do not have: {', '.join(refused)}.")


def _good_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as fault:
        raise ValidationError({"password": fault.messages}) from None


def _change_password(actor: Actor, user: User, password: str) -> None:
    user.set_password(password)
    user.save(update_fields=["password"])
    user.tokens.live().filter(kind=Token.Kind.API).exclude(pk=actor.token or 0).revoke()
