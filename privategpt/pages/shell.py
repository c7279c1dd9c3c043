"""The frame of every page: the theme and whether single keys act, both kept by the browser in cookies."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language_bidi

from accounts.models import User

THEMES: Final = ("auto", "light", "dark")
YEAR = 365 * 24 * 3600  # seconds that a browser keeps a choice


class UserRequest(HttpRequest):
    """A request of somebody who is signed in."""

    user: User


def frame(request: HttpRequest) -> dict[str, object]:
    """A context processor."""
    theme = request.COOKIES.get("theme", "auto")
    return {
        "theme": theme if theme in THEMES else "auto",
        "single_keys": request.COOKIES.get("keys") != "off",
        "direction": "rtl" if get_language_bidi() else "ltr",
    }


def keep_choice(request: HttpRequest, response: HttpResponse, name: str, value: str) -> None:
    """Puts one of the frame's choices into the browser."""
    response.set_cookie(name, value, max_age=YEAR, httponly=True, samesite="Lax", secure=request.is_secure())
