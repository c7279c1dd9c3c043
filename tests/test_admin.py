"""The admin site's door: who comes in, and who sees which page."""

import pytest
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import AuditEntry, Group, Token, User
from accounts.roles import ROLES
from privategpt.models import Chat, Message, Scenario, Source
from relay.models import Agent, Conversation, StoredAnswer
from tests.admin_site import administrator, page, signed_in, staff, user_fields
from tests.conftest import PASSWORD

MODELS: list[type[Model]] = [User, Group, Token, AuditEntry, Agent, Conversation, Source, Chat, Scenario]
MAY_SEE: dict[str, set[type[Model]]] = {
    "users": {User, Group, Token},
    "system": {Agent, Conversation, Token, AuditEntry, Chat, Scenario},
    "analytics": {Agent},
    "documents": {Source},
}
MAY_ADD: dict[str, set[type[Model]]] = {"users": {User, Group, Token}, "system": {Scenario}, "analytics": set()}


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/", *(f"/admin/{name}/" for name in ("accounts/user", "no/such/page"))])
def test_a_stranger_is_sent_to_the_sign_in(path: str, client: Client) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/admin/login/")


def test_a_user_who_is_no_staff_stays_out(alice: User) -> None:
    client = signed_in(alice)
    for model in MODELS:
        response = client.get(page(model, "changelist"))
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


def test_staff_sign_in_with_any_spelling_of_their_e_mail(db: None, client: Client) -> None:
    staff("users")
    response = client.post("/sign-in", {"email": " Staff@Example.ORG", "password": PASSWORD})
    assert response.status_code == 302
    assert client.get(page(User, "changelist")).status_code == 200


def test_a_retired_administrator_is_out_at_once(db: None) -> None:
    root = administrator()
    client = signed_in(root)
    assert client.get("/admin/").status_code == 200
    root.retire()
    assert client.get("/admin/").status_code == 302


def test_the_sign_in_never_leads_to_another_site(db: None, client: Client) -> None:
    staff("users")
    fields = {"email": "staff@example.org", "password": PASSWORD, "next": "https://evil.example/"}
    response = client.post("/sign-in", fields)
    assert "evil.example" not in response["Location"]


@pytest.mark.parametrize("role", MAY_SEE)
def test_staff_see_what_their_roles_show_and_nothing_else(db: None, role: str) -> None:
    client = signed_in(staff(role))
    for model in MODELS:
        expected = 200 if model in MAY_SEE[role] else 403
        assert client.get(page(model, "changelist")).status_code == expected, model


@pytest.mark.parametrize("role", MAY_ADD)
def test_staff_add_what_their_roles_let_them_add(db: None, role: str) -> None:
    client = signed_in(staff(role))
    for model in MODELS:
        expected = 200 if model in MAY_ADD[role] else 403
        assert client.get(page(model, "add")).status_code == expected, model


def test_staff_without_a_role_see_an_empty_index(db: None) -> None:
    response = signed_in(staff()).get("/admin/")
    assert response.status_code == 200
    assert "have permission to view or edit anything" in response.content.decode()


def test_a_permission_of_ones_own_opens_one_model(db: None) -> None:
    member = staff()
    member.user_permissions.add(Permission.objects.get(codename="view_agent"))
    client = signed_in(member)
    assert client.get(page(Agent, "changelist")).status_code == 200
    assert client.get(page(Conversation, "changelist")).status_code == 403


def test_answers_and_djangos_groups_have_no_page(db: None) -> None:
    client = signed_in(administrator())
    shown = client.get("/admin/").content.decode()
    assert "Switchboard" in shown
    assert "Django administration" not in shown
    assert "/admin/auth/group/" not in shown
    assert f"/admin/relay/{StoredAnswer._meta.model_name}/" not in shown


@pytest.mark.parametrize("path", ["accounts/user/add/", "accounts/group/add/", "accounts/token/add/", "accounts/user/"])
def test_a_post_without_the_csrf_token_is_refused(db: None, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(administrator())
    response = client.post(f"/admin/{path}", user_fields(email="new@example.org"))
    assert response.status_code == 403
    assert User.objects.count() == 1


@pytest.mark.parametrize("model", MODELS)
def test_posting_rows_to_a_list_makes_none(db: None, model: type[Model]) -> None:
    """Neither inlines nor editable lists, so their forged rows (CVE-2026-4277, CVE-2026-4292) find nothing."""
    client = signed_in(staff(*ROLES))
    before = model._default_manager.count()
    row = {"form-0-name": "forged", "form-0-email": "forged@example.org", "form-0-id": "", "_save": "Save"}
    sizes = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "0"}
    client.post(page(model, "changelist"), row | sizes)
    assert model._default_manager.count() == before


def test_reading_a_list_does_not_let_one_write(db: None) -> None:
    client = signed_in(staff("system"))
    token, _ = Token.objects.issue(Token.Kind.AGENT, name="door")
    assert client.post(page(Token, "change", token.pk), {"name": "forged"}).status_code == 403
    assert client.post(page(Token, "delete", token.pk), {"post": "yes"}).status_code == 403
    token.refresh_from_db()
    assert token.name == "door"


@pytest.mark.parametrize("model", MODELS)
def test_an_id_that_is_none_is_refused(db: None, model: type[Model]) -> None:
    client = signed_in(administrator())
    for name in ("change", "delete", "history"):
        assert client.get(page(model, name, "no-id%00")).status_code in {302, 403, 404}
    for action in ("retire", "revoke", "rest", "delete_selected"):
        chosen = {"action": action, "_selected_action": ["no id"]}
        assert client.post(page(model, "changelist"), chosen).status_code in {200, 302, 400}


def _fill(number: int) -> None:
    for n in range(number):
        user = User.objects.create_user(f"user{User.objects.count()}@example.org", name=f"U{n}")
        user.groups.add(Group.objects.create(name=f"group of {user}"))
        token, _ = Token.objects.issue(Token.Kind.AGENT, user, name=f"t{n}")
        now = token.created_at
        agent = Agent.objects.create(pk=f"agent of {user}", token=token, seen_at=now)
        Conversation.objects.create(conversation_id=f"c{n}", owner=user, agent_id=agent.pk, created_at=now, used_at=now)
        AuditEntry.objects.create(actor=user, actor_name=str(user), action="add", what="thing")
        Source.objects.create(creator=user, title=f"s{n}", content="text").groups.add(*user.groups.all())
        chat = Chat.objects.create(owner=user, title=f"c{n}")
        chat.groups.add(*user.groups.all())
        Message.objects.create(chat=chat, position=0, question="?")
        Scenario.objects.create(owner=user, name=f"scenario of {user}"[:40], description="d")


@pytest.mark.parametrize("model", MODELS)
def test_a_list_takes_the_same_queries_for_one_row_and_for_many(
    db: None, model: type[Model], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = signed_in(administrator())
    _fill(1)
    client.get(page(model, "changelist"))
    with django_assert_max_num_queries(100) as few:
        client.get(page(model, "changelist"))
    _fill(12)
    with django_assert_max_num_queries(len(few)):
        assert client.get(page(model, "changelist")).status_code == 200
