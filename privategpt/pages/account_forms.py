"""The forms of the account's pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.locales import LANGUAGES, timezones
from accounts.models import Group, Token, User
from privategpt.api.credentials import SCOPES
from privategpt.pages.shell import THEMES

if TYPE_CHECKING:
    UserForm = forms.ModelForm[User]
else:
    UserForm = forms.ModelForm

FIELD = {"class": "in"}
ANSWER = "answer"  # among what a token may: connect as an agent, which is a kind of token of its own
DAYS = (7, 30, 90, 365)


class YouForm(UserForm):
    class Meta:
        model = User
        fields = ("name",)
        labels = {"name": _("Name")}
        widgets = {"name": forms.TextInput(FIELD | {"autocomplete": "name"})}


class ReadingForm(UserForm):
    """The language and time zone are the user's; theme and single keys are this browser's."""

    theme = forms.ChoiceField(label=_("Theme"), widget=forms.RadioSelect)
    single_keys = forms.BooleanField(label=_("Single-key shortcuts"), required=False)

    class Meta:
        model = User
        fields = ("language", "timezone")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        languages = dict(settings.LANGUAGES)
        if self.instance.language not in languages:  # chosen by a program; the pages then speak the browser's
            languages[self.instance.language] = LANGUAGES.get(self.instance.language, self.instance.language)
        zones = [(name, name.replace("_", " ")) for name in timezones()]
        widget = forms.Select(FIELD)
        self.fields["language"] = forms.ChoiceField(label=_("Language"), choices=languages.items(), widget=widget)
        self.fields["timezone"] = forms.ChoiceField(label=_("Time zone"), choices=zones, widget=forms.Select(FIELD))
        names = {"auto": _("As the device"), "light": _("Light"), "dark": _("Dark")}
        self.fields["theme"].choices = [(theme, names[theme]) for theme in THEMES]  # type: ignore[attr-defined]


class PasswordForm(forms.Form):
    present = forms.CharField(
        label=_("Present password"),
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(FIELD | {"autocomplete": "current-password"}),
    )
    new = forms.CharField(
        label=_("New password"),
        help_text=_("At least 8 characters. A sentence is fine."),
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(FIELD | {"autocomplete": "new-password"}),
    )

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._user = request.user

    def clean_new(self) -> str:
        new: str = self.cleaned_data["new"]
        validate_password(new, self._user)  # type: ignore[arg-type]
        return new


class TokenForm(forms.Form):
    """Nobody gives a token more than they may do: groups are their own, agents are for who runs the system."""

    name = forms.CharField(
        label=_("Name"),
        help_text=_("Where it will be used, so that you know it again."),
        max_length=100,
        widget=forms.TextInput(FIELD | {"autocomplete": "off"}),
    )
    may = forms.MultipleChoiceField(label=_("It may"), widget=forms.CheckboxSelectMultiple)
    groups = forms.ModelMultipleChoiceField(
        label=_("In these groups"),
        help_text=_("None ticked: in all of yours, also those that come later."),
        queryset=Group.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    ends = forms.TypedChoiceField(
        label=_("Ends"), coerce=int, initial=90, widget=forms.Select(FIELD), empty_value=None, required=False
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["may"].choices = abilities(user)  # type: ignore[attr-defined]
        self.fields["groups"].queryset = user.groups.all()  # type: ignore[attr-defined]
        if not user.groups.exists():
            del self.fields["groups"]
        ends = [(days, gettext("In %(days)d days") % {"days": days}) for days in DAYS]
        self.fields["ends"].choices = [*ends, ("", _("Never"))]  # type: ignore[attr-defined]

    def clean_may(self) -> list[str]:
        may: list[str] = self.cleaned_data["may"]
        if ANSWER in may and len(may) > 1:
            raise ValidationError(gettext("An agent's token does nothing else. Make two tokens."))
        return may

    @property
    def kind(self) -> Token.Kind:
        """What was asked for, once the form is valid."""
        return Token.Kind.AGENT if ANSWER in self.cleaned_data["may"] else Token.Kind.API


# What a token may do, in words.
ABILITIES = {
    "chats": _("Ask, and read own chats"),
    "sources:read": _("Read sources"),
    "sources:write": _("Change sources"),
    "admin": _("Administer groups, users and scenarios"),
    ANSWER: _("Answer: connect as an agent"),
}


def abilities(user: User) -> list[tuple[str, Any]]:
    """What a token of this user can be made for, and its words."""
    left_out = set()
    if not user.has_role("documents"):
        left_out.add("sources:write")
    if not user.roles and not user.is_superuser:
        left_out.add("admin")
    if not user.has_role("system"):
        left_out.add(ANSWER)  # an agent reads other people's questions
    return [(name, ABILITIES[name]) for name in (*SCOPES, ANSWER) if name not in left_out]
