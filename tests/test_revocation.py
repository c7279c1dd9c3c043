"""What was taken away is gone when the reply to the deletion has left: in the same process, and in every other one."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import databases
from tests.redis_server import Redis, a_redis
from tests.running import ROOT, environment, until
from tests.socket_server import Web as House
from tests.socket_server import copied
from tests.wire_agent import WireAgent, echo, silent
from tests.wire_server import Asking, User, Web

PATIENCE = 60.0  # seconds
LATE = "X-Revocation"
BODY = b'{"content":"Hi"}'
ROOT_EMAIL, PASSWORD = "root@example.org", "a long enough password"
MAKE_ROOT = f"""
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()
from accounts.models import User
User.objects.create_superuser({ROOT_EMAIL!r}, {PASSWORD!r})
"""


def made(data: Path) -> None:
    subprocess.run([sys.executable, "-c", MAKE_ROOT], env=environment(data), cwd=ROOT, check=True)


class Way:
    """A client of one process."""

    def __init__(self, url: str, admin_key: str) -> None:
        self.url, self._key = url, admin_key
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE)

    def relay_user(self) -> User:
        found = self.http.post("/admin/users/add", json={"admin_key": self._key}).json()
        return User(found["user_id"], found["token"])

    def delete(self, user: User) -> httpx.Response:
        return self.http.post("/admin/users/delete", json={"admin_key": self._key, "user_id": user.id})

    def ask(self, token: str) -> int:
        return self.http.post("/api/ask", content=BODY, headers={"Authorization": token}).status_code

    def asks(self, token: str, content: str = "Hi", **headers: str) -> Asking:
        """The same in the background, with any question."""
        sent = {"Authorization": token} | {name.replace("_", "-"): value for name, value in headers.items()}
        return Asking(lambda: self.http.post("/api/ask", json={"content": content}, headers=sent))

    def until_wait(self, asks: int) -> None:
        """Until so many asks wait in this process."""
        gauge = rf"switchboard_queue_length\{{[^}}]*\}} {asks}\.0\n"
        until(lambda: bool(re.search(gauge, self.http.get("/metrics").text)), f"{asks} asks wait")

    def listed(self) -> list[str]:
        found = self.http.get("/api/connections", headers={"Authorization": self._key}).json()["connections"]
        return [agent["Id"] for agent in found]

    def api(self, token: str, method: str, path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        reply = self.http.request(method, f"/api/v1/{path}", json=body, headers=headers)
        return reply.json() | {"headers": reply.headers}

    def login(self, email: str = ROOT_EMAIL) -> str:
        found = self.http.post("/api/v1/login", json={"email": email, "password": PASSWORD}).json()
        return str(found["data"]["token"])

    def person(self, root: str, **fields: Any) -> str:
        """The e-mail address of a new user."""
        email = f"{uuid4().hex[:12]}@example.org"
        self.api(root, "POST", "users", name="Somebody", email=email, password=PASSWORD, **fields)
        return email

    def signed_in(self, email: str) -> httpx.Client:
        """A browser."""
        browser = httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE)
        browser.get("/sign-in")
        form = {"email": email, "username": email, "password": PASSWORD}
        browser.post("/sign-in", data=form | {"csrfmiddlewaretoken": browser.cookies["csrftoken"]})
        return browser


def way(web: Web) -> Way:
    return Way(web.url, web.admin_key)


# -- one process -------------------------------------------------------------------------------------


class Busy(threading.Thread):
    """Asks with a key again and again, so that it never leaves the server's memory by itself."""

    def __init__(self, here: Way, token: str) -> None:
        super().__init__()
        self._here, self._token, self._over = Way(here.url, ""), token, threading.Event()

    def __enter__(self) -> Busy:
        self.start()
        return self

    def run(self) -> None:
        while not self._over.is_set():
            self._here.ask(self._token)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def test_a_deleted_users_key_opens_nothing_once_the_deletion_is_answered(web: Web) -> None:
    here = way(web)
    for _ in range(10):
        asker, other = here.relay_user(), here.relay_user()
        assert here.ask(asker.token) == here.ask(other.token) == 503  # good, but there is no agent
        with Busy(here, asker.token):
            gone = here.delete(asker)
            assert (gone.status_code, gone.json(), gone.headers.get(LATE)) == (200, {"message": "User deleted"}, None)
            assert here.ask(asker.token) == 401
        assert here.ask(other.token) == 503


def test_a_key_that_ends_between_head_and_body_asks_nothing(web: Web) -> None:
    here = way(web)
    asker = here.relay_user()
    head = f"POST /api/ask HTTP/1.1\r\nHost: x\r\nAuthorization: {asker.token}\r\nConnection: close\r\n"
    with web.agent(echo) as agent, web.connection() as wire:
        assert here.ask(asker.token) == 200
        wire.sendall(f"{head.replace('Host: x', 'Host: 127.0.0.1')}Content-Length: {len(BODY)}\r\n\r\n".encode())
        wire.sendall(BODY[:3])
        here.delete(asker)
        wire.sendall(BODY[3:])
        assert wire.recv(1 << 16).startswith(b"HTTP/1.1 401")
        assert len(agent.asked) == 1


def is_refused(asking: Asking) -> bool:
    return (asking.reply.status_code, asking.reply.json()) == (401, {"error": "Invalid API key"})


def answers(agent: WireAgent, here: Way, token: str) -> list[str]:
    """Lets the agent answer what it has and one thing more; all that it was ever asked."""
    agent.script = echo
    agent.answer(agent.asked[-1], "right")
    assert here.ask(token) == 200
    return [asked.content for asked in agent.asked]


def test_what_waits_with_a_deleted_users_key_is_refused_and_never_asked(patient: Web) -> None:
    here = way(patient)
    asker, other = here.relay_user(), here.relay_user()
    with patient.agent(silent) as agent:
        first = here.asks(other.token, "First")
        agent.was_asked()
        waiting = [here.asks(asker.token, "Waits"), here.asks(asker.token, "Waits", idempotency_key="1")]
        waiting += [here.asks(asker.token, "Waits", idempotency_key="1")]  # for the answer to the one before
        here.until_wait(2)
        stays = here.asks(other.token, "Stays")
        here.until_wait(3)
        here.delete(asker)
        here.until_wait(1)
        assert all(map(is_refused, waiting))
        assert answers(agent, here, other.token) == ["First", "Stays", "Hi"]
        assert first.reply.status_code == stays.reply.status_code == 200


def test_what_an_agent_has_of_a_deleted_users_key_is_broken_off(patient: Web) -> None:
    here = way(patient)
    asker, other = here.relay_user(), here.relay_user()
    with patient.agent(silent) as agent:
        had = here.asks(asker.token)
        frame = agent.was_asked().frame
        here.delete(asker)
        assert is_refused(had)
        assert agent.was_told("cancel")["id"] == frame
        agent.answer(agent.asked[0], "late")
        agent.script = echo
        assert here.ask(other.token) == 200


def test_what_waits_with_a_key_that_ended_past_the_program_is_refused_soon(patient: Web) -> None:
    here = way(patient)
    asker, other = here.relay_user(), here.relay_user()
    with patient.agent(silent) as agent:
        here.asks(other.token, "First")
        agent.was_asked()
        waiting = here.asks(asker.token, "Waits")
        here.until_wait(1)
        rows = patient.sql("SELECT id FROM accounts_token ORDER BY id DESC LIMIT 2")
        patient.sql("UPDATE accounts_token SET revoked_at = CURRENT_TIMESTAMP WHERE id = ?", rows[1][0])  # the asker's
        assert is_refused(waiting)
        assert answers(agent, here, other.token) == ["First", "Hi"]


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[tuple[Web, Way, str]]:
    """A server with an administrator: its way in, and the administrator's token."""
    with Web(tmp_path_factory.mktemp("peopled"), empty_sqlite) as web:
        made(web.data)
        here = way(web)
        yield web, here, here.login()


def by_api(here: Way, root: str, email: str) -> httpx.Headers:
    found: httpx.Headers = here.api(root, "DELETE", "users", email=email)["headers"]
    return found


def in_the_admin_site(here: Way, act: str, kind: str, pk: object) -> httpx.Response:
    browser = here.signed_in(ROOT_EMAIL)
    form = {"action": act, "_selected_action": str(pk), "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    form |= {"post": "yes"} if act == "delete_selected" else {}
    return browser.post(f"/admin/accounts/{kind}/", data=form, headers={"Referer": here.url})


def user_id(web: Web, email: str) -> str:
    return str(web.sql("SELECT id FROM accounts_user WHERE email = ?", email)[0][0])


def token_id(web: Web, email: str, kind: str) -> int:
    statement = "SELECT id FROM accounts_token WHERE kind = ? AND user_id = ?"
    return int(web.sql(statement, kind, user_id(web, email))[0][0])


DOORS: dict[str, Callable[[Web, Way, str, str], object]] = {
    "contract 2": lambda _, here, root, email: by_api(here, root, email),
    "retire": lambda web, here, _, email: in_the_admin_site(here, "retire", "user", user_id(web, email)),
    "revoke": lambda web, here, _, email: in_the_admin_site(here, "revoke", "token", token_id(web, email, "relay")),
    "delete key": lambda web, here, _, email: in_the_admin_site(
        here, "delete_selected", "token", token_id(web, email, "relay")
    ),
    "delete user": lambda web, here, _, email: in_the_admin_site(here, "delete_selected", "user", user_id(web, email)),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_key_ends_at_once_by_whichever_door(peopled: tuple[Web, Way, str], door: str) -> None:
    web, here, root = peopled
    email = here.person(root)
    key = web.key("--kind", "relay", "--user", email)
    assert here.ask(key) == 503
    with Busy(here, key):
        DOORS[door](web, here, root, email)
        assert here.ask(key) == 401


def test_a_key_that_expires_by_an_administrators_hand_ends_at_once(peopled: tuple[Web, Way, str]) -> None:
    web, here, root = peopled
    email = here.person(root)
    key = web.key("--kind", "relay", "--user", email)
    assert here.ask(key) == 503
    browser = here.signed_in(ROOT_EMAIL)
    page = f"/admin/accounts/token/{token_id(web, email, 'relay')}/change/"
    form = {"name": "", "expires_at_1": "00:00:00", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    with web.agent(silent) as agent:
        had = here.asks(key)
        agent.was_asked()
        waiting = here.asks(key)
        here.until_wait(1)
        browser.post(page, data=form | {"expires_at_0": "2100-01-01"}, headers={"Referer": here.url})
        assert web.sql("SELECT expires_at FROM accounts_token WHERE id = ?", token_id(web, email, "relay"))[0][0]
        here.until_wait(1)  # it lives on, and so does what was asked with it
        browser.post(page, data=form | {"expires_at_0": "2020-01-01"}, headers={"Referer": here.url})
        assert is_refused(had)
        assert is_refused(waiting)
    assert here.ask(key) == 401


def test_an_agent_whose_key_ended_is_not_asked_any_more(peopled: tuple[Web, Way, str]) -> None:
    web, here, root = peopled
    email = here.person(root)
    key = web.key("--kind", "agent", "--user", email)
    asker = here.relay_user()
    url = f"{web.url.replace('http', 'ws')}/client/register"
    with WireAgent(url, echo, headers={"Authorization": f"Bearer {key}"}) as agent:
        until(lambda: agent.id in here.listed(), "the agent is listed")
        assert here.ask(asker.token) == 200
        by_api(here, root, email)
        assert here.ask(asker.token) == 503
        assert len(agent.asked) == 1


# -- several processes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    yield from a_redis()


@pytest.fixture
def staffed(redis: Redis, tmp_path: Path, data_template: Path) -> Iterator[tuple[House, Way, Way, WireAgent]]:
    """Two processes on one data folder; of the second one its process, the ways in to both, and its agent."""
    data = copied(data_template, tmp_path / "house")
    made(data)
    with ExitStack() as stack:
        webs = [stack.enter_context(House(data, REDIS_URL=redis.url)) for _ in range(2)]
        here, there = (Way(f"http://{web.address}", web.admin_key) for web in webs)
        assert here.http.get("/health").text == there.http.get("/health").text == "OK"  # as soon as they have started
        agent = stack.enter_context(WireAgent(f"ws://{webs[1].address}/client/register", echo))
        for each in (here, there):  # so that they know each other
            until(lambda each=each: agent.id in each.listed(), "the agent is listed")  # type: ignore[misc]
        yield webs[1], here, there, agent


@pytest.fixture
def house(staffed: tuple[House, Way, Way, WireAgent]) -> tuple[House, Way, Way]:
    return staffed[:3]


def test_no_process_takes_a_deleted_users_key(house: tuple[House, Way, Way]) -> None:
    _, here, there = house
    for deletes, other in ((here, there), (there, here)) * 5:
        asker = deletes.relay_user()
        assert other.ask(asker.token) == deletes.ask(asker.token) == 200
        with Busy(other, asker.token):
            assert LATE not in deletes.delete(asker).headers
            assert other.ask(asker.token) == 401
            assert deletes.ask(asker.token) == 401


def test_what_waits_with_a_deleted_users_key_is_refused_in_every_process(
    staffed: tuple[House, Way, Way, WireAgent],
) -> None:
    _, here, there, agent = staffed
    other = here.relay_user()
    for deletes in (here, there):
        asker = deletes.relay_user()
        agent.script, asked = silent, len(agent.asked)
        first = there.asks(other.token, "First")
        agent.was_asked(asked + 1)
        waiting = [here.asks(asker.token, "Waits")]  # there, for the agent is there
        there.until_wait(1)
        waiting += [here.asks(asker.token, "Waits"), there.asks(asker.token, "Waits")]
        here.until_wait(1)
        there.until_wait(2)
        assert LATE not in deletes.delete(asker).headers
        assert all(map(is_refused, waiting))
        here.until_wait(0)
        there.until_wait(0)
        assert answers(agent, here, other.token)[asked:] == ["First", "Hi"]
        assert first.reply.status_code == 200


def test_what_an_agent_elsewhere_has_of_a_deleted_users_key_is_broken_off(
    staffed: tuple[House, Way, Way, WireAgent],
) -> None:
    _, here, there, agent = staffed
    asker, other = here.relay_user(), here.relay_user()
    agent.script = silent
    had = here.asks(asker.token)
    frame = agent.was_asked().frame
    there.delete(asker)
    assert is_refused(had)
    assert agent.was_told("cancel")["id"] == frame
    agent.script = echo
    assert here.ask(other.token) == 200


def test_a_process_that_does_not_answer_is_said_and_knows_when_it_goes_on(house: tuple[House, Way, Way]) -> None:
    web, here, there = house
    asker = here.relay_user()
    assert there.ask(asker.token) == 200
    with databases.frozen(web.data, web.process.pid):
        gone = here.delete(asker)
        assert (gone.status_code, gone.json()) == (200, {"message": "User deleted"})
        assert gone.headers[LATE] == "not heard by all yet"
    assert there.ask(asker.token) == 401
    assert "takes a revoked key no more" in web.log


def test_many_keys_at_once_wait_once_for_a_process_that_does_not_answer(house: tuple[House, Way, Way]) -> None:
    web, here, there = house
    askers = [here.relay_user() for _ in range(4)]
    assert {there.ask(asker.token) for asker in askers} == {200}
    browser = here.signed_in(ROOT_EMAIL)
    form: dict[str, Any] = {"action": "retire", "_selected_action": [asker.id for asker in askers]}
    form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
    waits = web.log.count("takes a revoked key no more")
    with databases.frozen(web.data, web.process.pid):
        gone = browser.post("/admin/accounts/user/", data=form, headers={"Referer": here.url})
    assert (gone.status_code, gone.headers[LATE]) == (302, "not heard by all yet")
    assert web.log.count("takes a revoked key no more") == waits + 1, "one wait for all four"
    assert {there.ask(asker.token) for asker in askers} == {401}


def test_without_redis_at_hand_the_deletion_waits_and_says_so(redis: Redis, house: tuple[House, Way, Way]) -> None:
    _, here, there = house
    asker = here.relay_user()
    assert there.ask(asker.token) == 200
    redis.kill()
    try:
        until(lambda: here.ask("nobody") == 401 and here.listed() == [], "the line is cut")
        assert here.delete(asker).headers[LATE]
        assert there.ask(asker.token) == 401
    finally:
        redis.start()


def test_sessions_passwords_groups_and_roles_end_everywhere_at_once(house: tuple[House, Way, Way]) -> None:
    _, here, there = house
    root = here.login()
    here.api(root, "POST", "groups", groupName="Pumps")
    email = here.person(root, groups=["Pumps"], roles=["documents", "users"])
    alice = there.login(email)
    assert there.api(alice, "GET", "groups")["data"]["personalGroups"] == ["Pumps"]
    assert there.api(alice, "GET", "users")["status"] == 200
    here.api(root, "PATCH", "users", email=email, groups=[], roles=[])
    assert there.api(alice, "GET", "groups")["data"]["personalGroups"] == []
    assert there.api(alice, "GET", "users")["status"] == 403
    browser = there.signed_in(email)
    assert browser.get("/account").status_code == 200
    here.api(root, "PATCH", "users", email=email, password="another long password")
    assert browser.get("/account").status_code == 302
    assert there.api(alice, "GET", "groups")["status"] == 401
