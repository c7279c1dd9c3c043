"""Who may sign in, and who may do what in Django's admin: permissions of the person, plus those of their roles."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts.addresses import door, peer
from accounts.devices import COOKIE
from accounts.models import User
from accounts.roles import admin_permissions
from accounts.signin import Locked, WrongCredentials, sign_in


class RoleBackend(ModelBackend):
    """Groups say which sources one may read and carry no permissions; roles do."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """The same throttled sign-in as every door's. A lock is shown as the form's error."""
        email = kwargs.get("email") if username is None else username
        if email is None or password is None:
            return None
        try:
            if request is None:
                return sign_in(email, password, "", way="command")
            cookie = request.COOKIES.get(COOKIE, "")
            return sign_in(email, password, peer(request), cookie=cookie, way=door(request))
        except WrongCredentials:
            return None
        except Locked as fault:
            raise ValidationError(str(fault), code="locked") from None

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
