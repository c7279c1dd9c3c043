"""What the admin site's lists may be asked: what they show as a filter, over no relation to anything secret."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.db.models import Field, Model
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.admin_audit import AuditedAdmin
from accounts.admin_lookups import offered
from accounts.models import AuditEntry, Group, Session, Token, User
from privategpt.models import Chat, Source
from relay.models import Agent
from tests.admin_site import administrator, page, signed_in, staff

admin.autodiscover()
PAGES = sorted(admin.site._registry.items(), key=lambda item: item[0]._meta.label)
DEEP = 3  # relations in a row
# What each page shows beside its list, said once more: a filter that is added has to be added here as well.
OFFERED = {
    "accounts.AuditEntry": {"way", "action", "at"},
    "accounts.Token": {"kind", "state"},
    "accounts.User": {"is_active", "is_staff", "is_superuser", "groups"},
    "privategpt.Chat": {"updated_at", "use_public"},
    "privategpt.Scenario": {"active", "context_retriever_type"},
    "privategpt.Source": {"state", "public", "groups", "language"},
    "relay.Agent": {"is_resting"},
}
NEVER = (
    *("email__exact", "email__startswith", "password", "password__startswith", "session_salt__gt", "last_login__gt"),
    *("browser_sessions__session_key__startswith", "browser_sessions__session_data__contains", "browser_sessions"),
    *("tokens__digest__gt", "tokens__sealed__contains", "digest__gt", "sealed__startswith", "hint__gt", "scopes__0"),
    *("user__password__startswith", "user__tokens__sealed__gt", "user__browser_sessions__pk__gt", "creator__password"),
    *("owner__password__startswith", "owner__browser_sessions__session_key__gt", "members__password__startswith"),
    *("chats__title__contains", "chats__messages__answer__contains", "messages__question__contains", "title__gt"),
    *("content__contains", "passages__text__contains", "passages__vectors__data__gt", "sources__content__contains"),
    *("key__startswith", "recovery_codes__digest__gt", "totpdevice__key__gt", "totpdevice_set__key__gt"),
    *("system_pre_prompt__contains", "token__digest__gt", "token__user__password__gt", "actor__password__startswith"),
    *("logentry__object_repr__contains", "user_permissions__codename", "groups__members__password__startswith"),
    *("groups__name__startswith", "id__startswith", "pk__gt", "kind__in", "is_staff__in", "relay_conversations__pk"),
)


def paths(model: type[Model], depth: int = DEEP) -> Iterator[str]:
    """Every field of the model, and of what it is related to in either direction, as a look-up spells it."""
    for field in model._meta.get_fields(include_hidden=True):
        yield field.name
        if depth and field.is_relation and field.related_model and not isinstance(field.related_model, str):
            yield from (f"{field.name}__{further}" for further in paths(field.related_model, depth - 1))


def asked(user: User) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = user
    return request


def test_every_page_keeps_to_the_one_list() -> None:
    for model, shown in PAGES:
        assert isinstance(shown, AuditedAdmin), model
        for name in ("lookup_allowed", "to_field_allowed"):
            assert getattr(type(shown), name) is getattr(AuditedAdmin, name), model
        assert not shown.inlines
        names = {lookup.split("__")[0] for lookup in offered(shown, asked(User(is_superuser=True)))}
        assert names == OFFERED.get(model._meta.label, set()), model


def test_no_relation_of_any_model_can_be_asked(db: None) -> None:
    """Over all models, relations and look-ups: allowed is what is offered."""
    request, tried = asked(administrator()), 0
    endings = ("", "__exact", "__startswith", "__contains", "__gt", "__gte", "__in", "__isnull", "__regex", "__pk")
    for model, shown in PAGES:
        allowed = offered(shown, request)
        assert all(lookup.count("__") <= 2 for lookup in allowed)
        for path, ending in product(set(paths(model)), endings):
            tried += 1
            assert shown.lookup_allowed(path + ending, "x", request) == (path + ending in allowed)
    assert tried > 100_000


@pytest.mark.parametrize("model", [model for model, _ in PAGES], ids=str)
def test_a_question_about_a_secret_is_refused(db: None, model: type[Model]) -> None:
    client = signed_in(administrator())
    for lookup in NEVER:
        assert client.get(f"{page(model, 'changelist')}?{lookup}=a").status_code == 400, lookup
    near = {path for path in paths(model, 1) if "__" in path} - {"groups__id"}
    for path in sorted(near):
        assert client.get(f"{page(model, 'changelist')}?{path}__startswith=a").status_code == 400, path


def test_a_session_cannot_be_guessed_letter_by_letter(db: None) -> None:
    root, victim = administrator(), Client()
    victim.force_login(root)
    client = signed_in(staff("users"))
    row = Session.objects.of(root).get()
    for beginning in (row.pk[:1], str(victim.session.session_key)[:1]):
        query = f"email__exact={root.email}&browser_sessions__session_key__startswith={beginning}"
        assert client.get(f"{page(User, 'changelist')}?{query}").status_code == 400


def test_what_is_offered_filters(alice: User) -> None:
    group = Group.objects.create(name="tea")
    alice.groups.add(group)
    client = signed_in(administrator())

    def found(model: type[Model], query: str) -> int:
        response = client.get(f"{page(model, 'changelist')}?{query}")
        assert response.status_code == 200, query
        return int(response.context["cl"].queryset.count())

    assert found(User, f"groups__id__exact={group.pk}") == found(User, "is_staff__exact=0") == 1
    assert found(User, "groups__isnull=True") == 1
    assert found(User, "q=alice") == 1
    assert found(User, "q=alice&is_active__exact=1&o=1.-2&p=1") == 1
    assert found(Token, "kind__exact=api&state=usable") == 0
    assert found(Chat, "updated_at__gte=2020-01-01T00:00:00Z&use_public__exact=1") == 0
    assert found(Source, f"state=error&public=yes&language=en&groups__id__exact={group.pk}") == 0
    assert found(AuditEntry, "at__year=2026&way=browser") == 0
    assert found(Agent, "is_resting__exact=1") == 0


def test_every_filter_that_is_shown_leads_somewhere(alice: User) -> None:
    Token.objects.issue(Token.Kind.API, alice)
    AuditEntry.objects.create(actor_name="x", action="add user", what="y", way="browser")
    client = signed_in(administrator())
    for model, _ in PAGES:
        context = client.get(page(model, "changelist")).context["cl"]
        links = [choice["query_string"] for spec in context.filter_specs for choice in spec.choices(context)]
        for link in links:
            assert client.get(page(model, "changelist") + link).status_code == 200, link


@pytest.mark.parametrize("field", ["email", "session_salt", "password", "name", "groups", "nothing"])
def test_rows_are_found_by_their_key_only(alice: User, field: str) -> None:
    client = signed_in(administrator())
    assert client.get(f"{page(User, 'changelist')}?_to_field={field}").status_code == 400
    assert client.get(f"{page(User, 'change', alice.pk)}?_to_field={field}&_popup=1").status_code == 400
    assert client.get(f"{page(User, 'change', alice.pk)}?_to_field=id&_popup=1").status_code == 200


def test_nothing_is_completed_that_no_page_completes(alice: User) -> None:
    """Django's own view would name the rows behind any relation of any model, titles of chats included."""
    Chat.objects.create(owner=alice, title="A secret matter")
    client = signed_in(administrator())
    fields = [
        (model._meta, field.name)
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.get_fields(include_hidden=True)
        if field.is_relation and isinstance(field, Field)
    ]
    assert ("message", "chat") in [(opts.model_name, name) for opts, name in fields]
    for opts, name in fields:
        query = {"app_label": opts.app_label, "model_name": str(opts.model_name), "field_name": name, "term": ""}
        found = client.get("/admin/autocomplete/", query)
        assert b"secret" not in found.content

        assert found.status_code == 403, (opts, name)


def test_a_deletion_counts_what_goes_along_and_names_nothing_of_it(alice: User) -> None:
    client = signed_in(administrator())
    browser = Client()
    browser.force_login(alice)
    chat = Chat.objects.create(owner=alice, title="A secret matter")
    chat.messages.create(position=1, question="Which spice?", answer="Saffron.")
    token, _ = Token.objects.issue(Token.Kind.API, alice, name="hidden laptop")
    row = Session.objects.of(alice).get()
    with CaptureQueriesContext(connection) as asked:
        single = client.get(page(User, "delete", alice.pk)).content.decode()
    assert not [each["sql"] for each in asked if "answer" in each["sql"]], "none of the texts is read"
    many = client.post(
        page(User, "changelist"), {"action": "delete_selected", "_selected_action": [alice.pk]}
    ).content.decode()
    for shown in (single, many):
        for secret in (row.pk, str(browser.session.session_key), chat.title, "spice", str(chat.pk), "laptop"):
            assert secret not in shown
        assert f"…{token.hint}" not in shown
        for kind in ("Sessions: 1", "Chats: 1", "Messages: 1", "Tokens: 1"):
            assert kind in shown
        assert "alice@example.org" in shown
