"""The side bar's list of chats, and text that people and models wrote, shown safely."""

from __future__ import annotations

from typing import Any

from django import template

from privategpt import rendering
from privategpt.pages import history

register = template.Library()


@register.filter
def shown(text: object) -> str:
    """The text with its hidden characters spelt out. Escaping is the template's own."""
    return rendering.visible(str(text))


@register.inclusion_tag("chats/_groups.html", takes_context=True)
def chat_history(context: dict[str, Any]) -> dict[str, Any]:
    """The signed-in reader's chats; one query."""
    groups, has_more = history.grouped(context["user"])
    return {"groups": groups, "has_more": has_more, "chat": context.get("chat")}
