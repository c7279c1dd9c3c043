"""The roles of contract 2 and what each may do in Django's admin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

# Code to what its holder may do, in the contract's words; for people's eyes in their own language.
ROLES: Final[Mapping[str, _StrOrPromise]] = {
    "ad": _("Directory settings"),
    "analytics": _("Analytics"),
    "documents": _("Manage sources, upload"),
    "confluence-documents": _("Import sources"),
    "smtp": _("Mail settings"),
    "system": _("System: logs, certificates, agents"),
    "users": _("User administration"),
}
ALIASES: Final[dict[str, str]] = {"Sources": "documents"}

MANAGE: Final = ("view", "add", "change", "delete")
READ: Final = ("view",)
# Role to "app.model" to actions. A superuser needs none of them.
ADMIN_PERMISSIONS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "users": {
        "accounts.user": ("view", "add", "change"),
        "accounts.group": MANAGE,
        "accounts.token": MANAGE,
        "accounts.authenticator": ("view", "delete"),
    },
    "system": {
        "relay.agent": ("view", "change"),
        "relay.conversation": READ,
        "accounts.token": READ,
        "accounts.auditentry": READ,
        "privategpt.scenario": MANAGE,
        "privategpt.chat": READ,
    },
    # Of sources the admin site shows and changes what its reader may read and change in the pages.
    "documents": {"privategpt.source": ("view", "change", "delete")},
    "analytics": {"relay.agent": READ},
}
WATCHING: Final = ("analytics", "system")  # roles that see the dashboard


def admin_permissions(roles: list[str]) -> set[str]:
    """Django's permission names ("app.action_model") that these roles bring; unknown roles bring none."""
    found = set()
    for role in roles:
        for model, actions in ADMIN_PERMISSIONS.get(role, {}).items():
            app, name = model.split(".")
            found |= {f"{app}.{action}_{name}" for action in actions}
        if role in WATCHING:
            found.add("privategpt.view_dashboard")
    return found
