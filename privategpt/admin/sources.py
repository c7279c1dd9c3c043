"""The admin site's page for sources: their states, and what can be done about them. No text of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin_audit import AuditedAdmin, actor
from privategpt import ingest
from privategpt.models import Source
from privategpt.pages.keeping import Keeper
from privategpt.rendering import visible
from privategpt.templatetags.sources import size

if TYPE_CHECKING:
    from collections.abc import Iterable

JACKS = {
    Source.State.CREATION: "",
    Source.State.PROCESSING: "busy",
    Source.State.VECTORIZED: "on",
    Source.State.ERROR: "bad",
}
WORDS = {
    Source.State.CREATION: _("Waiting"),
    Source.State.PROCESSING: _("Making vectors"),
    Source.State.VECTORIZED: _("Ready"),
    Source.State.ERROR: _("Failed"),
}


SHORT = 90  # characters of a reason in the list


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(state.value, words) for state, words in WORDS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Source]) -> QuerySet[Source]:
        return queryset.filter(state=self.value()) if self.value() else queryset


class PublicFilter(admin.SimpleListFilter):
    title = _("readers")
    parameter_name = "public"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Public")), ("no", _("Groups"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Source]) -> QuerySet[Source]:
        return queryset.filter(is_public=self.value() == "yes") if self.value() else queryset


@admin.register(Source)
class SourceAdmin(AuditedAdmin[Source]):
    """Superusers see every source; others those that they may read, and act on those that they may change."""

    list_display = ("shown_title", "shown_state", "short_reason", "shown_groups", "creator", "shown_size", "updated_at")
    list_filter = (StateFilter, PublicFilter, ("groups", admin.RelatedOnlyFieldListFilter), "language")
    list_select_related = ("creator",)
    list_per_page = 50
    search_fields = ("title",)
    ordering = ("-updated_at",)
    fields = (
        *("shown_title", "creator", "shown_groups", "shown_state", "shown_reason", "language", "shown_size"),
        *("passages_total", "passages_done", "created_at", "updated_at", "place"),
    )
    actions = ("vectorize_again",)
    acts_in_steps = ("delete_selected", "vectorize_again")
    only_marks = True

    # -- who may do what ------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        user = actor(request)
        found = Source.objects.kept()
        if not user.is_superuser:
            found = found.filter(pk__in=Source.objects.visible_to(user).values("pk"))
        sized: Any = found.annotate(characters=Length("content")).defer("content")
        return sized.prefetch_related("groups").order_by(*self.ordering)  # type: ignore[no-any-return]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Sources come in through the pages and contract 2."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Source | None = None) -> bool:
        """Title, text and readers are changed in the pages."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Source | None = None) -> bool:
        user = actor(request)
        return user.has_perm("privategpt.view_source") or user.has_perm("privategpt.change_source")

    def has_delete_permission(self, request: HttpRequest, obj: Source | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or _may_change(request, [obj]))

    def has_vectorize_permission(self, request: HttpRequest) -> bool:
        return actor(request).has_perm("privategpt.change_source")

    # -- columns --------------------------------------------------------------------------------

    @admin.display(description=_("title"), ordering="title")
    def shown_title(self, source: Source) -> str:
        return visible(str(source))[:200]

    @admin.display(description=_("readers"))
    def shown_groups(self, source: Source) -> str:
        names = [group.name for group in source.groups.all()]
        return ", ".join([*names, *([gettext("Public")] if source.is_public else [])]) or "–"  # noqa: RUF001

    @admin.display(description=_("size"))
    def shown_size(self, source: Source) -> str:
        return size(source.characters)  # type: ignore[attr-defined]

    @admin.display(description=_("state"), ordering="state")
    def shown_state(self, source: Source) -> str:
        state = Source.State(source.state)
        return format_html(
            '<span class="state"><span class="jack {}"></span>{}</span>', JACKS[state], str(WORDS[state])
        )

    @admin.display(description=_("reason"))
    def shown_reason(self, source: Source) -> str:
        return visible(source.state_reason)[:300]

    @admin.display(description=_("reason"))
    def short_reason(self, source: Source) -> str:
        return Truncator(visible(source.state_reason)).chars(SHORT)

    @admin.display(description=_("text"))
    def place(self, source: Source) -> str:
        """Whoever may not read it meets a page that says no more."""
        return format_html('<a href="{}">{}</a>', reverse("source", args=[source.pk]), gettext("Open the source"))

    # -- acts: the verbs of the pages and of contract 2 -----------------------------------------

    @admin.action(permissions=["vectorize"], description=_("Vectorize again: its vectors are made anew"))
    def vectorize_again(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        sources = list(queryset)
        if not _may_change(request, sources):
            self.message_user(request, gettext("Nothing was done: a source among them is not yours."), messages.ERROR)
            return
        for source in sources:
            ingest.vectorize_again(source)
            self.record(request, "vectorize again", source)
        self.message_user(request, gettext("Sent back to the worker: %(n)d.") % {"n": len(sources)})

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """By name and number: Django would list every passage with its text."""
        sources: list[Any] = list(objs)
        passages = sum(source.passages_total for source in sources)
        counts = {_("sources"): len(sources), _("passages"): passages}
        refused = set() if _may_change(request, sources) else {self.opts.verbose_name}
        return [self.shown_title(source) for source in sources], counts, refused, []

    def delete_some(self, request: HttpRequest, some: list[Any]) -> None:
        ingest.delete(*some)


def _may_change(request: HttpRequest, sources: Iterable[Source]) -> bool:
    """All of them: superusers every source, others by the same rule as in the pages."""
    user = actor(request)
    if user.is_superuser:
        return True
    keeper = Keeper(user)
    return all(keeper.may_change(source) for source in sources)
