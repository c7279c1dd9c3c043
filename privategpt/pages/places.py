"""Where somebody goes who has signed in: back to the page, never to an address that only takes a form."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from django.urls import Resolver404, ResolverMatch, resolve, reverse

# Addresses that are no pages of their own: what forms are sent to, and pieces that scripts ask for.
PAGE_OF: Final[Mapping[str, str]] = {
    "hide-guide": "home",
    "chat-begin": "home",
    "chat-restore": "home",
    "chat-ask": "chat",
    "chat-stop": "chat",
    "chat-rename": "chat",
    "chat-pin": "chat",
    "chat-delete": "chat",
    "running-chats": "chats",
    "exchange": "chat",
    "exchange-again": "chat",
    "exchange-held": "chat",
    "exchange-text": "chat",
    "exchange-events": "chat",
    "sign-out": "home",
    "sign-in": "home",
    "sign-in-code": "home",
    "save-you": "profile",
    "save-reading": "profile",
    "change-password": "profile",
    "second-factor-off": "profile",
    "recovery-codes": "profile",
    "revoke-token": "tokens",
    "here": "home",
    "end-session": "sessions",
    "end-other-sessions": "sessions",
    "dashboard-csv": "dashboard",
    "moving-sources": "sources",
    "delete-source": "source",
    "undo-source": "sources",
    "try-source-again": "sources",
}
# Of the admin site, by the ends of their names.
ADMIN_PAGES = ("index", "app_list", "password_change", "_changelist", "_add", "_change", "_delete", "_history")
OTHER_PAGES = {"docs", "schema"}


def page_at(address: str) -> str:
    """The page that belongs to this address of ours. It is spelt anew, so that a browser reads what was read here."""
    if not address.isprintable():
        return address  # a redirect spells such signs out, and finds nothing
    parts = urlsplit(urljoin("/", address.replace("\\", "/")))
    path = posixpath.normpath("/" + unquote(parts.path).lstrip("/"))
    path += "/" if parts.path.endswith("/") and path != "/" else ""
    try:
        match = resolve(path)
    except Resolver404:
        return _spelt(path, parts.query)  # says that there is nothing
    return _page(match) or _spelt(path, parts.query)


def _spelt(path: str, query: str) -> str:
    return quote(path, safe="/@:+,=~") + (f"?{query}" if query else "")


def _page(match: ResolverMatch) -> str:
    """The address of the page it belongs to; empty when it is one."""
    name = match.url_name or ""
    if match.route.startswith("admin/"):  # its sign-in and sign-out are ours, and have no name
        return "" if name.endswith(ADMIN_PAGES) else reverse("admin:index")
    if match.func.__module__.startswith("privategpt.pages."):
        return _reversed(PAGE_OF[name], match.kwargs) if name in PAGE_OF else ""
    return "" if name in OTHER_PAGES else reverse("home")


def _reversed(name: str, named: Mapping[str, Any]) -> str:
    if name in {"chat", "source"}:
        return reverse(name, args=[named.get("chat_pk") or named["pk"]])
    return reverse(name)
