"""What becomes of sources when the people's side changes."""

from __future__ import annotations

from collections.abc import Collection

from accounts.actors import Actor
from accounts.models import Group
from accounts.units import unit
from privategpt import sweeping
from privategpt.models import Source, SourceQuerySet
from privategpt.writing import transaction_in_turn


@unit
def delete_group(actor: Actor, group: Group) -> None:
    """Deletes the group with the sources that only its members could read: nobody could reach them any more.

    Out of sight when this returns; the rows go step by step. Raises Group.DoesNotExist if it has just been deleted.
    """
    actor.require_groups([group])
    with transaction_in_turn():
        # Locked first, so that a source that is being stored into it is in whole before this, or not at all.
        group = Group.objects.select_for_update().get(pk=group.pk)
        actor.record("delete group", f"{group.name} with {only_of([group]).count()} sources")
        group.remove()
    sweeping.soon()


def only_of(groups: Collection[Group]) -> SourceQuerySet:
    """The sources that nobody could read any more without these groups."""
    held = Source.groups.through.objects.filter(group__deleted_at=None).values("source")
    those = [group.pk for group in groups]
    elsewhere = held.exclude(group__in=those)
    own = Source.objects.not_deleted().filter(is_public=False, pk__in=held.filter(group__in=those))
    return own.exclude(pk__in=elsewhere)
