"""The admin site's pages for people, groups, keys and the audit log. Nobody gives a right that they do not have."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import models as auth
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.db import transaction
from django.db.models import Count, Field, ManyToManyField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst, format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import (
    admin_secondfactor,  # noqa: F401 - registers itself
    issuing,
    people,
    secondfactor,
)
from accounts.admin_audit import AuditedAdmin, acting, actor, allowed
from accounts.admin_tokens import TokenAdmin
from accounts.locales import LANGUAGES, timezones
from accounts.models import AuditEntry, Group, Token, User
from accounts.roles import ROLES, admin_permissions
from accounts.units import unit

if TYPE_CHECKING:
    BaseUserAdmin = DjangoUserAdmin[User]
    UserCreationForm = AdminUserCreationForm[User]
    UserForm = forms.ModelForm[User]
    PasswordForm = AdminPasswordChangeForm[User]
    PermissionField = forms.ModelMultipleChoiceField[auth.Permission]
else:
    BaseUserAdmin = DjangoUserAdmin
    UserCreationForm = AdminUserCreationForm
    UserForm = forms.ModelForm
    PasswordForm = AdminPasswordChangeForm
    PermissionField = forms.ModelMultipleChoiceField

admin.site.site_header = admin.site.site_title = "Switchboard"
admin.site.index_title = _("Administration")
admin.site.unregister(auth.Group)  # rights come from roles; our groups say what one may read
admin.site.register(Token, TokenAdmin)

RIGHTS = ("is_staff", "is_superuser", "user_permissions")


VERBS = {"add": _("add"), "change": _("change"), "delete": _("delete"), "view": _("view")}


class Permissions(PermissionField):
    """Named in the reader's language, where the names in the database are English."""

    def label_from_instance(self, obj: auth.Permission) -> str:
        verb, _sep, model = obj.codename.partition("_")
        said = VERBS[verb] if verb in VERBS and model == obj.content_type.model else gettext(obj.name)
        return f"{obj.content_type} | {said}"


class AddUserForm(UserCreationForm):
    """A person with e-mail and password, or a program's user with neither."""

    # Django's own words tell of ways to sign in that there are not.
    usable_password = UserCreationForm.create_usable_password_field(_("Off: cannot sign in with a password."))

    class Meta:
        model = User
        fields = ("email", "name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        said = self.fields["email"].widget.attrs
        said["autocomplete"] = "username"  # of the password beside it, for whoever keeps passwords
        said.pop("autofocus", None)  # the admin site's own script has been there before

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if found.get("set_usable_password") and not found.get("email") and "email" not in self.errors:
            self.add_error("email", gettext("Whoever signs in with a password needs an e-mail."))
        return found


class ChangePasswordForm(PasswordForm):
    """Django's, whose hint is English, and whose first field the admin site's script has in hand already."""

    usable_password_help_text = format_lazy(  # type: ignore[assignment]
        '{}<ul id="id_unusable_warning" class="messagelist"><li class="warning">{}</li></ul>',  # for Django's script
        _("Off: cannot sign in with a password."),
        _("Switched off, the present password is lost."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].widget.attrs.pop("autofocus", None)


@admin.register(User)
class UserAdmin(AuditedAdmin[User], BaseUserAdmin):
    """Retiring is the way to end a user; deleting takes a permission of its own."""

    add_form = AddUserForm
    change_password_form = ChangePasswordForm
    form = UserForm  # Django's would show parts of the password's hash
    add_fieldsets = (
        (None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),
        (_("What they may do"), {"fields": ("roles", "groups", "may_use_public")}),
        (_("Preferences"), {"fields": ("language", "timezone")}),
    )
    fieldsets = (
        (None, {"fields": ("email", "name", "sign_in")}),
        (_("What they may do"), {"fields": ("roles", "groups", "may_use_public")}),
        (_("Preferences"), {"fields": ("language", "timezone")}),
        (_("Administration"), {"fields": RIGHTS}),
        (_("State"), {"fields": ("is_active", "last_login", "created_at")}),
    )
    list_display = ("__str__", "name", "shown_roles", "is_staff", "is_active", "live_tokens")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("email", "name")
    ordering = ("email", "created_at")
    actions = ("retire", "reactivate", "turn_off_second_factor")

    # -- who may do what ------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or acting(request).may_manage(obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Never oneself: so there is always an administrator left."""
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or allowed(people.allow_end, acting(request), obj)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Rights are given by superusers, and to others only: so there is always one left."""
        fixed = ("sign_in", "is_active", "last_login", "created_at")
        return fixed if actor(request).is_superuser and obj != actor(request) else fixed + RIGHTS

    # -- forms ----------------------------------------------------------------------------------

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "roles":
            held = {code: name for code, name in ROLES.items() if acting(request).may_give(code)}
            return forms.MultipleChoiceField(
                label=_("Roles"),
                choices=held.items(),
                required=False,
                widget=forms.CheckboxSelectMultiple,
                help_text=db_field.help_text,
            )
        if db_field.name == "language":
            return forms.ChoiceField(label=_("Language"), choices=LANGUAGES.items(), initial=db_field.default)
        if db_field.name == "timezone":
            return forms.ChoiceField(
                label=_("Time zone"), choices=[(name, name) for name in timezones()], initial=db_field.default
            )
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def formfield_for_manytomany(
        self, db_field: ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> forms.ModelMultipleChoiceField[Any] | None:
        # Needs no script, and each box has its label; neither is so with Django's two lists.
        kwargs["widget"] = forms.CheckboxSelectMultiple
        if db_field.name == "user_permissions":  # each one's name holds its content type's
            kwargs["queryset"] = auth.Permission.objects.select_related("content_type")
            kwargs["form_class"] = Permissions
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        """Somebody else's. One's own is changed under Account, which asks for the present one."""
        found = self.get_object(request, unquote(id))
        if found == actor(request):
            return redirect("profile")
        if request.method != "POST":
            return super().user_change_password(request, id, form_url)
        return self._changed_password(request, id, form_url)

    @unit
    @transaction.atomic
    def _changed_password(self, request: HttpRequest, pk: str, form_url: str) -> HttpResponse:
        """With its audit row, and the end of what the former one opened."""
        found = self.get_object(request, unquote(pk))
        before = found.password if found else ""
        response = super().user_change_password(request, pk, form_url)
        for user in User.objects.filter(pk=found.pk).exclude(password=before) if found else ():
            people.end_logins(acting(request), user)
        return response

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Django's one transaction, made again when it lost to others."""
        return unit(super().add_view)(request, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """By the rules of every door, with the row as it is now: others may have given it rights meanwhile."""
        said, wanted = acting(request), form.cleaned_data
        if "roles" in form.changed_data and not obj.is_staff and admin_permissions(obj.roles):
            need = gettext("What these roles bring here takes “%(right)s” as well; a superuser gives it.")
            messages.warning(request, need % {"right": capfirst(gettext("may enter the admin"))})
        if not change:
            people.allow_add(said, wanted.get("groups", ()), wanted.get("roles", ()))
            super().save_model(request, obj, form, change)
            return
        before = _present(obj)
        if before is None:
            raise Http404
        people.allow_edit(said, before, wanted.get("groups"), wanted.get("roles"))
        if not (obj.is_superuser and obj.email):
            people.keep_an_administrator(before)
        super().save_model(request, obj, form, change)
        if before.has_role(issuing.AGENTS_ROLE):
            people.end_agents(obj)

    # -- list -----------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        live = Token.objects.live().filter(user=OuterRef("pk")).order_by().values("user")
        counted = Subquery(live.annotate(number=Count("pk")).values("number"))
        return super().get_queryset(request).annotate(live_token_count=Coalesce(counted, 0))

    @admin.display(description=_("roles"))
    def shown_roles(self, user: User) -> str:
        return ", ".join(str(ROLES.get(role, role)) for role in user.roles)

    @admin.display(description=_("live tokens"), ordering="live_token_count")
    def live_tokens(self, user: User) -> int:
        return user.live_token_count  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("password"))
    def sign_in(self, user: User) -> str:
        """Not the hash, nor a part of it."""
        state, verb = gettext("None: cannot sign in."), gettext("Set one")
        if user.has_usable_password():
            state, verb = gettext("Set."), gettext("Change it")
        link = reverse("admin:auth_user_password_change", args=[user.pk])
        return format_html('{} <a href="{}">{}</a>', state, link, verb)

    # -- deleting -------------------------------------------------------------------------------

    only_marks = True
    acts_in_steps = ("delete_selected", "retire", "reactivate", "turn_off_second_factor")

    def delete_some(self, request: HttpRequest, some: list[User]) -> None:
        """Nobody sees them from now on; chats, keys and the like go step by step."""
        for user in some:
            people.allow_end(acting(request), people.locked(user))
            user.remove()

    def still_there(self, some: list[User]) -> list[User]:
        """Locked in the order that `people` has."""
        return [user for user in some if _present(user)]

    # -- actions --------------------------------------------------------------------------------

    @admin.action(permissions=["change"], description=_("Retire: sign-in, sessions and tokens end now"))
    def retire(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        users = list(queryset)
        if actor(request) in users:
            self.message_user(request, gettext("Nothing was done: you cannot retire yourself."), messages.ERROR)
        elif self.all_changeable(request, users):
            for user in users:
                with suppress(User.DoesNotExist):  # somebody else has just deleted them
                    people.retire(acting(request), user, verb="retire")
            self.message_user(request, gettext("Retired: %(n)d.") % {"n": len(users)})

    @admin.action(permissions=["change"], description=_("Reactivate: may sign in again, tokens stay revoked"))
    def reactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        users = list(queryset)
        if self.all_changeable(request, users):
            for user in users:
                with suppress(User.DoesNotExist):
                    people.reactivate(acting(request), user)
            self.message_user(request, gettext("Reactivated: %(n)d.") % {"n": len(users)})

    @admin.action(permissions=["change"], description=_("Turn the second factor off: the password alone signs in"))
    def turn_off_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """For who lost the app; for oneself there is the account's page, which asks for the password."""
        users = [user for user in queryset if secondfactor.is_on(user)]
        if actor(request) in users:
            refusal = gettext("Nothing was done: your own is turned off under Account.")
            self.message_user(request, refusal, messages.ERROR)
        elif self.all_changeable(request, users):
            for user in users:
                people.turn_off_second_factor(acting(request), user, "turn off second factor of user")
            self.message_user(request, gettext("Turned off: %(n)d.") % {"n": len(users)})


def _present(user: User) -> User | None:
    """The row, locked; None if somebody else has just deleted it."""
    try:
        return people.locked(user)
    except User.DoesNotExist:
        return None


@admin.register(Group)
class GroupAdmin(AuditedAdmin[Group]):
    fields = ("name", "description")
    list_display = ("name", "description", "member_count")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        return super().get_queryset(request).annotate(counted=Count("members"))

    @admin.display(description=_("members"), ordering="counted")
    def member_count(self, group: Group) -> int:
        return group.counted  # type: ignore[attr-defined, no-any-return]


@admin.register(AuditEntry)
class AuditEntryAdmin(AuditedAdmin[AuditEntry]):
    """To be read only, by whomever."""

    list_display = ("at", "actor_name", "action", "what", "way", "address", "times", "last_at")
    fields = list_display
    list_filter = ("way", "action")
    search_fields = ("actor_name", "action", "what")
    date_hierarchy = "at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False
