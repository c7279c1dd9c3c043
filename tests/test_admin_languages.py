"""The admin site speaks the reader's language whole; what is stored, searched and logged stays English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from accounts import secondfactor
from accounts.authenticators import Authenticator
from accounts.models import AuditEntry, Group, Token, User
from privategpt.models import Chat, Message, Scenario, Source
from relay.models import Agent, Conversation
from tests.admin_site import act, page, signed_in, user_fields
from tests.test_page_languages import english, locale, speaks_brackets  # noqa: F401 - fixtures of the language
from tests.test_second_factor import code

MODELS: list[type[Model]] = [
    *(User, Group, Token, AuditEntry, Authenticator),
    *(Agent, Conversation, Source, Chat, Scenario),
]
# Stored as they are: a key's kind in its name, ids, a scenario's icon. And what Django has no translation for: what it
# calls the pictures of a glass and of yes and no.
STORED = re.compile(r'alt="(?:Search|True|False|None)"|(?:relay|api|agent) …\S{4}|[0-9a-f]{8}-[0-9a-f-]{27}|\bph-\w+')


@pytest.fixture
def reader(speaks_brackets: User) -> User:  # noqa: F811
    """Alice, an administrator who reads the language of brackets."""
    speaks_brackets.is_staff = True
    speaks_brackets.save()
    return speaks_brackets


@pytest.fixture
def cast(reader: User) -> dict[type[Model], Model]:
    """One row of each kind, in Greek letters."""
    bob = User.objects.get(email="bob@example.org")
    User.objects.filter(pk=bob.pk).update(roles=["users", "analytics"], is_staff=True)
    secondfactor.begin(bob)
    assert secondfactor.confirm(bob, code(bob))
    group = Group.objects.create(name="Λιμάνι", description="Πύλη")
    bob.groups.add(group)
    tokens = [Token.objects.issue(kind, bob, name="Κλειδί", days=3)[0] for kind in Token.Kind]
    Token.objects.issue(Token.Kind.API, bob, name="Παλιό")[0].renew()
    Token.objects.filter(name="Παλιό").revoke()
    Token.objects.update(hint="1234")
    source = Source.objects.create(title="Οδηγός", content="Α", creator=bob, state="error", language="xx")
    source.groups.add(group)
    chat = Chat.objects.create(id=UUID(int=1), owner=bob, title="Πότε", use_public=True)
    for position, state in enumerate(Message.State.values):
        Message.objects.create(chat=chat, position=position, question="Πότε;", state=state)
    agent = Agent.objects.create(id="α1", name="Όττο", model="μ", token=tokens[-1], seen_at=timezone.now())
    Agent.objects.create(id="α2", is_resting=True, seen_at=timezone.now() - timedelta(days=1))
    now = timezone.now()
    conversation = Conversation.objects.create(
        owner=None, conversation_id="", agent_id="α1", created_at=now, used_at=now
    )
    scenario = Scenario.objects.create(name="Σύντομα", description="Δύο", owner=bob, active=True)
    entry = AuditEntry.objects.create(actor=reader, actor_name="Αλίκη", action="Πράξη", what="Τι", way="Πώς")
    Authenticator.objects.filter(user=bob).update(name="Συσκευή")
    device = Authenticator.objects.get(user=bob)
    rows = [bob, group, tokens[0], entry, device, agent, conversation, source, chat, scenario]
    return {type(row): row for row in rows}


def left(response: Any) -> list[str]:
    """The page's texts of ours that no translation has gone through."""
    response.content = STORED.sub("", response.content.decode()).encode()
    return english(response)


def addresses(cast: dict[type[Model], Model]) -> Iterator[str]:
    yield "/admin/"
    for app in ("accounts", "relay", "privategpt"):
        yield f"/admin/{app}/"
    for model, row in cast.items():
        yield page(model, "changelist")
        yield page(model, "add")
        for name in ("change", "delete", "history"):
            yield page(model, name, row.pk)
    yield f"/admin/privategpt/chat/{cast[Chat].pk}/text/"
    yield f"/admin/accounts/user/{cast[User].pk}/password/"


def test_no_page_of_the_admin_site_shows_a_label_that_is_not_translated(
    cast: dict[type[Model], Model],
    reader: User,
) -> None:
    client = signed_in(reader)
    pages = {address: client.get(address) for address in addresses(cast)}
    shown = {address: response for address, response in pages.items() if response.status_code == 200}
    assert {address: texts for address, response in shown.items() if (texts := left(response))} == {}
    assert len(shown) > 40
    assert set(MODELS) == {model for model in admin.site._registry if model.__module__.split(".")[0] in OURS}


OURS = {"accounts", "relay", "privategpt"}
ACTS = (
    *((User, name) for name in ("retire", "reactivate", "turn_off_second_factor", "delete_selected")),
    *((Agent, name) for name in ("rest", "wake", "disconnect", "delete_selected")),
    *((Token, "revoke"), (Token, "delete_selected"), (Group, "delete_selected"), (Source, "vectorize_again")),
    *((Chat, "delete_selected"), (Source, "delete_selected"), (Conversation, "delete_selected")),
)


@pytest.mark.parametrize(("model", "action"), ACTS, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_said_after_an_action_is_translated(
    cast: dict[type[Model], Model],
    reader: User,
    model: type[Model],
    action: str,
) -> None:
    said: Any = act(signed_in(reader), action, [cast[model]])
    assert said.status_code == 200
    assert "⟦" in said.content.decode()
    assert left(said) == []


def test_a_refused_action_says_so_in_the_readers_language(reader: User) -> None:
    secondfactor.begin(reader)
    assert secondfactor.confirm(reader, code(reader))
    for action in ("retire", "turn_off_second_factor"):
        said: Any = act(signed_in(reader), action, [reader])
        assert "⟦Nothing was done: you" in said.content.decode()
        assert left(said) == []


def test_refused_forms_and_a_new_key_are_told_in_the_readers_language(
    cast: dict[type[Model], Model],
    reader: User,
) -> None:
    client = signed_in(reader)
    passwords = {"usable_password": "true", "password1": "μια μακριά πρόταση", "password2": "μια μακριά πρόταση"}
    texts = [
        client.post(page(User, "add"), user_fields() | passwords),
        client.post(page(Token, "add"), {"kind": "api", "user": "", "name": "Κ", "days": ""}),
        client.post(
            page(Scenario, "add"), {"name": "α", "use_history": "on", "context_retriever_type": "vector_store"}
        ),
        *(
            client.post(page(Token, "add"), {"kind": "agent", "user": user, "name": "Κ", "days": days})
            for user, days in (("", ""), (str(cast[User].pk), "3"))
        ),
    ]
    assert [response.status_code for response in texts] == [200] * len(texts)
    assert "⟦Whoever signs in with a password" in texts[0].content.decode()
    assert "⟦Only an agent's token" in texts[1].content.decode().replace("&#x27;", "'")
    assert [left(response) for response in texts] == [[]] * len(texts)


def test_the_audit_log_stays_english_whoever_acts(
    cast: dict[type[Model], Model],
    reader: User,
) -> None:
    AuditEntry.objects.all().delete()
    client = signed_in(reader)
    group = cast[Group]
    client.post(page(Group, "change", group.pk), {"name": "Λιμάνι", "description": "Άλλη"})
    act(client, "revoke", [cast[Token]])
    act(client, "rest", [cast[Agent]])
    rows = {entry.action: entry.what for entry in AuditEntry.objects.all()}
    assert set(rows) == {"change group", "revoke token", "rest agent"}
    assert rows["change group"] == f"Λιμάνι [{group.pk}] Changed Description."
    assert rows["revoke token"].startswith("relay …")
    assert "⟦" not in "".join(rows.values())


def test_permissions_are_named_in_german(db: None, client: Client) -> None:
    root = User.objects.create_superuser("root@example.org", "a long enough password", language="de")
    other = User.objects.create_user("bob@example.org")
    shown = signed_in(root).get(page(User, "change", other.pk)).content.decode()
    for name in ("Benutzer | hinzufügen", "Chat | Fragen und Antworten in Chats anderer lesen", "TOTP-Gerät | löschen"):
        assert name in shown
    assert "Can add" not in shown
    assert Permission.objects.filter(name="Can add user").exists()
