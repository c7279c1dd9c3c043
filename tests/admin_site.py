"""Staff for the tests of the admin site, and how they press its buttons."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from accounts.models import User
from accounts.roles import ROLES


def administrator() -> User:
    """Somebody who may do everything."""
    return User.objects.create_superuser("root@example.org", "a long enough password")


def staff(*roles: str, email: str = "staff@example.org") -> User:
    """Somebody who may enter the admin site, with these roles only."""
    return User.objects.create_user(email, "a long enough password", is_staff=True, roles=list(roles))


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(model: type[Model], name: str, *args: object) -> str:
    """The path of an admin page: changelist, add, change, delete or history."""
    return reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_{name}", args=args)


def act(client: Client, action: str, rows: Iterable[Model], **extra: str) -> HttpResponse:
    """Chooses an action on a list, follows the redirect."""
    rows = list(rows)
    data = {"action": action, "_selected_action": [row.pk for row in rows], **extra}
    return client.post(page(type(rows[0]), "changelist"), data, follow=True)  # type: ignore[return-value]


def user_fields(user: User | None = None, **changed: Any) -> dict[str, Any]:
    """What a browser posts from a user's form."""
    fields: dict[str, Any] = {
        "email": (user and user.email) or "",
        "name": user.name if user else "",
        "roles": user.roles if user else [],
        "groups": [group.pk for group in user.groups.all()] if user else [],
        "language": "en",
        "timezone": "Europe/Berlin",
    }
    if user and user.may_use_public:
        fields["may_use_public"] = "on"
    return fields | changed


def everything() -> dict[str, Any]:
    """Form fields that ask for every right there is."""
    return {"is_superuser": "on", "is_staff": "on", "roles": list(ROLES), "user_permissions": ["1", "2"]}
