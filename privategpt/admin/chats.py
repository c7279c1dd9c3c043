"""The admin site's page for chats: whose, how many questions, how old. Not what they say, the title included.

Their text is a page of its own, for a permission of its own, and each look at it is in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin_audit import AuditedAdmin, actor
from privategpt import answers, sweeping, withheld
from privategpt.models import Chat, Message, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model

A_PAGE = 50  # questions of a chat's text
READ_TEXT = "privategpt.view_chat_text"


class ChatList(ChangeList):
    """Rows without titles: Django names each row in the label of its checkbox."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = _untitled(self.result_list)


@admin.register(Chat)
class ChatAdmin(AuditedAdmin[Chat]):
    list_display = ("shown_id", "owner", "question_count", "shown_where", "created_at", "updated_at", "is_deleted")
    list_filter = ("updated_at", "use_public")
    list_select_related = ("owner",)
    list_per_page = 50
    search_fields = ("owner__email", "owner__name")
    ordering = ("-updated_at",)
    fields = (*list_display, "text")
    only_marks = True

    # -- who may do what ------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Chat | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Chat | None = None) -> bool:
        """Of people whom the administrator may manage."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or actor(request).may_manage(obj.owner))

    def may_read(self, request: HttpRequest, chat: Chat) -> bool:
        return actor(request).has_perm(READ_TEXT) and actor(request).may_manage(chat.owner)

    # -- rows, without a word of what was said ----------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chat]:
        counted = Message.objects.filter(chat=OuterRef("pk")).order_by().values("chat")
        number = Subquery(counted.annotate(number=Count("pk")).values("number"))
        found: Any = Chat.objects.there().annotate(questions=Coalesce(number, 0)).defer("title")
        return found.select_related("owner").prefetch_related("groups").order_by(*self.ordering)  # type: ignore[no-any-return]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ChatList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Chat | None:
        found = super().get_object(request, object_id, from_field)
        return _untitled([found])[0] if found else None

    def log_deleted(self, request: HttpRequest, some: list[Chat]) -> None:
        super().log_deleted(request, _untitled(some))

    def record(self, request: HttpRequest, verb: str, obj: Model, detail: str = "") -> None:
        owner = obj.owner if isinstance(obj, Chat) else ""
        super().record(request, verb, obj, f"of {owner} {detail}".rstrip())

    # -- columns --------------------------------------------------------------------------------

    @admin.display(description=_("chat"))
    def shown_id(self, chat: Chat) -> str:
        return str(chat.pk)[:8]

    @admin.display(description=_("questions"), ordering="questions")
    def question_count(self, chat: Chat) -> int:
        return chat.questions  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("answered from"))
    def shown_where(self, chat: Chat) -> str:
        names = [group.name for group in chat.groups.all()]
        return ", ".join([*names, *([gettext("Public")] if chat.use_public else [])]) or "–"  # noqa: RUF001

    @admin.display(description=_("deleted"), boolean=True)
    def is_deleted(self, chat: Chat) -> bool:
        """By its owner, who can still bring it back."""
        return chat.deleted_at is not None

    @admin.display(description=_("text"))
    def text(self, chat: Chat) -> str:
        """The way to it; whoever lacks the permission is refused there."""
        address = reverse("admin:privategpt_chat_text", args=[chat.pk])
        return format_html('<a href="{}">{}</a>', address, gettext("Read the text; that goes into the audit log"))

    # -- reading --------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        look = self.admin_site.admin_view(self.text_view)
        return [path("<path:object_id>/text/", look, name="privategpt_chat_text"), *super().get_urls()]

    def text_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Questions and answers as plain text. The look is recorded before a word of it is read."""
        if not actor(request).has_perm(READ_TEXT):
            raise PermissionDenied
        chat = self.get_object(request, unquote(object_id))
        if chat is None:
            raise Http404
        if not self.may_read(request, chat):
            raise PermissionDenied(f"You may not read chats of {chat.owner}, who has rights that you do not have.")
        with transaction.atomic():
            self.record(request, "read text of", chat)
        messages = Message.objects.filter(chat=chat).order_by("position")
        page = Paginator(messages, A_PAGE).get_page(request.GET.get("page"))
        bases = withheld.bases(list(page), Source.objects.visible_to(chat.owner))
        for message in page:
            message.answer = withheld.readable(message.answer, bases[message.pk])
        context = {
            **self.admin_site.each_context(request),
            "title": Chat.objects.values_list("title", flat=True).get(pk=chat.pk),
            "chat": chat,
            "page": page,
            "opts": self.opts,
        }
        response = TemplateResponse(request, "admin/privategpt/chat/text.html", context)
        response["Cache-Control"] = "no-store"
        return response

    # -- deleting: as contract 2 does -----------------------------------------------------------

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """By id and number: Django would list every message."""
        chats = _untitled(objs)
        managed = all(actor(request).may_manage(chat.owner) for chat in chats)
        counts = {_("chats"): len(chats), _("messages"): Message.objects.filter(chat__in=chats).count()}
        names = [f"{chat.pk} ({chat.owner})" for chat in chats]
        return names, counts, set() if managed else {self.opts.verbose_name}, []

    def delete_some(self, request: HttpRequest, some: list[Any]) -> None:
        """Answers that are under way end with their chat."""
        chats = [chat.pk for chat in some]
        under_way = list(Message.objects.filter(chat__in=chats).under_way().values_list("pk", flat=True))
        Chat.objects.filter(pk__in=chats).remove()
        transaction.on_commit(lambda: _stop(under_way))
        sweeping.soon()


def _untitled(chats: Iterable[Any]) -> list[Chat]:
    """A title is made of the first question. Without it the chat's name is its id, in logs and headings as well."""
    found = list(chats)
    for chat in found:
        chat.title = ""
    return found


def _stop(messages: Iterable[UUID]) -> None:
    for message in messages:
        answers.stop(message)
