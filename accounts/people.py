"""What an administrator does with people and groups. Each act is one transaction with its audit row.

Whether they may is decided here for every door: the pages, contract 2, the admin site, the commands, the admin key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction

from accounts import secondfactor
from accounts.actors import Actor as Actor
from accounts.issuing import AGENTS_ROLE
from accounts.models import Group, Session, Token, User
from accounts.signin import WrongCredentials, sign_in
from accounts.units import unit


class Taken(Exception):
    """Somebody, or some group, has this name already; the first argument says what: "email" or "groupName"."""


class LastAdministrator(PermissionDenied):
    """Nobody would be left who could let anybody in."""


@unit
def add(actor: Actor, email: str, password: str, groups: Iterable[Group], roles: Sequence[str], **fields: Any) -> User:
    """A new user. Raises Taken, PermissionDenied for a role one may not give, ValidationError for a weak password."""
    groups = list(groups)
    allow_add(actor, groups, roles)
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


def allow_add(actor: Actor, groups: Iterable[Group], roles: Iterable[str]) -> None:
    """Whether they may make a user with these. Raises PermissionDenied."""
    actor.require_roles(roles)
    actor.require_groups(groups)


@unit
def edit(
    actor: Actor,
    user: User,
    *,
    password: str | None = None,
    present: str | None = None,
    groups: Iterable[Group] | None = None,
    roles: Sequence[str] | None = None,
    **fields: Any,
) -> None:
    """Changes what is given; a password of one's own by the `present` one. It ends all sessions and api tokens but
    those in use. Raises PermissionDenied, ValidationError, Locked."""
    if password is not None:
        _allow_password(actor, user, password, present, new_name=fields.get("name", ""))
    groups = None if groups is None else list(groups)
    with transaction.atomic():
        user = locked(user)
        allow_edit(actor, user, groups, roles)
        ran_system = user.has_role(AGENTS_ROLE)
        if roles is not None:
            fields["roles"] = list(roles)
        for name, value in fields.items():
            setattr(user, name, value)
        if fields:
            user.save(update_fields=list(fields))
        if ran_system:
            end_agents(user)
        if password is not None:
            user.set_password(password)
            user.save(update_fields=["password"])
            end_logins(actor, user)
        if groups is not None:
            user.groups.set(groups)
        given = {"password": password, "groups": groups}
        changed = [*fields, *(name for name, value in given.items() if value is not None)]
        actor.record("change user", f"{_name(user)} {', '.join(changed)}")


def allow_edit(
    actor: Actor, user: User, groups: Iterable[Group] | None = None, roles: Iterable[str] | None = None
) -> None:
    """Whether they may change this user, and leave them these groups and roles. Raises PermissionDenied."""
    actor.require_management(user)
    if roles is not None:
        actor.require_roles(set(roles) ^ set(user.roles))
    if groups is not None:
        actor.require_groups(set(groups) ^ set(user.groups.all()))


def end_logins(actor: Actor, user: User) -> None:
    """Ends every session and api token of the user but those in use. Relay and agent keys are no sign-ins."""
    Session.objects.filter(user=user).exclude(pk=actor.session).delete()
    user.tokens.live().filter(kind=Token.Kind.API).exclude(pk=actor.token or 0).revoke()


def end_agents(user: User) -> None:
    """Who no longer runs the system no longer reads other people's questions through agents."""
    if not user.has_role(AGENTS_ROLE):
        user.tokens.live().filter(kind=Token.Kind.AGENT).revoke()


@unit
def retire(actor: Actor, user: User, verb: str = "delete") -> None:
    """Ends the user: no sign-in, no session, no token. Raises PermissionDenied, LastAdministrator."""
    with transaction.atomic():
        user = locked(user)
        allow_end(actor, user)
        user.retire()
        actor.record(f"{verb} user", _name(user))


def allow_end(actor: Actor, user: User) -> None:
    """Whether they may retire or delete this user; never oneself, and not the last administrator."""
    if user == actor.user:
        raise PermissionDenied("You cannot delete yourself.")
    actor.require_management(user)
    keep_an_administrator(user)


def keep_an_administrator(leaving: User) -> None:
    """Raises LastAdministrator if nobody but this user could administer. Within a transaction: two cannot send each
    other away at once."""
    if leaving.is_superuser and leaving.is_active:
        left = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=leaving.pk).exclude(email=None)
        if not any(other.has_usable_password() for other in left):
            raise LastAdministrator(f"{leaving} is the last administrator.")


@unit
def reactivate(actor: Actor, user: User) -> None:
    """Lets a retired user in again; the old tokens stay revoked."""
    with transaction.atomic():
        user = locked(user)
        actor.require_management(user)
        user.reactivate()
        actor.record("reactivate user", _name(user))


@unit
def turn_off_second_factor(actor: Actor, user: User, action: str = "turn off second factor") -> None:
    """For somebody else who lost the app. Raises PermissionDenied."""
    allow_turning_off(actor, user)
    with transaction.atomic():
        secondfactor.turn_off(user)
        actor.record(action, _name(user))


def allow_turning_off(actor: Actor, user: User) -> None:
    """One's own is turned off by the password, on the account's page. Raises PermissionDenied."""
    if user == actor.user:
        raise PermissionDenied("Your own second factor is turned off under Account.")
    actor.require_management(user)


@unit
def add_group(actor: Actor, name: str, description: str) -> Group:
    """A new group with its maker as the first member: one uploads to groups of one's own only. Raises Taken."""
    actor.require_unnarrowed()
    try:
        with transaction.atomic():
            group = Group.objects.create(name=name, description=description)
            if actor.user:
                group.members.add(actor.user)
            actor.record("add group", group)
    except IntegrityError:
        if Group.objects.filter(name=name).exists():
            raise Taken("groupName") from None
        raise
    return group


def locked(user: User) -> User:
    """The row as it is now, until the transaction ends; administrators' first and in one order, so that of two who
    send each other away one waits."""
    list(User.objects.select_for_update().filter(is_superuser=True).order_by("pk").values_list("pk"))
    return User.objects.select_for_update().get(pk=user.pk)


def _name(user: User) -> str:
    """For the audit log: names alone, which programs have, need not be unique."""
    return f"{user.name} [{user.pk}]" if user.name and not user.email else str(user)


def _good_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as fault:
        raise ValidationError({"password": fault.messages}) from None


def _allow_password(actor: Actor, user: User, password: str, present: str | None, new_name: str) -> None:
    """Outside of any transaction: a wrong present password is counted, as at every sign-in."""
    actor.require_password_right(user)
    _good_password(password, User(email=user.email, name=f"{user.name} {new_name}"))  # of before and after
    if user != actor.user:
        return
    if not present:
        raise ValidationError({"presentPassword": ["Needed for a new password of your own."]})
    try:
        sign_in(user.email or "", present, actor.address, cookie=actor.device, way=actor.way)
    except WrongCredentials:
        raise ValidationError({"presentPassword": ["This is not your present password."]}) from None
