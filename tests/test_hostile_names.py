"""Markup in every name and text there is, seen in every list and form of the admin site and on every page: inert.

Attacks 38, 71 and 77."""

from __future__ import annotations

import time

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import audit
from accounts.models import Group, Token, User
from privategpt import ingest
from privategpt.models import Chat, Citation, Message, Scenario
from relay.models import Agent, Conversation
from tests.admin_site import administrator, page, signed_in

EVIL = "<script>trap()</script><img src=x onerror=trap()>\"'><svg onload=trap()>{{7*7}}\u202e"
TRAPS = ("<script>trap", "<img src=x", "<svg onload")


@pytest.fixture
def root(transactional_db: None) -> User:
    """Who looks, whose own name is hostile too."""
    root = administrator()
    root.name, root.roles = EVIL, ["documents"]
    root.save()
    group = Group.objects.create(name=EVIL, description=EVIL)
    root.groups.add(group)
    User.objects.create_user(None, name=EVIL).groups.add(group)
    Token.objects.issue(Token.Kind.AGENT, root, name=EVIL[:100])
    TOTPDevice.objects.create(user=User.objects.create_user("x@example.org", name=EVIL), name=EVIL[:64])
    source = ingest.store(root, title=EVIL, content=f"# {EVIL}\n\n{EVIL}", groups=[group], public=False)
    chat = Chat.objects.create(owner=root, title=EVIL)
    message = Message.objects.create(chat=chat, position=0, question=EVIL, answer=f"{EVIL} [1]", state="complete")
    Citation.objects.create(
        message=message, source=source, number=1, is_cited=True, heading=EVIL, start=0, end=9, context=EVIL, score=1
    )
    Scenario.objects.create(owner=root, name=EVIL[:40], description=EVIL, icon=EVIL)
    now = timezone.now()
    Agent.objects.create(pk="a1", name=EVIL[:60], seen_at=now)
    Conversation.objects.create(conversation_id="c1", agent_id="a1", created_at=now, used_at=now)
    audit.record(EVIL[:50], EVIL, by=root, way=EVIL[:30], address=EVIL[:64])
    return root


def is_inert(html: str) -> bool:
    return not [trap for trap in TRAPS if trap in html]


def models() -> list[type[Model]]:
    return list(admin.site._registry)


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_the_admin_site_shows_markup_as_text(root: User, model: type[Model]) -> None:
    client = signed_in(root)
    rows = list(model._default_manager.all()[:5])
    paths = [page(model, "changelist"), f"{page(model, 'changelist')}?q=trap", page(model, "add")]
    paths += [page(model, name, row.pk) for row in rows for name in ("change", "delete", "history")]
    for path in paths:
        found = client.get(path, follow=True)
        assert found.status_code in {200, 403}, path
        assert is_inert(found.content.decode()), path


@pytest.mark.parametrize(
    "path",
    ["/", "/chats/", "/chats/?q=trap", "/sources", "/sources?q=trap", "/sources/bench?q=trap", "/sources/write",
     "/account", "/account/tokens", "/account/sessions", "/agents", "/admin/", "/api/docs"],
)  # fmt: skip
def test_pages_show_markup_as_text(root: User, path: str) -> None:
    client = Client(headers={"User-Agent": EVIL.encode("ascii", "ignore").decode()})
    client.post("/sign-in", {"email": "root@example.org", "password": "a long enough password"})
    html = client.get(path).content.decode()
    assert is_inert(html)
    assert "Traceback" not in html


def test_a_chat_and_a_source_show_markup_as_text(root: User) -> None:
    client = signed_in(root)
    chat = Chat.objects.get()
    source = Citation.objects.get().source_id
    for path in (f"/chats/{chat.pk}/", f"/sources/{source}/", f"/sources/{source}/edit", f"/sources/{source}/move"):
        html = client.get(path).content.decode()
        assert is_inert(html), path


@pytest.mark.parametrize(
    "piece", ["> ", "[", "![", "*a _b ", "| a ", "<a ", "- ", "$a ", "`", "&#", "\u202e", "# ", "~~~"]
)
def test_a_megabyte_of_hostile_markdown_holds_nobody_up(root: User, piece: str) -> None:
    """Attack 67: storing it, and reading it as a page, within a fraction of the ten and five seconds promised."""
    text = (piece * (1 << 20))[: 1 << 20]
    client, group = signed_in(root), Group.objects.get()
    began = time.thread_time()
    stored = ingest.store(root, title="Hostile", content=text, groups=[group], public=False)
    assert time.thread_time() - began < 10
    began = time.thread_time()
    assert client.get(f"/sources/{stored.pk}/").status_code == 200
    assert time.thread_time() - began < 5
