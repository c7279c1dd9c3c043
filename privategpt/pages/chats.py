"""Chats in the browser: every act is a form, so that each works without script; a script only spares the reload."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST, require_safe

from accounts.numerals import whole
from privategpt import answers, sweeping, withheld
from privategpt.models import Chat, Message, Source
from privategpt.pages import asking, history
from privategpt.pages.asking import QuestionForm
from privategpt.pages.exchanges import UNDER_WAY, exchange_of, exchanges_of, piece
from privategpt.pages.guide import guide_for

if TYPE_CHECKING:
    from accounts.models import User

HELD = 25.0  # seconds for which a page waits for its answer
STOPPING = 3.0  # seconds for which a page waits for an answer to stop
LATER = "2"  # seconds, as contract 2 says to who has too many answers under way


def user_of(request: HttpRequest) -> User:
    """For views behind `login_required`."""
    return cast("User", request.user)


def own_chat(user: User, pk: UUID) -> Chat:
    return get_object_or_404(Chat.objects.visible_to(user), pk=pk)


def wants_piece(request: HttpRequest) -> bool:
    """Whether our script asks, which takes only what changed."""
    return "X-Piece" in request.headers


# -- reading --------------------------------------------------------------------------------------


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    return home_page(request, user_of(request))


def home_page(request: HttpRequest, user: User, *, draft: str = "", wrong: str = "", status: int = 200) -> HttpResponse:
    choices = asking.choices(user, None)
    readable = Source.objects.visible_to(user).order_by().values("pk").count()
    deleted = request.GET.get("deleted", "")
    shown = {
        "here": "home",
        "choices": choices,
        "sources_count": readable,
        "draft": draft or request.GET.get("q", "")[: asking.LONGEST_QUESTION],
        "wrong": wrong,
        "guide": guide_for(request, user),
        "deleted": Chat.objects.restorable_by(user).filter(pk=deleted).first() if _is_uuid(deleted) else None,
    }
    return render(request, "chats/home.html", shown, status=status)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


@require_safe
@login_required
def show(request: HttpRequest, pk: UUID) -> HttpResponse:
    user = user_of(request)
    return chat_page(request, user, own_chat(user, pk))


def chat_page(
    request: HttpRequest, user: User, chat: Chat, *, draft: str = "", wrong: str = "", status: int = 200
) -> HttpResponse:
    before = request.GET.get("before", "")
    found, has_earlier = exchanges_of(chat, user, before=whole(before, most=10**9))
    edited = request.GET.get("edit", "")
    shown = {
        "chat": chat,
        "exchanges": [(each, piece(each), str(each.message.pk) == edited) for each in found],
        "first": found[0].message.position if has_earlier else None,
        "is_past": bool(before),
        "growing": next((each for each in found if each.is_growing), None),
        "choices": asking.choices(user, chat),
        "draft": draft,
        "wrong": wrong,
    }
    return render(request, "chats/chat.html", shown, status=status)


@require_safe
@login_required
def one_exchange(request: HttpRequest, chat_pk: UUID, pk: UUID) -> HttpResponse:
    """One question with its answer, as a piece of the page."""
    return HttpResponse(piece(exchange_of(_own_message(request, chat_pk, pk), user_of(request))))


@require_safe
@login_required
def text(request: HttpRequest, chat_pk: UUID, pk: UUID) -> HttpResponse:
    """The answer as the model wrote it, for the clipboard; without what may not be read any more."""
    message = _own_message(request, chat_pk, pk)
    answer = withheld.readable(message.answer, withheld.basis(message, Source.objects.visible_to(user_of(request))))
    return HttpResponse(answer, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})


def _own_message(request: HttpRequest, chat_pk: UUID, pk: UUID) -> Message:
    own = Message.objects.filter(chat__in=Chat.objects.visible_to(user_of(request)))
    return get_object_or_404(own.select_related("chat"), chat=chat_pk, pk=pk)


@require_GET
@login_required
async def held(request: HttpRequest, chat_pk: UUID, pk: UUID) -> HttpResponse:
    """Without script: comes back when the answer is complete, or after a while."""
    message = await sync_to_async(_own_message)(request, chat_pk, pk)
    with contextlib.suppress(TimeoutError, Message.DoesNotExist):
        await answers.finished(message.pk, HELD)
    return redirect(_place(message))


@require_safe
@login_required
def everything(request: HttpRequest) -> HttpResponse:
    """All of one's chats by pages, or those that a search finds."""
    user, query = user_of(request), request.GET.get("q", "").strip()[:200]
    shown: dict[str, Any] = {"query": query}
    if query:
        shown["hits"] = history.search(user, query)
    else:
        page = request.GET.get("page", "")
        number = whole(page, most=99_999) or 0
        start = number * history.A_PAGE
        chats = list(history.listed(user)[start : start + history.A_PAGE + 1])
        shown |= {
            "groups": history.by_age(chats[: history.A_PAGE], with_pinned=False),
            "next": number + 1 if len(chats) > history.A_PAGE else None,
        }
    template = "chats/_found.html" if wants_piece(request) and query else "chats/all.html"
    return render(request, template, shown)


@require_safe
@login_required
def running(request: HttpRequest) -> JsonResponse:
    """Which of one's chats are being answered just now, for the side bar of a page that is open."""
    own = Message.objects.filter(chat__in=Chat.objects.visible_to(user_of(request)))
    chats = own.being_answered().order_by().values_list("chat", flat=True).distinct()[: history.LISTED]
    return JsonResponse({"chats": [str(chat) for chat in chats]}, headers={"Cache-Control": "no-store"})


# -- asking ---------------------------------------------------------------------------------------


@require_POST
@login_required
async def begin(request: HttpRequest) -> HttpResponse:
    """A question that begins a chat."""
    return await _ask(request, None, request.POST)


@require_POST
@login_required
async def ask(request: HttpRequest, pk: UUID) -> HttpResponse:
    user = cast("User", await request.auser())
    chat = await sync_to_async(own_chat)(user, pk)
    return await _ask(request, chat, request.POST)


@require_POST
@login_required
async def again(request: HttpRequest, chat_pk: UUID, pk: UUID) -> HttpResponse:
    """The same question once more, or as it was edited. The chat's last answer is replaced; an earlier question is
    asked at the chat's end, so that nothing is lost. With `now` in the query an answer under way makes room."""
    message = await sync_to_async(_own_message)(request, chat_pk, pk)
    if "now" in request.GET:
        if message.answer or message.state not in UNDER_WAY:
            return redirect(_place(message))  # its answer has begun meanwhile
        await _stopped(message)
    data = await sync_to_async(_data_again)(request, message)
    return await _ask(request, message.chat, data, instead_of=message)


def _data_again(request: HttpRequest, message: Message) -> QueryDict:
    chat, data = message.chat, QueryDict(mutable=True)
    data["question"] = request.POST.get("question", "").strip() or message.question
    data["backend"] = request.GET.get("backend", chat.backend)
    data["scope"] = request.GET.get("scope", "")
    data.setlist("groups", [str(group) for group in chat.groups.values_list("pk", flat=True)])
    if chat.use_public:
        data["public"] = "on"
    member_of = set(user_of(request).groups.values_list("pk", flat=True))
    data.setlist("groups", [group for group in data.getlist("groups") if whole(group) in member_of])
    return data


async def _ask(
    request: HttpRequest, chat: Chat | None, data: QueryDict, *, instead_of: Message | None = None
) -> HttpResponse:
    user = cast("User", await request.auser())
    form = await sync_to_async(QuestionForm)(user, data)
    if not await sync_to_async(form.is_valid)():
        return await _refused(request, user, chat, form, form.wrong, 422)
    try:
        message = await sync_to_async(asking.ask)(user, chat, form, instead_of)
    except answers.TooMany as fault:
        refused = await _refused(request, user, chat, form, asking.busy_sentence(fault), 429)
        refused["Retry-After"] = LATER
        return refused
    except answers.Busy as fault:
        return await _refused(request, user, chat, form, asking.busy_sentence(fault), 409)
    except Chat.DoesNotExist:
        return await _refused(request, user, None, form, gettext("This chat was deleted."), 409)
    answers.start(message, user=user, narrowed_to=None, backend=form.cleaned_data["backend"] or None)
    if wants_piece(request):
        return HttpResponse(await sync_to_async(_new_piece)(message, user))
    return redirect(_place(message))


def _new_piece(message: Message, user: User) -> str:
    return piece(exchange_of(message, user))


async def _refused(
    request: HttpRequest, user: User, chat: Chat | None, form: QuestionForm, wrong: str, status: int
) -> HttpResponse:
    """The page again, the question kept in the composer."""
    if wants_piece(request):
        return HttpResponse(wrong, status=status, content_type="text/plain; charset=utf-8")
    draft = form.data.get("question", "")[: asking.LONGEST_QUESTION]
    if chat is None:
        return await sync_to_async(home_page)(request, user, draft=draft, wrong=wrong, status=status)
    return await sync_to_async(chat_page)(request, user, chat, draft=draft, wrong=wrong, status=status)


def _place(message: Message) -> str:
    return f"{reverse('chat', args=[message.chat_id])}#m{message.position}"


@require_POST
@login_required
async def stop(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ends the answer that is under way; what was written stays."""
    user = cast("User", await request.auser())
    chat = await sync_to_async(own_chat)(user, pk)
    async for message in chat.messages.all().under_way():
        if wants_piece(request):
            answers.stop(message.pk)
        else:
            await _stopped(message)
    return HttpResponse(status=204) if wants_piece(request) else redirect("chat", pk)


async def _stopped(message: Message) -> None:
    answers.stop(message.pk)
    with contextlib.suppress(TimeoutError, Message.DoesNotExist):
        await answers.finished(message.pk, STOPPING)


# -- keeping --------------------------------------------------------------------------------------


@require_POST
@login_required
def rename(request: HttpRequest, pk: UUID) -> HttpResponse:
    chat = own_chat(user_of(request), pk)
    chat.rename(request.POST.get("title", ""))
    return redirect("chat", pk)


@require_POST
@login_required
def pin(request: HttpRequest, pk: UUID) -> HttpResponse:
    chat = own_chat(user_of(request), pk)
    chat.pin(is_pinned=not chat.pinned_at)
    return redirect("chat", pk)


@require_POST
@login_required
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    chat = own_chat(user_of(request), pk)
    for message in chat.messages.all().under_way():
        answers.stop(message.pk)
    chat.remove()
    sweeping.soon()
    return redirect(f"{reverse('home')}?deleted={chat.pk}")


@require_POST
@login_required
def restore(request: HttpRequest, pk: UUID) -> HttpResponse:
    chat = get_object_or_404(Chat.objects.restorable_by(user_of(request)), pk=pk)
    chat.restore()
    return redirect("chat", pk)
