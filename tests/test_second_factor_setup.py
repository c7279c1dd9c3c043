"""Turning the second factor on: the password first, then the secret and its first code; older sign-ins end."""

from __future__ import annotations

import re

from accounts import secondfactor
from accounts.models import Authenticator, Token, User
from tests.conftest import PASSWORD
from tests.pages import browser, text
from tests.test_second_factor import code, set_up


def test_the_secret_is_shown_to_the_password_only(alice: User) -> None:
    client = browser(alice)
    for page in (
        client.get("/account/second-factor"),
        client.post("/account/second-factor", {"password": "wrong"}),
        client.post("/account/second-factor", {"code": "000000"}),
        client.post("/account/second-factor", {"code": "000000", "proof": "made up"}),
    ):
        assert 'role="img"' not in page.content.decode()
    assert not Authenticator.objects.exists()
    right = client.post("/account/second-factor", {"password": PASSWORD})
    assert 'role="img"' in right.content.decode()
    assert "no-store" in right["Cache-Control"]


def test_setting_it_up_takes_the_password(alice: User) -> None:
    secondfactor.begin(alice)
    client = browser(alice)
    for fields in ({}, {"password": "wrong"}, {"proof": "x"}, {"password": ""}):
        client.post("/account/second-factor", {"code": code(alice), **fields})
        assert not secondfactor.is_on(alice)


def test_a_proof_of_the_password_is_its_users_and_ends_with_the_password(alice: User, bob: User) -> None:
    page = browser(alice).post("/account/second-factor", {"password": PASSWORD}).content.decode()
    proof = re.search(r'name="proof" value="([^"]+)"', page)
    assert proof
    assert browser(bob).post("/account/second-factor", {"proof": proof[1]}).status_code == 422
    alice.set_password("another good sentence")
    alice.save()
    assert browser(alice).post("/account/second-factor", {"proof": proof[1]}).status_code == 422


def test_a_wrong_first_code_does_not_turn_it_on_and_makes_no_pause(alice: User) -> None:
    client = browser(alice)
    page = client.post("/account/second-factor", {"password": PASSWORD}).content.decode()
    proof = re.search(r'name="proof" value="([^"]+)"', page)
    assert proof
    for wrong in ("x", "000000", ""):
        assert client.post("/account/second-factor", {"proof": proof[1], "code": wrong}).status_code == 422
    assert not secondfactor.is_on(alice)
    client.post("/account/second-factor", {"proof": proof[1], "code": code(alice)})
    assert secondfactor.is_on(alice)


def test_what_the_password_alone_opened_before_ends_but_for_the_tokens_that_were_ticked(alice: User, bob: User) -> None:
    here, elsewhere, half_way = browser(alice), browser(alice), browser()
    kept, lost, login = (Token.objects.issue(Token.Kind.API, alice, name=name)[0] for name in ("a", "b", "login"))
    other = Token.objects.issue(Token.Kind.API, bob)[0]
    page = here.post("/account/second-factor", {"password": PASSWORD})
    assert "Tokens to keep" in text(page)
    assert "Recovery codes" in text(set_up(here, keep=[kept.pk, other.pk, "x"]))
    assert here.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 302
    assert half_way.get("/account").status_code == 302
    live = set(Token.objects.live().values_list("pk", flat=True))
    assert live == {kept.pk, other.pk}
    assert {lost.pk, login.pk}.isdisjoint(live)
