"""The base of every page of the admin site: whatever is done there leaves a row in the audit log.

What it shows is what the page names: lists are filtered by nothing else, and what goes along with a deletion is
counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import translation
from django.utils.decorators import method_decorator
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_protect

from accounts import audit, steps
from accounts.actors import Actor
from accounts.addresses import peer
from accounts.admin_lookups import offered
from accounts.models import User
from accounts.units import unit

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.models import LogEntry
else:

    class ModelAdmin(admin.ModelAdmin):
        """Django's own is generic for the type checker only."""

        def __class_getitem__(cls, _: object) -> type:
            return cls


A_FEW = 20  # objects that are deleted in one transaction

M = TypeVar("M", bound=models.Model)


def actor(request: HttpRequest) -> User:
    """Who acts; the admin site lets nobody in who is not signed in."""
    return cast(User, request.user)


def acting(request: HttpRequest) -> Actor:
    """The same, for the acts that every door offers."""
    return Actor(actor(request), peer(request), "admin site")


def allowed(rule: Callable[..., None], *about: Any) -> bool:
    """Whether a rule that raises PermissionDenied lets it pass."""
    try:
        rule(*about)
    except PermissionDenied:
        return False
    return True


def could_be(field: models.Field[Any, Any], value: str) -> bool:
    """Whether a posted value can be one of this field's at all."""
    try:
        field.to_python(value)
    except ValidationError:
        return False
    return True


class AuditedAdmin(ModelAdmin[M]):
    """Writes the audit log beside the act, in one transaction, and saves only the fields that were changed."""

    show_facets = admin.ShowFacets.NEVER
    acts_in_steps: tuple[str, ...] = ("delete_selected",)  # each row, or a few, with its audit row in a transaction
    only_marks = False  # `delete_some` takes the objects out of sight; their rows go later

    def record(self, request: HttpRequest, verb: str, obj: models.Model, detail: str = "") -> None:
        """One row: the verb and the kind of thing; which one by name and key (names need not be unique), and how.

        In the contracts' language, whoever acts: rows are searched, and read by others.
        """
        with translation.override(None):
            audit.record(
                f"{verb} {self.opts.verbose_name}",
                f"{str(obj)[:100]} [{obj.pk}] {detail}".rstrip(),
                by=actor(request),
                way="admin site",
                address=peer(request),
            )

    def log_addition(self, request: HttpRequest, obj: M, message: Any) -> LogEntry:
        self.record(request, "add", obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: M, message: Any) -> LogEntry:
        entry = super().log_change(request, obj, message)
        with translation.override(None):
            said = entry.get_change_message()
        self.record(request, "change", obj, said)
        return entry

    # -- deleting: no long transaction, whatever hangs on the objects ------------------------------

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Django's is one transaction around everything, the search for what hangs on the object included."""
        return cast(HttpResponse, self._delete_view(request, object_id, extra_context))  # type: ignore[attr-defined]

    delete_view = method_decorator(csrf_protect)(delete_view)

    def delete_model(self, request: HttpRequest, obj: M) -> None:
        self._delete(request, [obj])

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[M]) -> None:
        for some in steps.portions(list(queryset), A_FEW):
            self._delete(request, some)

    @unit
    def _delete(self, request: HttpRequest, some: list[M]) -> None:
        """A few, in a transaction with their rows of the audit log; what hangs on them goes before, step by step."""
        if not self.only_marks:
            steps.loosen(self.model, [obj.pk for obj in some])
        with transaction.atomic():
            if there := self.still_there(some):
                self.log_deleted(request, there)
                self.delete_some(request, there)

    def still_there(self, some: list[M]) -> list[M]:
        """Without those that somebody else has just deleted; the others' rows are held until the transaction ends."""
        rows = self.model._default_manager.select_for_update().filter(pk__in=[obj.pk for obj in some])
        held = set(rows.order_by("pk").values_list("pk", flat=True))
        return [obj for obj in some if obj.pk in held]

    def delete_some(self, request: HttpRequest, some: list[M]) -> None:
        """The act itself."""
        self.model._base_manager.filter(pk__in=[obj.pk for obj in some]).delete()

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[LogEntry]:
        """Django's call, which comes before the deletion: `log_deleted` does it along with the act."""
        return []

    def log_deleted(self, request: HttpRequest, some: list[M]) -> None:
        for obj in some:
            self.record(request, "delete", obj)
        self.log_as_django(request, some)

    def log_as_django(self, request: HttpRequest, some: list[M]) -> None:
        """The rows that the admin site's own history shows."""
        super().log_deletions(request, some)  # type: ignore[arg-type]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the name of what it lists, where Django's title is a command."""
        return super().changelist_view(
            request, {"title": capfirst(self.opts.verbose_name_plural)} | (extra_context or {})
        )

    def save_model(self, request: HttpRequest, obj: M, form: Any, change: bool) -> None:
        """A change writes its own columns: others may have moved on since the row was read."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        if not self.still_there([obj]):
            raise Http404
        columns = {field.name for field in obj._meta.concrete_fields}
        obj.save(update_fields=columns.intersection(form.changed_data))

    def response_action(self, request: HttpRequest, queryset: models.QuerySet[M], *args: Any) -> HttpResponse | None:
        """Django has no transaction around actions; the act and its audit row need one, or one for each step."""
        if not all(could_be(self.opts.pk, value) for value in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("The selection holds something that is no id.")
        if set(request.POST.getlist("action")) <= {*self.acts_in_steps, ""}:
            return super().response_action(request, queryset, *args)
        act: Any = transaction.atomic(super().response_action)
        return cast("HttpResponse | None", unit(act)(request, queryset, *args))

    def changeform_view(self, *args: Any, **named: Any) -> HttpResponse:
        """Django's one transaction, made again when it lost to others."""
        return unit(super().changeform_view)(*args, **named)

    def each(self, request: HttpRequest, verb: str, objects: Iterable[M], act: Callable[[M], None]) -> None:
        """An act on each one, with its audit row in a transaction."""

        def done(obj: M) -> None:
            act(obj)
            self.record(request, verb, obj)

        for obj in objects:
            unit(transaction.atomic(done))(obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What was chosen by its name, what goes along by kind and number: Django lists every row with its text."""
        if self.only_marks:
            return self._marked_objects(list(objs), request)
        _, counts, needed, protected = super().get_deleted_objects(objs, request)
        ties = {str(m._meta.verbose_name_plural) for m in apps.get_models(include_auto_created=True) if _is_tie(m)}
        shown = {kind: n for kind, n in counts.items() if str(kind) not in ties}
        return [self.named(obj) for obj in objs], shown, needed, protected

    def _marked_objects(self, chosen: list[M], request: HttpRequest) -> Any:
        """Django would load all that goes along, texts included, to ask for its permissions and count it."""
        along = steps.hanging(self.model._base_manager.filter(pk__in=[obj.pk for obj in chosen]))
        counts = {kind._meta.verbose_name_plural: n for kind, n in along.items() if n and not _is_tie(kind)}
        is_allowed = all(self.has_delete_permission(request, obj) for obj in chosen)
        refused = set() if is_allowed else {self.opts.verbose_name}
        names = [self.named(obj) for obj in chosen]
        return names, {self.opts.verbose_name_plural: len(chosen)} | counts, refused, []

    def named(self, obj: M) -> str:
        """What the confirmation of a deletion calls it."""
        return str(obj)

    def all_changeable(self, request: HttpRequest, objects: Iterable[M]) -> bool:
        """For actions: whether each one may be changed. If not, says so; then nothing is to be done."""
        refused = [obj for obj in objects if not self.has_change_permission(request, obj)]
        if refused:
            self.message_user(
                request,
                gettext("Nothing was done: you may not change %(what)s.") % {"what": refused[0]},
                messages.ERROR,
            )
        return not refused

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in offered(self, request)

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Rows are found by their key only; Django also takes any field that some relation points to."""
        return to_field == self.opts.pk.name


def _is_tie(model: type[models.Model]) -> bool:
    """Whether its rows only tie two others together: they have no name, and Django's for them is English."""
    return bool(model._meta.auto_created)
