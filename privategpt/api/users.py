"""`/users`: their administration. A deleted user can be reactivated."""

from __future__ import annotations

from typing import Any

from django.core.validators import validate_email
from rest_framework import serializers

from accounts import people
from accounts.fields import canonical_email
from accounts.models import Group, User
from accounts.signin import LONGEST_PASSWORD
from privategpt.api.base import ApiView, page_of
from privategpt.api.envelope import moment, not_found
from privategpt.api.fields import Body, Flag, Language, Names, Page, Roles, Text, Zone
from privategpt.api.groups import NONE, any_groups

LONGEST_EMAIL = 254  # characters, as the database has it


class Address(Text):
    """An e-mail address, in the one spelling that is stored."""

    def to_internal_value(self, data: Any) -> str:
        found = canonical_email(super().to_internal_value(data)) or ""
        validate_email(found)
        if len(found) > LONGEST_EMAIL:  # some characters are several in that spelling
            raise serializers.ValidationError("This address is too long.")
        return found


class UserNamed(Body):
    """Which user."""

    email = Text(max_length=254)


class _Settings(Body):
    usePublic = Flag(source="may_use_public", required=False)  # noqa: N815
    publicUpload = Flag(required=False, help_text="Another name of usePublic.")  # noqa: N815
    language = Language()
    timezone = Zone()
    groups = Names()
    roles = Roles()
    activateFtp = Flag(required=False, help_text="Taken and forgotten: there is no FTP here.")  # noqa: N815
    ftpPassword = Text(  # noqa: N815
        required=False, allow_blank=True, write_only=True, max_length=LONGEST_PASSWORD, help_text="Stored nowhere."
    )

    def validate(self, attrs: Any) -> Any:
        """One spelling of each attribute; what FTP would need is checked as release 1.5 does, and dropped."""
        if attrs.pop("activateFtp", False) and not attrs.get("ftpPassword"):
            raise serializers.ValidationError({"ftpPassword": ["Needed with activateFtp."]})
        attrs.pop("ftpPassword", None)
        if "publicUpload" in attrs:
            attrs["may_use_public"] = attrs.pop("publicUpload")
        return {name: value for name, value in attrs.items() if value != "" or name == "password"}


class NewUser(_Settings):
    """A user to be stored."""

    name = Text(max_length=150)
    email = Address(max_length=254)
    password = Text(max_length=LONGEST_PASSWORD, write_only=True)


class UserEdit(_Settings):
    """What to change; the e-mail says of whom."""

    email = Text(max_length=254)
    name = Text(max_length=150, required=False)
    password = Text(max_length=LONGEST_PASSWORD, required=False, write_only=True)
    presentPassword = Text(  # noqa: N815
        source="present",
        max_length=LONGEST_PASSWORD,
        required=False,
        write_only=True,
        help_text="Needed for a new password of one's own.",
    )


class Users(ApiView):
    """The users, for who has the role for them."""

    accepts = {"POST": NewUser, "PATCH": UserEdit, "DELETE": UserNamed}
    query = {"GET": Page}
    scopes = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), "admin")
    roles = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), "users")

    def get(self) -> dict[str, Any]:
        """Those that can sign in or could once; programs of the relay have no e-mail."""
        rows = User.objects.exclude(email=None).prefetch_related("groups").order_by("email")
        if self.caller.narrowed_to is not None:
            rows = rows.exclude(groups__in=Group.objects.exclude(pk__in=self.caller.reachable()))
        return page_of(rows, "users", shape, self.asked)

    def post(self) -> dict[str, Any]:
        """A new user."""
        groups, roles = any_groups(self.caller, self.fields.pop("groups", [])), self.fields.pop("roles", [])
        people.add(self.caller.actor, groups=groups or [], roles=roles, **self.fields)
        return NONE

    def patch(self) -> dict[str, Any]:
        """Changes what is given."""
        user = _named(self.fields.pop("email"), is_active=True)
        groups = any_groups(self.caller, self.fields.pop("groups", None))
        people.edit(self.caller.actor, user, groups=groups, **self.fields)
        return NONE

    def delete(self) -> dict[str, Any]:
        """Ends the user, with sessions and tokens."""
        people.retire(self.caller.actor, _named(self.fields["email"], is_active=True))
        return NONE


class Reactivate(ApiView):
    """`POST /users/reactivate`."""

    accepts = {"POST": UserNamed}
    scopes = {"POST": "admin"}
    roles = {"POST": "users"}

    def post(self) -> dict[str, Any]:
        """Lets a deleted user in again, without the old tokens."""
        people.reactivate(self.caller.actor, _named(self.fields["email"]))
        return NONE


def _named(email: str, **further: Any) -> User:
    user = User.objects.filter(email=email, **further).first() if canonical_email(email) else None
    if user is None:
        raise not_found()
    return user


def shape(user: User) -> dict[str, Any]:
    """A user as they are listed."""
    return {
        "email": user.email,
        "name": user.called,
        "language": user.language,
        "timezone": user.timezone,
        "usePublic": user.may_use_public,
        "groups": [group.name for group in user.groups.all()],
        "roles": user.roles,
        "isActive": user.is_active,
        "createdAt": moment(user.created_at),
    }
