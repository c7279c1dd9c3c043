"""What the composer sends: a question, where to look for its answer, and who is to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.db.models import Count
from django.utils.translation import get_language, gettext

from accounts.models import Group
from accounts.units import unit
from privategpt import answers
from privategpt.models import Chat, Message, Source
from privategpt.writing import transaction_in_turn

if TYPE_CHECKING:
    from accounts.models import User

LONGEST_QUESTION = 100_000  # characters
MINE, ALL, NONE = "mine", "all", "none"


@dataclass(frozen=True, slots=True)
class Backend:
    """A choice of who answers."""

    name: str
    label: str
    hint: str


def backends() -> list[Backend]:
    """Automatic first, then those that the settings name."""
    known = {
        "": Backend("", gettext("Automatic"), gettext("An endpoint if there is one, else an agent, else quotes")),
        "relay": Backend("relay", gettext("Agents"), gettext("The agent that has rested longest")),
        "quoting": Backend("quoting", gettext("Quote only"), gettext("No model: the best sentences, word for word")),
    }
    return [known[""], *(known.get(name) or _endpoint(name) for name in settings.LLM_BACKENDS)]


def _endpoint(name: str) -> Backend:
    model = str(settings.LLM_BACKENDS[name].get("CONFIG", {}).get("model", ""))
    return Backend(name, model or name, gettext("Endpoint"))


class QuestionForm(forms.Form):
    """The composer. Groups that are not the user's are no choice."""

    question = forms.CharField(max_length=LONGEST_QUESTION)
    scope = forms.ChoiceField(choices=[(scope, scope) for scope in (MINE, ALL, NONE)], required=False)
    groups: forms.ModelMultipleChoiceField[Group] = forms.ModelMultipleChoiceField(
        queryset=Group.objects.none(), required=False
    )
    public = forms.BooleanField(required=False)
    backend = forms.CharField(max_length=100, required=False)

    def __init__(self, user: User, data: Any) -> None:
        super().__init__(data)
        self.user = user
        self.fields["groups"].queryset = user.groups.all()  # type: ignore[attr-defined]

    def clean_backend(self) -> str:
        """Raises ValidationError on a name that the settings do not have."""
        name: str = self.cleaned_data["backend"]
        if name and name not in settings.LLM_BACKENDS:
            raise forms.ValidationError(gettext("This server has no such model."))
        return name

    @property
    def wrong(self) -> str:
        """The first sentence that says what is wrong."""
        if "question" in self.errors and self.data.get("question"):
            return gettext("The question is too long.")
        return next((str(errors[0]) for name, errors in self.errors.items() if name != "question"), "") or gettext(
            "Write a question first."
        )

    def aim(self, chat: Chat, *, keeps_backend: bool = False) -> None:
        """Keeps with the chat where answers are looked for and who gives them."""
        asked = self.cleaned_data
        groups, public = asked["groups"], asked["public"]
        if asked["scope"] == NONE:
            groups, public = [], False
        elif asked["scope"] == ALL:
            groups, public = self.user.groups.all(), True
        chat.use_public, chat.backend = public, chat.backend if keeps_backend else asked["backend"]
        chat.save(update_fields=["use_public", "backend"])
        chat.groups.set(groups)


@unit
def ask(user: User, chat: Chat | None, form: QuestionForm, instead_of: Message | None = None) -> Message:
    """Saves the question; of a chat's last one, `instead_of` goes and the new one takes its place.

    Raises answers.Busy, answers.TooMany, Chat.DoesNotExist.
    """
    with transaction_in_turn():
        if chat is None:
            chat = Chat.objects.create(owner=user, language=get_language() or "en")
        form.aim(chat, keeps_backend=instead_of is not None)
        if instead_of and _is_last(instead_of):
            Message.objects.filter(pk=instead_of.pk).exclude(pk__in=Message.objects.under_way()).delete()
        return answers.begin(chat, form.cleaned_data["question"].strip(), user=user)


def _is_last(message: Message) -> bool:
    return not Message.objects.filter(chat=message.chat_id, position__gt=message.position).exists()


def busy_sentence(fault: answers.Busy) -> str:
    if isinstance(fault, answers.TooMany):
        return gettext("Too many answers are under way. Ask again when one of them is complete.")
    return gettext("An answer of this chat is under way. Stop it, or wait for its end.")


@dataclass(frozen=True, slots=True)
class Choices:
    """The composer's menus as they stand."""

    groups: list[Group]  # each with `readable`, how many sources it has
    readable_public: int
    chosen: frozenset[int]
    public: bool
    backends: list[Backend]
    backend: str

    @property
    def is_none(self) -> bool:
        return not (self.chosen or self.public)

    @property
    def label(self) -> str:
        """What the menu's button says."""
        if self.is_none:
            return gettext("No sources")
        names = [group.name for group in self.groups if group.pk in self.chosen]
        return ", ".join([*names, *([gettext("public")] if self.public else [])])

    @property
    def backend_label(self) -> str:
        return next((each.label for each in self.backends if each.name == self.backend), self.backends[0].label)


def choices(user: User, chat: Chat | None) -> Choices:
    """Of this chat, or for a new one: as in the last chat, and everything for who has none."""
    groups = list(user.groups.order_by("name"))
    public_count = _count_readable(user, groups)
    like = chat or Chat.objects.visible_to(user).order_by("-updated_at").first()
    own = frozenset(group.pk for group in groups)
    if like is None:
        return Choices(groups, public_count, own, True, backends(), "")
    chosen = own & frozenset(like.groups.order_by().values_list("pk", flat=True))
    is_empty = chat is None and not (chosen or like.use_public)
    public = is_empty or like.use_public
    return Choices(groups, public_count, own if is_empty else chosen, public, backends(), like.backend)


def _count_readable(user: User, groups: Sequence[Any]) -> int:
    """Gives each of the user's groups the number of its sources; returns that of the public ones. Two queries."""
    readable = Source.objects.visible_to(user)
    held = Source.groups.through.objects.filter(group__in=groups, source__in=readable.values("pk"))
    counts = dict(held.order_by().values_list("group").annotate(Count("pk")))
    for group in groups:
        group.readable = counts.get(group.pk, 0)
    return readable.filter(is_public=True).count()
