"""An e-mail address is one address in every spelling: case, Unicode form, a domain's own script or its xn-- form."""

from __future__ import annotations

import unicodedata
from importlib import import_module

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection

from accounts.fields import canonical_email
from accounts.models import AuditEntry, Token, User
from tests.admin_site import administrator, page, signed_in, user_fields
from tests.conftest import PASSWORD
from tests.pages import browser, text

STORED = "dora@bücher.example"
SPELLINGS = [
    STORED,
    unicodedata.normalize("NFD", STORED),
    "dora@xn--bcher-kva.example",
    "DORA@XN--BCHER-KVA.EXAMPLE",
    " Dora@BÜCHER.example ",
    "dora\uff20bücher\u3002example",
]
MIGRATION = import_module("accounts.migrations.0011_one_address")


@pytest.fixture(params=[STORED, "dora@xn--bcher-kva.example"])
def dora(request: pytest.FixtureRequest, db: None) -> User:
    return User.objects.create_user(request.param, PASSWORD, name="Dora")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_signs_in(dora: User, spelling: str) -> None:
    assert browser().post("/sign-in", {"email": spelling, "password": PASSWORD}).status_code == 302


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_second_account_takes_another_spelling(dora: User, spelling: str) -> None:
    new = "quite another sentence"
    fields = user_fields(email=spelling, name="Other", usable_password="true", password1=new, password2=new)
    refused = signed_in(administrator()).post(page(User, "add"), fields)
    assert refused.status_code == 200
    assert "already exists" in text(refused) or "valid email" in text(refused)
    assert User.objects.filter(name="Other").count() == 0


def test_commands_find_it_and_pages_show_it_in_its_own_script(dora: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("token", kind="api", user="dora@xn--bcher-kva.example")
    assert Token.objects.get().user == dora
    assert f'value="{STORED}"' in browser(dora).get("/account").content.decode()


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("a@xn--strae-oqa.de", canonical_email("a@straße.de")),
        ("a@mail.xn--e1afmkfd.xn--80akhbyknj4f", "a@mail.пример.испытание"),
        ("a@xn--.example", "a@xn--.example"),
        ("a@xn--abc-.example", "a@xn--abc-.example"),
        ("a@xn--99999999.example", "a@xn--99999999.example"),
        ("a@xn--a\uff0db.example", "a@xn--a-b.example"),
        ("xn--bcher-kva", "xn--bcher-kva"),
        ("a@xn--44jzczdoj.de", "a@xn--44jzczdoj.de"),  # would come out with a dot of its own
        ("@", "@"),
        ("  ", None),
        (None, None),
    ],
)
def test_odd_domains_stay_as_they_are(typed: str | None, stored: str | None) -> None:
    assert canonical_email(typed) == stored
    assert canonical_email(stored) == stored


# -- rows from before ------------------------------------------------------------------------------


def before(spelling: str, **fields: object) -> User:
    """A row as it was stored when nobody read the domain."""
    user = User.objects.create_user(None, PASSWORD, **fields)
    with connection.cursor() as cursor:
        key = user.pk if connection.vendor == "postgresql" else user.pk.hex
        cursor.execute("UPDATE accounts_user SET email = %s WHERE id = %s", [spelling, key])
    return user


def test_a_row_from_before_signs_in_again(db: None) -> None:
    before("dora@xn--bcher-kva.example")
    MIGRATION.rename(apps, None)
    MIGRATION.rename(apps, None)
    for spelling in SPELLINGS:
        assert browser().post("/sign-in", {"email": spelling, "password": PASSWORD}).status_code == 302
    assert AuditEntry.objects.get(action="rename e-mail").what == f"dora@xn--bcher-kva.example is {STORED} now"


def test_where_two_accounts_meet_neither_opens_the_other(db: None) -> None:
    first = User.objects.create_user(STORED, "quite another sentence")
    second = before("dora@xn--bcher-kva.example")
    third = before("dora@XN--BCHER-KVA.example", is_active=False)
    MIGRATION.rename(apps, None)
    found = {user.pk: user.email for user in User.objects.all()}
    assert found == {first.pk: STORED, second.pk: "dora+2@bücher.example", third.pk: "dora+3@bücher.example"}
    assert browser().post("/sign-in", {"email": SPELLINGS[2], "password": PASSWORD}).status_code == 422
    assert browser().post("/sign-in", {"email": "dora+2@bücher.example", "password": PASSWORD}).status_code == 302
    assert AuditEntry.objects.filter(action="rename e-mail").count() == 2
