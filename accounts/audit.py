"""The audit log: who did what to whom, when and from where. Written beside the act, in its transaction."""

from __future__ import annotations

from accounts.models import AuditEntry, User

LONGEST = 200  # characters of a detail


def record(action: str, what: object, *, by: User | None = None, way: str = "", address: str | None = "") -> None:
    """Writes one row. `way` names the door (admin key, admin site, command), `address` the peer's."""
    AuditEntry.objects.create(
        action=action,
        what=str(what)[:LONGEST],
        actor=by,
        actor_name=str(by)[:LONGEST] if by else way,
        way=way,
        address=address or "",
    )
