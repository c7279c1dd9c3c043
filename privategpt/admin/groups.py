"""The admin site's groups, with the sources that hang on them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext

from accounts.admin import GroupAdmin
from accounts.admin_audit import acting
from accounts.models import Group
from privategpt import knowledge

admin.site.unregister(Group)  # registered by accounts, which knows nothing of sources


@admin.register(Group)
class GroupOfSourcesAdmin(GroupAdmin):
    """Deletes a group as contract 2 does: together with the sources that only its members could read."""

    only_marks = True

    def delete_some(self, request: HttpRequest, some: list[Group]) -> None:
        for group in some:
            knowledge.delete_group(acting(request), group)

    def log_deleted(self, request: HttpRequest, some: list[Group]) -> None:
        """The act writes its own row of the audit log, with the number of sources."""
        self.log_as_django(request, some)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The confirmation says how many sources go as well; their titles may not be the administrator's to read."""
        doomed, counts, needed, protected = super().get_deleted_objects(objs, request)
        orphans = knowledge.only_of(list(objs)).count()
        if orphans:
            doomed = [*doomed, gettext("Sources that nobody else can read: %(n)d") % {"n": orphans}]
            counts = {**counts, gettext("sources"): orphans}
        return doomed, counts, needed, protected
