"""The admin site's pages for keys. A new key is shown on the page that answers its making, and never again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import ForeignKey, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import issuing, revocation
from accounts.admin_audit import AuditedAdmin, acting, actor
from accounts.models import Token, User

if TYPE_CHECKING:
    TokenForm = forms.ModelForm[Token]
else:
    TokenForm = forms.ModelForm


class AddTokenForm(TokenForm):
    days = forms.IntegerField(
        label=_("Days until it expires"),
        required=False,
        min_value=1,
        max_value=3650,
        help_text=_("Empty: it never does."),
    )

    class Meta:
        model = Token
        fields = ("kind", "user", "name")

    def clean(self) -> dict[str, Any]:
        """An asker is always somebody: asks without a user are the admin key's own."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if found.get("kind") not in (None, Token.Kind.AGENT) and not found.get("user") and "user" not in self.errors:
            self.add_error("user", gettext("Only an agent's token may belong to nobody."))
        return found

    def save(self, commit: bool = True) -> Token:
        if days := self.cleaned_data["days"]:
            self.instance.expires_at = timezone.now() + timedelta(days=days)
        return super().save(commit)


class Oneself(forms.Select):
    """Offers nobody but who looks at it. Whatever else is posted is refused by the rule, with its sentence."""

    def __init__(self, user: User) -> None:
        self._offered = [("", "---------"), (str(user.pk), str(user))]
        super().__init__()

    @property
    def choices(self) -> Any:
        return self._offered

    @choices.setter
    def choices(self, given: Any) -> None:
        """Django gives every user."""


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("usable", _("usable")), ("ended", _("revoked, expired or user inactive"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Token]) -> QuerySet[Token]:
        usable = Token.objects.usable().values("pk")
        if self.value() == "usable":
            return queryset.filter(pk__in=usable)
        return queryset.exclude(pk__in=usable) if self.value() == "ended" else queryset


STATES = {
    "live": _("live"),
    "expired": _("expired"),
    "revoked": _("revoked"),
    "user inactive": _("user inactive"),
}


class TokenAdmin(AuditedAdmin[Token]):
    """Once made, a token's name and expiry can be changed, and it can be revoked."""

    list_display = ("kind", "name", "user", "hint", "shown_state", "created_at", "expires_at", "last_used_at")
    list_display_links = ("kind", "name")
    list_filter = ("kind", StateFilter)
    list_select_related = ("user",)
    search_fields = ("name", "user__email", "user__name", "hint")
    fields = (*list_display, "revoked_at")
    actions = ("revoke",)

    # -- who may do what: a token is as good as its user ------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        """Without those of users who were deleted and whose rows have yet to go."""
        return super().get_queryset(request).filter(user__deleted_at=None)

    def has_change_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_end(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_end(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Token | None = None) -> list[str]:
        return [name for name in self.fields if name not in {"name", "expires_at"}] if obj else []

    @admin.display(description=_("state"))
    def shown_state(self, token: Token) -> str:
        return str(STATES[token.state])

    # -- making one -----------------------------------------------------------------------------

    def get_form(self, request: HttpRequest, obj: Token | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj:
            return super().get_form(request, obj, change, **kwargs)
        form = super().get_form(request, obj, change, **{"form": AddTokenForm} | kwargs)
        if not actor(request).has_role(issuing.AGENTS_ROLE):
            offered = form.base_fields["kind"].widget
            offered.choices = [choice for choice in offered.choices if choice[0] != Token.Kind.AGENT]
        return form

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> tuple[str, ...]:
        return self.fields if obj else ("kind", "user", "name", "days")

    def formfield_for_foreignkey(self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = User.objects.filter(is_active=True)
            kwargs["widget"] = Oneself(actor(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"user": actor(request).pk}

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        one_button = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, one_button | (extra_context or {}))

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            if "expires_at" in form.changed_data:
                self._expires(obj)
        else:
            issuing.allow_making(acting(request), obj.kind, obj.user)
            obj.new_key = obj.give_key()

    def _expires(self, token: Token) -> None:
        """Ends it everywhere if its new date has come; else memory alone forgets the old one, and agents stay."""
        tell = revocation.announce if token.ends_within(revocation.TRUSTED_FOR) else revocation.change
        tell([token.pk])

    def response_add(self, request: HttpRequest, obj: Token, post_url_continue: str | None = None) -> HttpResponse:
        """The key goes into this one page; a message or a redirect would put it into a cookie or the session."""
        context = {**self.admin_site.each_context(request), "title": _("New key"), "token": obj, "opts": self.opts}
        response = TemplateResponse(request, "admin/accounts/token/new_key.html", context)
        response["Cache-Control"] = "no-store"
        return response

    # -- ending one -----------------------------------------------------------------------------

    def delete_model(self, request: HttpRequest, obj: Token) -> None:
        """A key ends before its row goes: so that whoever remembers it hears of it."""
        Token.objects.filter(pk=obj.pk).revoke()
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        """The same for many."""
        Token.objects.filter(pk__in=queryset.values("pk")).revoke()
        super().delete_queryset(request, queryset)

    @admin.action(permissions=["change"], description=_("Revoke: no longer valid from now on"))
    def revoke(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        tokens = list(queryset.filter(revoked_at=None))
        if self.all_changeable(request, tokens):
            for token in tokens:
                issuing.end(acting(request), token)
            self.message_user(request, gettext("Revoked: %(n)d.") % {"n": len(tokens)})


def _may_end(request: HttpRequest, token: Token | None) -> bool:
    return token is None or issuing.may_end(acting(request), token)
