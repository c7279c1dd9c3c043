"""Who may store and change which sources in the browser: the same rule as contract 2's, section 6."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.http import Http404
from django.shortcuts import get_object_or_404

from accounts.models import Group, User
from privategpt.models import Source


class Keeper:
    """A user's rights to sources, read once for a page."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.groups: list[Group] = list(user.groups.all())
        self.may_store = user.has_role("documents") and bool(self.groups or user.may_use_public)

    def may_keep(self, groups: Collection[Group], *, is_public: bool) -> bool:
        """Whether all who read such a source are the user's: their own groups, or everybody for who may publish."""
        if not self.may_store or (is_public and not self.user.may_use_public):
            return False
        return set(groups) <= set(self.groups)

    def may_change(self, source: Source) -> bool:
        """A source with its groups prefetched."""
        return self.may_keep(source.groups.all(), is_public=source.is_public)

    def source(self, pk: UUID) -> Source:
        """One that may be changed. What may not even be read is not found either. Raises Http404."""
        source = get_object_or_404(Source.objects.visible_to(self.user).prefetch_related("groups"), pk=pk)
        if not self.may_change(source):
            raise Http404
        return source

    def deleted_source(self, pk: UUID) -> Source:
        """One whose deletion this user may undo. Raises Http404."""
        source = get_object_or_404(Source.objects.exclude(deleted_at=None).prefetch_related("groups"), pk=pk)
        if not self.may_change(source):
            raise Http404
        return source
