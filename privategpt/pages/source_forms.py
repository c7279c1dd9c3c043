"""The forms that sources are written, moved and uploaded by."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Group
from privategpt import file_kinds, storable
from privategpt.models import Source
from privategpt.pages.account_forms import FIELD
from privategpt.pages.keeping import Keeper
from privategpt.pages.sentences import in_readers_language
from privategpt.reading import first_heading

LONGEST_TITLE = 1000  # characters
PUBLIC = "public"  # among the places a file can go to


class ReadersForm(forms.Form):
    """Who reads a source: everybody, or the members of some of one's own groups."""

    groups = forms.ModelMultipleChoiceField(
        label=_("Readers"), queryset=Group.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )
    public = forms.BooleanField(label=_("Public: everyone who is signed in"), required=False)

    def __init__(self, keeper: Keeper, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["groups"].queryset = keeper.user.groups.all()  # type: ignore[attr-defined]
        if not keeper.user.may_use_public:
            del self.fields["public"]

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if "groups" in found and bool(found["groups"]) == bool(found.get("public")):
            self.add_error("groups", gettext("Choose one group or more, or public."))
        return found

    @property
    def readers(self) -> list[Group]:
        """None: the source is public."""
        return list(self.cleaned_data["groups"])

    @classmethod
    def of(cls, keeper: Keeper, source: Source) -> dict[str, Any]:
        """What a form begins with for a source that is there."""
        return {"groups": [group.pk for group in source.groups.all()], "public": source.is_public}


class TextForm(forms.Form):
    """Title and text. A text that begins with a heading needs no title."""

    title = forms.CharField(
        label=_("Title"),
        help_text=_("Empty: the first heading."),
        max_length=LONGEST_TITLE,
        required=False,
        widget=forms.TextInput(FIELD | {"autocomplete": "off"}),
    )
    content = forms.CharField(
        label=_("Markdown"),
        strip=False,
        widget=forms.Textarea(FIELD | {"rows": 16, "spellcheck": "true", "dir": "auto"}),
    )

    def clean_content(self) -> str:
        """Browsers send CR LF; offsets of passages count what is stored."""
        content: str = self.cleaned_data["content"].replace("\r\n", "\n")
        if not content.strip():
            raise ValidationError(gettext("There is no text yet."))
        try:
            storable.check_content(content)
        except storable.Unstorable as fault:
            raise ValidationError(said_of(fault)) from None
        return content

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if "content" in found and not found.get("title"):
            found["title"] = first_heading(found["content"])
            if not found["title"]:
                self.add_error("title", gettext("The text has no heading, so it needs a title."))
        return found


class NewSourceForm(ReadersForm, TextForm):
    field_order = ("title", "content", "groups", "public")


class UploadForm(forms.Form):
    """Where the files go; the files themselves are many under one name."""

    to = forms.ChoiceField(widget=forms.Select({"class": "button low", "aria-label": _("Where the files go")}))

    def __init__(self, keeper: Keeper, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups = {str(group.pk): group for group in keeper.groups}
        places: list[tuple[str, Any]] = [(key, group.name) for key, group in self._groups.items()]
        if keeper.user.may_use_public:
            places.append((PUBLIC, _("Public")))
        self.fields["to"].choices = places  # type: ignore[attr-defined]

    @property
    def readers(self) -> list[Group]:
        """None: public."""
        to = self.cleaned_data["to"]
        return [] if to == PUBLIC else [self._groups[to]]


class Unreadable(Exception):
    """A file that cannot become a source; the message says why and what to do."""


def text_of(file: UploadedFile[bytes]) -> tuple[str, str]:
    """Title and text of a Markdown file. Raises Unreadable; the first bytes say what it is, not its name."""
    raw = file.read().removeprefix(b"\xef\xbb\xbf")
    if kind := file_kinds.kind_of(raw):
        raise Unreadable(file_kinds.refusal(kind))
    try:
        content = raw.decode()
    except UnicodeDecodeError as fault:
        line = raw[: fault.start].count(b"\n") + 1
        raise Unreadable(
            gettext("Line %(line)d is not valid UTF-8. Save the file as UTF-8 and upload it again.") % {"line": line}
        ) from None
    content = content.replace("\r\n", "\n")
    if not content.strip():
        raise Unreadable(gettext("The file is empty."))
    try:
        storable.check_content(content)
    except storable.Unstorable as fault:
        raise Unreadable(said_of(fault)) from None
    name = PurePath((file.name or "").replace("\\", "/")).stem
    return (first_heading(content) or name or gettext("Without a title"))[:LONGEST_TITLE], content


def said_of(fault: storable.Unstorable) -> str:
    """Why a text cannot be stored, in the reader's language."""
    return file_kinds.refusal(fault.kind) if isinstance(fault, storable.NoText) else in_readers_language(str(fault))


def group_gone() -> str:
    """What is said when a group went away between the form and its saving."""
    return gettext("A group was deleted just now. Choose again.")


def stored_words(count: int) -> str:
    """What is said after storing so many."""
    return ngettext(
        "%(count)d source is saved and can be searched.", "%(count)d sources are saved and can be searched.", count
    ) % {"count": count}
