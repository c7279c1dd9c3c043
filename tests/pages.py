"""How tests read pages: signed in, and by what a reader sees."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.test import Client

from accounts.models import User


def browser(user: User | None = None, **headers: str) -> Client:
    """A browser, signed in as this user."""
    client = Client(headers={"accept": "text/html", **headers})
    if user:
        client.force_login(user)
    return client


def text(response: Any) -> str:
    """A page's words, without tags."""
    words = re.sub(r"<[^>]+>", " ", response.content.decode())
    return re.sub(r"\s+", " ", unescape(words))
