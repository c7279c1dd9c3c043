"""Who may do what in Django's admin: permissions of the person, plus those of the person's roles."""

from typing import Any

from django.contrib.auth.backends import ModelBackend

from accounts.models import User
from accounts.roles import admin_permissions


class RoleBackend(ModelBackend):
    """Groups say which sources one may read and carry no permissions; roles do."""

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """The permissions of the user's roles, in Django's spelling."""
        if not isinstance(user_obj, User) or not user_obj.is_active or obj is not None:
            return set()
        return admin_permissions(user_obj.roles)

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Own permissions and those of the roles; none for somebody who was deactivated."""
        if not isinstance(user_obj, User) or not user_obj.is_active or obj is not None:
            return set()
        return self.get_user_permissions(user_obj) | self.get_group_permissions(user_obj)
