"""Logging in and out, and the many ways in which clients show their token."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client

from accounts.models import AuditEntry, Authenticator, SignInFailures, Token, User
from tests.conftest import PASSWORD
from tests.contract2.server import Program

BASIC = "Basic " + base64.b64encode(b"proxy:secret").decode()


def login(program: Program, email: str = "alice@example.org", password: str = PASSWORD, **more: object) -> str:
    reply = program.post("/login", {"email": email, "password": password}, **more)
    assert reply.status == 200, reply.body
    return str(reply.data["token"])


def test_a_login_gives_a_token_in_the_shape_that_clients_look_for(anybody: Program, alice: User) -> None:
    reply = anybody.post("/login", {"email": "alice@example.org", "password": PASSWORD})
    assert reply.json == {"data": {"token": reply.data["token"]}, "message": "success", "status": 200}
    number, pipe, secret = reply.data["token"].partition("|")
    assert number.isdigit()
    assert pipe
    assert len(secret) == 40
    assert PASSWORD not in reply.body.decode()


def test_a_password_alone_does_not_pass_by_the_second_factor(anybody: Program, alice: User) -> None:
    Authenticator.objects.create(user=alice, name="app", confirmed=True)
    right = anybody.post("/login", {"email": "alice@example.org", "password": PASSWORD})
    assert (right.status, right.json["data"]) == (403, None)
    assert "second factor" in right.json["message"]
    assert not Token.objects.filter(user=alice).exists()
    wrong = anybody.post("/login", {"email": "alice@example.org", "password": "something else"})
    assert wrong.status == 401  # who does not know the password does not learn of the factor


def test_tokens_have_nothing_in_common(anybody: Program, alice: User) -> None:
    """Attack 16."""
    secrets = {login(anybody).split("|")[1] for _ in range(20)}
    assert len({secret[:4] for secret in secrets}) > 15


@pytest.mark.parametrize("header", ["Authorization", "Authentication"])
@pytest.mark.parametrize(
    "shape", ["Bearer {}", "bearer {}", "BEARER  {}", BASIC + ", Bearer {}", "Bearer 1|old, Bearer {}"]
)
def test_both_headers_take_every_shape_that_clients_send(
    anybody: Program, alice: User, header: str, shape: str
) -> None:
    value = shape.format(login(anybody))
    assert anybody.get("/groups", headers={header: value}).status == 200


def test_a_login_ignores_the_credentials_that_come_along(anybody: Program, alice: User) -> None:
    for value in (BASIC, "Bearer 1|old", f"{BASIC}, Bearer 1|old"):
        assert login(anybody, headers={"Authorization": value, "Content-Type": "application/json"})


def test_one_old_header_beside_a_valid_one_does_no_harm(anybody: Program, alice: User) -> None:
    token = login(anybody)
    headers = {"Authorization": "Bearer 1|old", "Authentication": f"Bearer {token}"}
    assert anybody.get("/groups", headers=headers).status == 200


def test_headers_of_two_users_are_no_credential(anybody: Program, alice: User, bob: User) -> None:
    """Attack 12."""
    other = login(anybody, "bob@example.org")
    headers = {"Authorization": f"Bearer {login(anybody)}", "Authentication": f"Bearer {other}"}
    assert anybody.get("/groups", headers=headers).status == 401


def test_a_header_that_comes_twice_is_no_credential(anybody: Program, alice: User) -> None:
    """Attack 13."""
    value = f"Bearer {login(anybody)}"
    assert anybody.get("/groups", headers=[("Authorization", value), ("Authorization", value)]).status == 401


@pytest.mark.parametrize("name", ["Authorization_", "Authorization ", "X-Api-Key", "X_Authorization"])
def test_no_other_header_is_a_credential(anybody: Program, alice: User, name: str) -> None:
    """Attack 13."""
    assert anybody.get("/groups", headers={name: f"Bearer {login(anybody)}"}).status == 401


def test_a_token_in_the_query_is_no_credential(anybody: Program, alice: User) -> None:
    assert anybody.get(f"/groups?token={login(anybody)}").status == 401


@pytest.mark.parametrize("kind", [Token.Kind.RELAY, Token.Kind.AGENT])
def test_tokens_of_other_kinds_open_nothing(anybody: Program, alice: User, kind: Token.Kind) -> None:
    _, key = Token.objects.issue(kind, alice)
    assert anybody.with_token(key).get("/groups").status == 401


def test_the_admin_key_opens_nothing(anybody: Program, alice: User, settings: Any) -> None:
    """Attack 33."""
    for key in (settings.ADMIN_KEY, settings.SECRET_KEY):
        assert anybody.with_token(key).get("/users").status == 401


def test_a_refused_token_says_so_in_the_words_that_clients_look_for(anybody: Program, alice: User) -> None:
    reply = anybody.with_token("1|nobody").get("/groups")
    assert reply.status == 401
    assert reply.json["data"] is None
    assert "token expired" in reply.json["message"]


def test_logins_failures_refusals_and_logouts_are_in_the_audit_log(anybody: Program, alice: User, bob: User) -> None:
    caller = anybody.with_token(login(anybody))
    caller.call("DELETE", "/logout")
    anybody.post("/login", {"email": "alice@example.org", "password": "no"})
    Authenticator.objects.create(user=bob, name="app", confirmed=True)
    anybody.post("/login", {"email": "bob@example.org", "password": PASSWORD})
    found = AuditEntry.objects.order_by("pk").values_list("action", "what", "way", "address")
    assert list(found) == [
        ("sign in", "alice@example.org", "api", "192.0.2.1"),
        ("sign out", "alice@example.org", "api", "192.0.2.1"),
        ("failed sign-in", "alice@example.org", "api", "192.0.2.1"),
        ("refused sign-in", "bob@example.org", "api", "192.0.2.1"),
    ]


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_a_logout_ends_the_token_in_use_and_no_other(anybody: Program, alice: User, method: str) -> None:
    """Attack 6."""
    first, second = anybody.with_token(login(anybody)), anybody.with_token(login(anybody))
    reply = first.call(
        method, "/logout", headers={"Authorization": f"Bearer {first.token}", "Content-Type": "application/json"}
    )
    assert reply.json == {"data": {}, "message": "success", "status": 200}
    assert first.get("/groups").status == 401
    assert second.get("/groups").status == 200


def test_wrong_password_and_unknown_address_get_the_same_answer(anybody: Program, alice: User) -> None:
    """Attack 11."""
    wrong = anybody.post("/login", {"email": "alice@example.org", "password": "no"})
    unknown = anybody.post("/login", {"email": "nobody@example.org", "password": "no"})
    assert wrong.status == unknown.status == 401
    assert wrong.body == unknown.body
    assert "token expired" not in wrong.json["message"]


def test_an_unknown_address_costs_a_hash_as_a_known_one_does(
    anybody: Program, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack 11."""
    hashed: list[int] = []
    real = MD5PasswordHasher.encode

    def counted(*args: object) -> str:
        hashed.append(1)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    counts = []
    for email in ("alice@example.org", "nobody@example.org"):
        hashed.clear()
        anybody.post("/login", {"email": email, "password": "no"})
        counts.append(len(hashed))
    assert counts[0] == counts[1] == 1


@pytest.mark.parametrize("spelling", ["ALICE@example.org", " alice@example.org ", "\uff41lice@example.org"])
def test_another_spelling_of_an_address_is_the_same_user(anybody: Program, alice: User, spelling: str) -> None:
    """Attack 10."""
    token = login(anybody, spelling)
    assert Token.objects.get(pk=int(token.split("|")[0])).user == alice


@pytest.mark.parametrize("password", [[], {}, None, True, 5, "\0", "x" * 1_000_000, ""])
def test_odd_passwords_are_refused(anybody: Program, alice: User, password: object) -> None:
    """Attack 14."""
    assert anybody.post("/login", {"email": "alice@example.org", "password": password}).status in {401, 422}


def test_a_retired_user_cannot_log_in(anybody: Program, alice: User) -> None:
    alice.retire()
    assert anybody.post("/login", {"email": "alice@example.org", "password": PASSWORD}).status == 401


# -- throttling ---------------------------------------------------------------------------------


WRONG = "wrong"


def guess(program: Program, email: str = "alice@example.org", password: str = WRONG) -> int:
    return program.post("/login", {"email": email, "password": password}).status


def test_guessing_locks_the_account_even_for_the_right_password(anybody: Program, alice: User, bob: User) -> None:
    """Attack 15."""
    statuses = [guess(anybody) for _ in range(60)]
    assert statuses == [401] * 10 + [429] * 50
    locked = anybody.post("/login", {"email": "alice@example.org", "password": PASSWORD})
    assert locked.status == 429
    assert 0 < int(locked.headers["retry-after"]) <= 601
    assert guess(anybody, "bob@example.org", PASSWORD) == 200
    entry = AuditEntry.objects.get(action="lock sign-in")
    assert (entry.what, entry.address) == ("alice@example.org", "192.0.2.1")


def test_an_unknown_address_is_locked_just_the_same(anybody: Program, alice: User) -> None:
    assert [guess(anybody, "nobody@example.org") for _ in range(12)] == [401] * 10 + [429] * 2


def test_trying_many_accounts_locks_the_network_address(anybody: Program, alice: User) -> None:
    statuses = [guess(anybody, f"nobody{number % 25}@example.org") for number in range(100)]
    assert set(statuses) == {401}
    assert guess(anybody, "alice@example.org", PASSWORD) == 429
    assert guess(Program(anybody.loop, address="192.0.2.2"), "alice@example.org", PASSWORD) == 200


def test_sixty_good_logins_are_no_attack(anybody: Program, alice: User) -> None:
    assert {guess(anybody, password=PASSWORD) for _ in range(60)} == {200}


def test_a_good_login_forgives_the_failures_before_it(anybody: Program, alice: User) -> None:
    for _ in range(3):
        assert [guess(anybody) for _ in range(8)] == [401] * 8
        assert guess(anybody, password=PASSWORD) == 200


def test_a_lock_ends_by_itself(anybody: Program, alice: User) -> None:
    for _ in range(11):
        guess(anybody)
    for row in SignInFailures.objects.all():
        row.since -= timedelta(minutes=11)
        row.save()
    assert guess(anybody, password=PASSWORD) == 200


def test_guesses_at_once_learn_no_more_than_guesses_in_a_row(anybody: Program, alice: User) -> None:
    """Attack 15."""
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: guess(anybody), range(48)))
    assert statuses.count(401) == 10
    assert statuses.count(429) == 38


def test_the_lock_holds_at_the_admin_sign_in_too(anybody: Program, root: User) -> None:
    browser = Client()
    for _ in range(10):
        browser.post("/admin/login/", {"username": "root@example.org", "password": "wrong"})
    found = browser.post("/admin/login/", {"username": "root@example.org", "password": PASSWORD})
    assert b"Too many failed sign-ins" in found.content
    assert "_auth_user_id" not in browser.session
    assert guess(anybody, "root@example.org", PASSWORD) == 429


def test_the_logins_longest_ago_end_when_there_are_too_many(anybody: Program, alice: User, settings: Any) -> None:
    settings.API = settings.API | {"logins_per_user": 3}
    tokens = [login(anybody) for _ in range(5)]
    assert [anybody.with_token(token).get("/groups").status for token in tokens] == [401, 401, 200, 200, 200]
