"""A chat as a file: Markdown to read, JSON for programs. Passages that the reader may not see any more stay out."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.http import content_disposition_header
from django.utils.text import slugify
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from privategpt import withheld
from privategpt.citing_lines import Lines
from privategpt.models import Chat, Citation, Message, Source
from privategpt.pages.chats import own_chat, user_of
from privategpt.pages.exchanges import STEP, cut_off


@require_safe
@login_required
def as_markdown(request: HttpRequest, pk: UUID) -> HttpResponse:
    chat = own_chat(user_of(request), pk)
    parts = [f"# {_line(chat.title)}"]
    for message, citations in _messages(request, chat):
        parts += [_quoted(message.question), _closed(message.answer) or f"*{gettext('No answer.')}*"]
        if message.cut_off:
            parts.append(f"*{cut_off(message)}*")
        if citations:
            parts.append("\n".join(f"{row.number}. {_where(row)}" for row in citations))
    return _file(HttpResponse("\n\n".join(parts) + "\n", content_type="text/markdown; charset=utf-8"), chat, "md")


@require_safe
@login_required
def as_json(request: HttpRequest, pk: UUID) -> HttpResponse:
    chat = own_chat(user_of(request), pk)
    document = {
        "id": str(chat.pk),
        "title": chat.title,
        "created": chat.created_at.isoformat(),
        "messages": [_shape(message, citations) for message, citations in _messages(request, chat)],
    }
    return _file(JsonResponse(document, json_dumps_params={"ensure_ascii": False, "indent": 1}), chat, "json")


def _messages(request: HttpRequest, chat: Chat) -> list[tuple[Message, list[Citation]]]:
    """In order, each with what may still be read of its answer."""
    visible = Source.objects.visible_to(user_of(request))
    rows = Citation.objects.filter(message__chat=chat, is_cited=True, source__in=visible.values("pk"))
    cited: dict[UUID, list[Citation]] = defaultdict(list)
    for row in rows.order_by("number").select_related("source").defer("source__content"):
        cited[row.message_id].append(row)
    messages = list(chat.messages.order_by("position"))
    bases = withheld.bases(messages, visible)
    for message in messages:
        message.answer = withheld.readable(message.answer, bases[message.pk])
    return [(message, cited[message.pk]) for message in messages]


def _shape(message: Message, citations: list[Citation]) -> dict[str, Any]:
    return {
        "question": message.question,
        "answer": message.answer,
        "state": message.state,
        "error": message.error,
        "cut_off": message.cut_off,
        "answered_by": message.backend,
        "created": message.created_at.isoformat(),
        "sources": [
            {
                "number": row.number,
                "source": str(row.source_id),
                "title": row.source.title,
                "heading": row.heading,
                "passage": row.context,
                "start": row.start,
                "end": row.end,
            }
            for row in citations
        ],
    }


def _line(text: str) -> str:
    return " ".join(text.split())


def _quoted(question: str) -> str:
    """A heading when it is one line, else a quote."""
    lines = question.strip().splitlines()
    return f"## {lines[0]}" if len(lines) == 1 else "\n".join(f"> {line}".rstrip() for line in lines)


def _closed(answer: str) -> str:
    """An answer that was stopped within code must not swallow what follows."""
    lines = Lines()
    for line in answer.split("\n"):
        lines.begin(line)
    return f"{answer.rstrip()}\n{lines.open_fence}" if lines.open_fence else answer.strip()


def _where(row: Citation) -> str:
    return STEP.join(filter(None, (_line(row.source.title), _line(row.heading))))


def _file(response: HttpResponse, chat: Chat, ending: str) -> HttpResponse:
    name = f"{slugify(chat.title)[:60] or 'chat'}.{ending}"
    response.headers["Content-Disposition"] = str(content_disposition_header(as_attachment=True, filename=name))
    response.headers["Cache-Control"] = "no-store"
    return response
