"""`/groups`: which groups there are, and making and deleting them; and how names become groups everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied

from accounts.models import Group
from accounts.people import add_group
from privategpt import knowledge
from privategpt.api.base import ApiView
from privategpt.api.credentials import Caller
from privategpt.api.envelope import invalid, not_found
from privategpt.api.fields import LONGEST_NAME, Body, Text

NONE: dict[str, Any] = {}  # `data` where there is nothing to say


class GroupNamed(Body):
    """Which group."""

    groupName = Text(source="name", max_length=LONGEST_NAME)  # noqa: N815
    description = Text(required=False, allow_blank=True, default="", max_length=10_000)


class Groups(ApiView):
    """The groups of the caller, those that can be assigned, and their making and deleting."""

    accepts = {"POST": GroupNamed, "DELETE": GroupNamed}
    scopes = {"POST": "admin", "DELETE": "admin"}
    roles = {"POST": "users", "DELETE": "users"}

    def get(self) -> dict[str, list[str]]:
        """The caller's groups, and those that the caller may assign to users or sources."""
        own = [group.name for group in self.caller.groups()]
        assignable = list(Group.objects.values_list("name", flat=True)) if _knows_all(self.caller) else own
        return {"personalGroups": own, "assignableGroups": assignable}

    def post(self) -> dict[str, Any]:
        """A new group, with its maker as a member."""
        add_group(self.caller.actor, self.fields["name"], self.fields["description"])
        return NONE

    def delete(self) -> dict[str, Any]:
        """Deletes the group, and the sources that nobody could read any more without it."""
        group = self.caller.reachable().filter(name=self.fields["name"]).first()
        if group is None:
            raise not_found()
        knowledge.delete_group(self.caller.actor, group)
        return NONE


def own_groups(caller: Caller, names: Sequence[str]) -> list[Group]:
    """The caller's groups of these names. Raises Refusal (422), PermissionDenied where the group is known to them."""
    if not names:
        return []
    own = {group.name: group for group in caller.groups()}
    foreign = [name for name in names if name not in own]
    if foreign and _knows_all(caller) and Group.objects.filter(name__in=foreign).count() == len(foreign):
        raise PermissionDenied(f"You are not in the group {foreign[0]}.")
    if foreign:
        raise _unknown(foreign[0])
    return [own[name] for name in names]


def any_groups(caller: Caller, names: Sequence[str] | None) -> list[Group] | None:
    """The groups of these names, whoever is in them: for who may assign all. To a narrowed token others are not there.

    Raises Refusal (422).
    """
    if names is None:
        return None
    found = {group.name: group for group in caller.reachable().filter(name__in=names)}
    for name in names:
        if name not in found:
            raise _unknown(name)
    return [found[name] for name in names]


def _unknown(name: str) -> Exception:
    return invalid({"groups": [f"Unknown group: {name}."]})


def _knows_all(caller: Caller) -> bool:
    """Whoever administers users sees every group's name; to others, foreign groups are not there."""
    return caller.user.has_role("users") and caller.narrowed_to is None
