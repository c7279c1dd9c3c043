"""The admin site's page for scenarios, under the same rules as contract 2's (section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin_audit import AuditedAdmin, actor
from privategpt.models import Scenario

if TYPE_CHECKING:
    ScenarioModelForm = forms.ModelForm[Scenario]
else:
    ScenarioModelForm = forms.ModelForm

LONGEST_PROMPT = 20_000  # characters, as in contract 2


class ScenarioForm(ScenarioModelForm):
    """The limits of contract 2: what is saved here can be read and changed there."""

    name = forms.CharField(label=_("Name"), min_length=3, max_length=40)
    description = forms.CharField(label=_("Description"), min_length=3, max_length=128)
    creativity = forms.IntegerField(label=_("Creativity"), min_value=1, max_value=4, initial=1)
    k = forms.IntegerField(label=_("Passages at most"), min_value=1, max_value=20, initial=5)
    similarity_threshold = forms.FloatField(label=_("Least likeness"), min_value=0.0, max_value=0.9999, initial=0.0)

    class Meta:
        model = Scenario
        fields = (
            *("name", "description", "icon", "active", "context_retriever_type", "k", "similarity_threshold"),
            *("use_sparse", "use_dense", "use_reranking", "creativity", "use_history"),
            *("system_pre_prompt", "user_pre_prompt", "user_post_prompt"),
        )

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if found.get("use_history") and found.get("context_retriever_type") != Scenario.Retriever.NONE:
            self.add_error("use_history", gettext("Only with the retriever none."))
        for name in ("system_pre_prompt", "user_pre_prompt", "user_post_prompt"):
            if len(found.get(name, "")) > LONGEST_PROMPT:
                self.add_error(name, gettext("A prompt has at most %(n)d characters.") % {"n": LONGEST_PROMPT})
        return found


@admin.register(Scenario)
class ScenarioAdmin(AuditedAdmin[Scenario]):
    form = ScenarioForm
    list_display = ("name", "description", "active", "context_retriever_type", "k", "owner", "created_at")
    list_filter = ("active", "context_retriever_type")
    list_select_related = ("owner",)
    search_fields = ("name", "description")
    fieldsets = (
        (None, {"fields": ("name", "description", "icon", "active")}),
        (
            _("What it is answered from"),
            {
                "fields": (
                    *("context_retriever_type", "k", "similarity_threshold"),
                    *("use_sparse", "use_dense", "use_reranking"),
                )
            },
        ),
        (
            _("How it is answered"),
            {
                "fields": (
                    *("creativity", "use_history"),
                    *("system_pre_prompt", "user_pre_prompt", "user_post_prompt"),
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scenario]:
        return Scenario.objects.visible_to(actor(request))

    def save_model(self, request: HttpRequest, obj: Scenario, form: Any, change: bool) -> None:
        if not change:
            obj.owner = actor(request)
        super().save_model(request, obj, form, change)
