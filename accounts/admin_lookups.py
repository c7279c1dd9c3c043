"""By what the lists of the admin site may be filtered: by what they offer as a filter, and by nothing else.

A filter is a question that gets an answer, so a look-up over a secret, or over a relation to one, tells it letter by
letter. Django allows every look-up over a page's own fields; here what is not offered is refused."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import get_fields_from_path
from django.db import models
from django.http import HttpRequest

PLAIN = ("", "__exact", "__isnull")
OF_TIME = ("__gte", "__lt", "__isnull")
OF_HIERARCHY = ("__year", "__month", "__day", "__gte", "__lt")


def offered(page: Any, request: HttpRequest) -> set[str]:
    """The parameters of the filters that this page shows beside its list."""
    found: set[str] = set()
    for each in page.get_list_filter(request):
        if isinstance(each, type):
            found.add(each.parameter_name)  # type: ignore[attr-defined]
        else:
            found |= _of_field(page.model, each if isinstance(each, str) else each[0])
    if page.date_hierarchy:
        found |= {page.date_hierarchy + ending for ending in OF_HIERARCHY}
    return found


def _of_field(model: type[models.Model], path: str) -> set[str]:
    """As Django's filter for this kind of field spells them."""
    field: Any = get_fields_from_path(model, path)[-1]
    if field.is_relation:
        return {f"{path}__{field.target_field.name}__exact", f"{path}__isnull"}
    endings = OF_TIME if isinstance(field, models.DateField) else PLAIN
    return {path + ending for ending in endings}
