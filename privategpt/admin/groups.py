"""The admin site's groups, with the sources that hang on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext

from accounts.admin import GroupAdmin
from accounts.admin_audit import AuditedAdmin, acting
from accounts.models import Group
from privategpt import knowledge

if TYPE_CHECKING:
    from django.contrib.admin.models import LogEntry

admin.site.unregister(Group)  # registered by accounts, which knows nothing of sources


@admin.register(Group)
class GroupOfSourcesAdmin(GroupAdmin):
    """Deletes a group as contract 2 does: together with the sources that only its members could read."""

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        knowledge.delete_group(acting(request), obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        for group in queryset:
            self.delete_model(request, group)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Group]) -> list[LogEntry]:
        """The act writes its own row of the audit log, with the number of sources."""
        return super(AuditedAdmin, self).log_deletions(request, queryset)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The confirmation says how many sources go as well; their titles may not be the administrator's to read."""
        doomed, counts, needed, protected = super().get_deleted_objects(objs, request)
        orphans = knowledge.only_of(list(objs)).count()
        if orphans:
            doomed = [*doomed, gettext("Sources that nobody else can read: %(n)d") % {"n": orphans}]
            counts = {**counts, gettext("sources"): orphans}
        return doomed, counts, needed, protected
