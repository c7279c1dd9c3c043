"""Which agents come in: from this machine without a key, from anywhere with an agent token, nobody else."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.forwarded import FORWARDED
from tests.socket_agent import ON, echo, silent
from tests.socket_fixtures import NewWeb
from tests.socket_server import REGISTER, Door, Web, copied, door_to

CHAT = "https://chat.openai.com"


@pytest.fixture(scope="module")
def closed_web(tmp_path_factory: pytest.TempPathFactory, data_template: object) -> Iterator[Web]:
    """A server that lets nobody in without a key."""
    folder = copied(data_template, tmp_path_factory.mktemp("closed"))  # type: ignore[arg-type]
    with Web(folder, AGENTS_FROM_LOOPBACK="off") as web:
        yield web


@pytest.fixture
async def closed(closed_web: Web) -> AsyncIterator[Door]:
    async with door_to(closed_web) as found:
        yield found


async def refusal(door: Door, path: str = REGISTER, origin: str = "", **headers: str | list[str]) -> tuple[int, str]:
    """Status and body of a handshake that fails."""
    given = [
        (name.replace("_", "-"), value)
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    with pytest.raises(InvalidStatus) as refused:
        await connect(door.url(path), additional_headers=given, origin=Origin(origin) if origin else None, **ON)  # type: ignore[arg-type]
    response = refused.value.response
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["X-Request-Id"]
    return response.status_code, (response.body or b"").decode()


async def test_the_key_is_taken_from_the_header_the_query_or_the_path(closed: Door) -> None:
    key = closed.web.agent_keys[0]
    ways: list[tuple[str, dict[str, str]]] = [
        (REGISTER, {"Authorization": f"Bearer {key}"}),
        (REGISTER, {"Authorization": key}),
        (f"{REGISTER}?token={key}", {}),
        (f"/agent/{key}{REGISTER}", {}),
        (f"/agent/{key}{REGISTER}?token={key}", {"Authorization": f"bearer {key}"}),
    ]
    for path, headers in ways:
        async with closed.agent(echo, path=path, headers=headers):
            assert (await closed.ask()).status_code == 200


async def test_a_stranger_is_refused_and_gets_no_prompt(closed: Door) -> None:
    """Attack 49."""
    status, body = await refusal(closed)
    assert status == 401
    assert "manage.py token --kind agent" in body
    assert (await closed.ask()).status_code == 503
    assert "uvicorn.error" not in closed.web.log


WRONG = [
    "wrong",
    "sba_" + "A" * 43,
    "%00",
    "' OR 1=1 --",
    "Bearer",
    "Basic " + base64.b64encode(b"a:b").decode(),
    "x" * 5000,
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
async def test_a_wrong_key_is_refused_also_from_this_machine(door: Door, wrong: str) -> None:
    """Attacks 2, 3 and 49: a key that is shown has to be right, wherever the agent is."""
    assert await refusal(door, Authorization=wrong) == (401, '{"error":"Invalid agent token"}')


@pytest.mark.parametrize("path", [f"{REGISTER}?token=", f"{REGISTER}?token=nope", f"/agent/nope{REGISTER}"])
async def test_a_wrong_key_in_the_address_is_refused(door: Door, path: str) -> None:
    assert (await refusal(door, path))[0] == 401


async def test_other_kinds_of_keys_let_no_agent_in(closed: Door) -> None:
    """Attack 49: neither a user's relay token nor the admin key."""
    for key in (await closed.user(), closed.web.admin_key):
        assert (await refusal(closed, Authorization=f"Bearer {key}"))[0] == 401


async def test_an_agent_token_cannot_ask(door: Door) -> None:
    assert (await door.ask(token=door.web.agent_keys[0])).status_code == 401


async def test_two_keys_that_disagree_are_none(closed: Door) -> None:
    """Attack 12."""
    one, other, _ = closed.web.agent_keys
    assert (await refusal(closed, f"{REGISTER}?token={other}", Authorization=one))[0] == 401
    assert (await refusal(closed, f"{REGISTER}?token={one}&token={other}"))[0] == 401
    assert (await refusal(closed, f"/agent/{one}{REGISTER}?token={other}"))[0] == 401
    assert (await refusal(closed, Authorization=[one, other]))[0] == 401


async def test_an_underscore_twin_of_the_header_is_no_key(closed: Door) -> None:
    """Attack 13."""
    assert (await refusal(closed, Authorization_=closed.web.agent_keys[0]))[0] == 401


@pytest.mark.parametrize("name", FORWARDED)
async def test_what_came_through_a_proxy_is_not_of_this_machine(door: Door, name: str) -> None:
    assert (await refusal(door, **{name: "10.0.0.9"}))[0] == 401
    headers = {name: "10.0.0.9", "Authorization": door.web.agent_keys[0]}
    async with door.agent(echo, headers=headers):
        assert (await door.ask()).status_code == 200


async def knock(door: Door, host: str, *more: str) -> bytes:
    """The status line for a handshake that names this host."""
    lines = [f"GET {REGISTER} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket", *more]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    reader, writer = await asyncio.open_connection(*door.web.address.split(":"))
    writer.write("\r\n".join([*lines, "", ""]).encode())
    found = await reader.readline()
    writer.close()
    return found.split()[1]


async def test_an_agent_says_the_servers_own_name(door: Door, closed: Door) -> None:
    """A page can have a name of its own point to this machine, and come from loopback by that."""
    key = f"Authorization: {closed.web.agent_keys[0]}"
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "localhost@evil.example"):
        assert await knock(door, host) == b"400"
        assert await knock(closed, host, key) == b"400"
    assert await knock(door, "localhost", "Host: evil.example") == b"400"
    for host in ("localhost", "LOCALHOST:1", "[::1]:8080", "127.0.0.1"):
        assert await knock(door, host) == b"101"
        assert (await knock(closed, host), await knock(closed, host, key)) == (b"401", b"101")


async def test_behind_a_proxy_that_ends_tls_nobody_is_of_this_machine(new_web: NewWeb) -> None:
    """Unless the settings say so: whatever the proxy passes on came from this machine's address."""
    tls = {"BEHIND_TLS": "on", "CONNECTIONS_FROM_LOOPBACK": "on"}
    async with door_to(new_web(**tls)) as behind:
        assert (await refusal(behind))[0] == 401
        async with behind.agent(echo, headers={"Authorization": behind.web.agent_keys[0]}):
            assert (await behind.ask()).status_code == 200
    async with door_to(new_web(**tls, AGENTS_FROM_LOOPBACK="on")) as trusting, trusting.agent(echo):
        assert (await trusting.ask()).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8080", f"{CHAT}.evil.example"])
async def test_a_foreign_page_on_this_machine_is_refused(door: Door, origin: str) -> None:
    """Attack 49: any page may open a socket to loopback."""
    assert (await refusal(door, origin=origin))[0] == 401


async def test_the_chat_page_is_let_in(door: Door) -> None:
    async with door.agent(echo, origin=CHAT):
        assert (await door.ask()).status_code == 200


async def test_a_foreign_page_with_an_agent_token_is_let_in(closed: Door) -> None:
    path = f"/agent/{closed.web.agent_keys[0]}{REGISTER}"
    async with closed.agent(echo, path=path, origin="https://elsewhere.example"):
        assert (await closed.ask()).status_code == 200


async def test_a_socket_on_another_path_is_not_found(door: Door) -> None:
    assert (await refusal(door, "/"))[0] == 404


async def test_a_revoked_token_ends_its_own_sockets_and_no_others(closed: Door) -> None:
    """Attacks 44 and 59: within 5 s; what was asked of the agent goes to another one."""
    other, revoked = closed.web.agent_keys[1:]
    async with (
        closed.agent(silent, headers={"Authorization": revoked}, kept="revoked") as agent,
        closed.agent(echo, headers={"Authorization": other}) as peer,
    ):
        first, second = closed.asking("1"), closed.asking("2")
        await agent.was_asked()
        hint = revoked[-4:]
        closed.web.sql("UPDATE accounts_token SET revoked_at = '2026-01-01 00:00:00' WHERE hint = ?", hint)
        assert await agent.closed() == 1008
        assert {(await first).status_code, (await second).status_code} == {200}
        assert peer.socket.close_code is None
        assert await closed.listed() == [peer.id]
        deadline = time.monotonic() + 1.5  # memory may vouch for a key for a second
        while await lets_in(closed, revoked):
            assert time.monotonic() < deadline
        assert (await refusal(closed, Authorization=revoked))[0] == 401


@pytest.mark.parametrize("ending", ["is_active = false WHERE", "DELETE"])
async def test_the_agents_of_a_user_who_goes_go_along(closed: Door, ending: str) -> None:
    """Attacks 8 and 44: retired or deleted, within 5 s; their agents' keys open nothing any more."""
    key = (await closed.http.post("/admin/users/add", json={"admin_key": closed.web.admin_key})).json()
    owner, agents_key = key["user_id"], closed.web.agent_keys[1]
    pk = UUID(owner).hex
    closed.web.sql("UPDATE accounts_token SET user_id = ? WHERE hint = ?", pk, agents_key[-4:])
    try:
        async with closed.agent(echo, headers={"Authorization": agents_key}) as agent:
            began = time.monotonic()
            if ending == "DELETE":
                found = await closed.http.post(
                    "/admin/users/delete", json={"admin_key": closed.web.admin_key, "user_id": owner}
                )
                assert found.status_code == 200
            else:
                closed.web.sql("UPDATE accounts_user SET is_active = false WHERE id = ?", pk)
            assert await agent.closed() == 1008
            assert time.monotonic() - began < 5
        assert (await closed.ask(token=key["token"])).status_code == 401
    finally:
        closed.web.sql("UPDATE accounts_token SET user_id = NULL, revoked_at = NULL WHERE hint = ?", agents_key[-4:])


async def lets_in(door: Door, key: str) -> bool:
    try:
        async with connect(door.url(), additional_headers={"Authorization": key}, **ON):  # type: ignore[arg-type]
            return True
    except InvalidStatus:
        return False


async def test_no_key_of_an_agent_stands_in_the_log(closed: Door) -> None:
    """Attack 87."""
    async with closed.agent(echo, path=f"/agent/{closed.web.agent_keys[0]}{REGISTER}"):
        pass
    await refusal(closed, f"{REGISTER}?token=a-wrong-key-of-somebody")
    for secret in (*closed.web.agent_keys, closed.web.admin_key, "a-wrong-key-of-somebody"):
        assert secret not in closed.web.log
