"""Who acts, through which door, and upon whom they may. Every door asks here, so that all have the same rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.core.exceptions import PermissionDenied

from accounts import audit
from accounts.models import Group, User

ADMINISTERING = ("users", "system")  # roles whose holders let others in, or agents


@dataclass(frozen=True, slots=True)
class Actor:
    """A user through one of the doors. Nobody (`user` None): whoever holds the machine, or the admin key."""

    user: User | None
    address: str = ""
    way: str = "api"
    token: int | None = None  # the one in use outlives a new password of one's own
    session: str = ""  # the row of the browser's session: likewise
    device: str = ""  # the cookie by which a browser is known (accounts/devices.py)
    is_limited: bool = False  # the token in use may less than its user
    narrowed_to: Sequence[Group] | None = None  # the groups that the token in use reaches; None: all

    def record(self, action: str, what: object) -> None:
        """One row of the audit log."""
        audit.record(action, what, by=self.user, way=self.way, address=self.address)

    def has_role(self, role: str) -> bool:
        """Whoever holds the machine has every role."""
        return self.user is None or self.user.has_role(role)

    def may_manage(self, other: User) -> bool:
        """Whether they may act upon this user: one without rights, or groups, that they do not have themselves."""
        if self.user is None:
            return True
        if not self.user.may_manage(other):
            return False
        if self.narrowed_to is None:
            return True
        # A password for somebody who has more would be a way out of the groups.
        has_more = other.is_staff or other.is_superuser or bool(other.roles)
        return not has_more and set(other.groups.all()) <= set(self.narrowed_to)

    def require_management(self, other: User) -> None:
        """Raises PermissionDenied."""
        if not self.may_manage(other):
            raise PermissionDenied(f"You may not change {other}, who has rights that you do not have.")

    def require_roles(self, roles: Iterable[str]) -> None:
        """Raises PermissionDenied if one of them is not theirs to give or take."""
        refused = sorted(role for role in set(roles) if not self.may_give(role))
        if refused:
            which = "beyond this token" if self.is_limited else "that you do not have"
            raise PermissionDenied(f"You may not give or take roles {which}: {', '.join(refused)}.")

    def require_groups(self, groups: Iterable[Group]) -> None:
        """Raises PermissionDenied if one of them is beyond the token in use."""
        foreign = [] if self.narrowed_to is None else [group for group in groups if group not in self.narrowed_to]
        if foreign:
            raise PermissionDenied(f"This token does not reach the group {foreign[0]}.")

    def require_unnarrowed(self) -> None:
        """For what reaches beyond every group. Raises PermissionDenied."""
        if self.narrowed_to is not None:
            raise PermissionDenied("A token that is narrowed to groups cannot do what concerns others as well.")

    def may_give(self, role: str) -> bool:
        """Not by a narrowed token: a role knows no groups. Nor to administer by a limited one: whoever was given that,
        with a password that is known, would be a way to an unlimited sign-in."""
        if self.user is None:
            return True
        beyond = self.narrowed_to is not None or (self.is_limited and role in ADMINISTERING)
        return not beyond and self.user.may_give(role)

    def require_password_right(self, other: User) -> None:
        """For a new password of theirs: by a limited token, of nobody who administers. Raises PermissionDenied."""
        self.require_management(other)
        administers = other.is_staff or other.is_superuser or bool(set(ADMINISTERING) & set(other.roles))
        if self.is_limited and (administers or other == self.user):
            raise PermissionDenied("A limited token cannot set its owner's password, nor an administrator's.")
