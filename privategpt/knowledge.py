"""What becomes of sources when the people's side changes."""

from __future__ import annotations

from accounts.models import Group
from accounts.people import Actor
from privategpt import ingest
from privategpt.models import Source
from privategpt.writing import transaction_in_turn


def delete_group(actor: Actor, group: Group) -> None:
    """Deletes the group with the sources that only its members could read: nobody could reach them any more.

    Raises Group.DoesNotExist if it has just been deleted.
    """
    with transaction_in_turn():
        # Locked first, so that a source that is being stored into it is in whole before this, or not at all.
        group = Group.objects.select_for_update().get(pk=group.pk)
        shared = Source.objects.filter(groups__in=Group.objects.exclude(pk=group.pk))
        orphans = list(group.sources.filter(is_public=False).exclude(pk__in=shared.values("pk")))
        for source in orphans:
            ingest.delete(source)
        name = group.name
        group.delete()
        actor.record("delete group", f"{name} with {len(orphans)} sources")
