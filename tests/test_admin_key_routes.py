"""The admin key's routes: users of the relay added, listed and deleted; nothing for anybody without the key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from tests.contract1 import ADMIN, JSON, Pair
from tests.wire_server import User, Web, shows


@pytest.mark.parametrize("pair", ADMIN, ids=str)
def test_an_admin_route_answers_as_recorded(lane: Web, pair: Pair) -> None:
    """Attacks 33, 78, 79 and 80."""
    shows(lane, pair, lane.user())


def test_a_new_user_is_shown_listed_and_may_ask(lane: Web) -> None:
    """Attack 81: the contract's keys in the contract's order, not cacheable."""
    found = lane.http.post("/admin/users/add", json={"admin_key": lane.admin_key})
    token, user = found.json()["token"], found.json()["user_id"]
    assert found.text == f'{{"token":"{token}","user_id":"{user}"}}'
    assert found.headers["cache-control"] == "no-store"
    assert found.headers["content-type"] == JSON
    assert [UUID(value).version for value in (token, user)] == [4, 4]
    assert lane.ask(token).status_code == 503  # let in; only an agent is missing
    listed = lane.http.get("/admin/users", params={"admin_key": lane.admin_key})
    assert f'{{"user_id":"{user}","token":"{token}"}}' in listed.text
    assert listed.text.startswith('{"users":[{"user_id":"')
    assert (listed.status_code, listed.headers["cache-control"]) == (200, "no-store")
    assert "access-control-allow-origin" not in [*found.headers, *listed.headers]


def test_no_users_are_an_empty_list(view: Web) -> None:
    for user in view.http.get("/admin/users", params={"admin_key": view.admin_key}).json()["users"]:
        view.delete(User(user["user_id"], ""))
    found = view.http.get("/admin/users", params={"admin_key": view.admin_key})
    assert found.content == b'{"users":[]}'


def test_a_deleted_user_is_unlisted_and_deleting_again_is_no_error(lane: Web) -> None:
    user, other = lane.user(), lane.user()
    for _ in range(2):
        found = lane.delete(user)
        assert (found.status_code, found.content) == (200, b'{"message":"User deleted"}')
        assert found.headers["cache-control"] == "no-store"
    listed = lane.http.get("/admin/users", params={"admin_key": lane.admin_key}).text
    assert user.id not in listed
    assert user.token not in listed
    assert other.token in listed


def test_every_act_is_in_the_audit_log(lane: Web) -> None:
    """Attack 83."""
    user = lane.user()
    lane.delete(user)
    rows = lane.sql("SELECT action, way, address FROM accounts_auditentry WHERE what = ? ORDER BY id", user.id)
    assert rows == [("add user", "admin key", "127.0.0.1"), ("delete user", "admin key", "127.0.0.1")]


@pytest.mark.parametrize("path", ["/admin/users", "/admin/users/add", "/admin/users/delete"])
def test_a_wrong_key_learns_nothing(lane: Web, path: str) -> None:
    """Attack 78: neither the key nor what was sent stands in the answer, whatever was sent."""
    user = lane.user()
    for sent in ("guess-4711", user.token, lane.admin_key[:-1], lane.admin_key.swapcase(), lane.admin_key + " "):
        if path == "/admin/users":
            found = lane.http.get(path, params={"admin_key": sent})
        else:
            found = lane.http.post(path, json={"admin_key": sent, "user_id": user.id})
        assert (found.status_code, found.content) == (401, b'{"error":"Invalid admin key"}')
        assert lane.admin_key not in str(found.headers)


@pytest.mark.parametrize("value", ['["KEY"]', '{"$ne":""}', "true", "null", "0", '"KEY\\u0000"', '"\\ud800"'])
def test_a_key_of_another_kind_is_refused(lane: Web, value: str) -> None:
    """Attack 79."""
    body = f'{{"admin_key":{value.replace("KEY", lane.admin_key)}}}'
    assert lane.http.post("/admin/users/add", content=body).status_code in {400, 401}


@pytest.mark.parametrize("header", ["Authorization", "X-Admin-Key", "Admin-Key", "Cookie"])
def test_a_key_in_a_header_is_none(lane: Web, header: str) -> None:
    """Attack 79."""
    headers = {header: lane.admin_key}
    assert lane.http.get("/admin/users", headers=headers).status_code == 401
    assert lane.http.post("/admin/users/add", headers=headers, json={}).status_code == 401


def test_a_session_of_the_admin_site_is_no_admin_key(lane: Web) -> None:
    """Attack 81: the contract's paths lie under the admin site's, and only the key opens them."""
    assert lane.http.get("/admin/users", headers={"Cookie": "sessionid=" + "x" * 32}).status_code == 401
    assert lane.http.get("/admin/").status_code == 302


@pytest.mark.parametrize("odd", ["../../x", "%00", "' OR 1=1 --", "*", "9" * 400, "😀", "null", "x" * 100_000, "1_0"])
def test_an_odd_user_id_deletes_nobody(lane: Web, odd: str) -> None:
    """Attacks 37 and 80."""
    bystander = lane.user()
    assert lane.delete(User(odd, "")).content == b'{"message":"User deleted"}'
    assert lane.ask(bystander.token).status_code == 503


def test_a_body_that_is_too_long_is_a_413(lane: Web) -> None:
    """Attack 60."""
    for size in (1_100_000, 3_000_000):
        found = lane.http.post("/admin/users/add", content=b" " * size)
        assert (found.status_code, found.json()) == (413, {"error": "The request body is longer than 1048576 bytes"})
        assert found.headers["cache-control"] == "no-store"


def test_thirty_writers_at_once_are_all_served(lane: Web) -> None:
    """Fault 16."""
    with ThreadPoolExecutor(30) as crowd:
        users = list(crowd.map(lambda _: lane.user(), range(60)))
        assert len({user.token for user in users}) == 60
        assert {reply.status_code for reply in crowd.map(lane.delete, users)} == {200}
    assert not {user.token for user in users} & set(
        lane.http.get("/admin/users", params={"admin_key": lane.admin_key}).text.split('"')
    )
