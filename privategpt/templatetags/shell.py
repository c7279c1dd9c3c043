"""What every page's frame needs: icons from the one sprite."""

from __future__ import annotations

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str, direction: str = "") -> SafeString:
    """`direction` "turn" mirrors an arrow where text runs from right to left."""
    classes = f"i {direction}".rstrip()
    return format_html(
        '<svg class="{}" aria-hidden="true"><use href="{}#{}"/></svg>', classes, static("icons.svg"), name
    )
