"""Who may ask: relay tokens and the admin key, in the Authorization header and nowhere else."""

from __future__ import annotations

import base64
import json
import time
from uuid import UUID

import httpx
import pytest

from tests.contract1 import BAD_KEY, NO_KEY
from tests.running import until
from tests.wire_agent import echo
from tests.wire_server import User, Web

BODY = b'{"content":"Hi"}'
REVOKED_WITHIN = 1.0  # seconds; what the house promises
JUNK = [
    *(b"", b" ", b"null", b"undefined", b"%00", b"%s%s%n", b"*", b"Bearer", b"Bearer null", b"Basic Og==", b"0"),
    *(b"\xff\xfe", b"\xc3\xa9", b"[object Object]", b"true"),
    *(b"x" * 255, b"x" * 300, b"x" * 60_000, b"Bearer " + b"x" * 256),
]
INJECTIONS = [
    "' OR '1'='1",
    "' OR 1=1; --",
    '" OR ""="',
    "'; SELECT pg_sleep(4); --",
    "' AND (SELECT count(*) FROM (SELECT randomblob(100000000))) --",
    "1 UNION SELECT key FROM accounts_token",
]


def head(web: Web, *headers: tuple[bytes, bytes], path: bytes = b"/api/ask") -> bytes:
    """An ask's bytes with exactly these headers."""
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: 127.0.0.1", b"Content-Length: %d" % len(BODY)]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"Connection: close", b"", BODY])


def jwt(token: str) -> str:
    parts = ({"alg": "none"}, {"sub": token, "admin": True})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts) + "."


def test_without_a_credential_there_is_no_answer(web: Web) -> None:
    """Attack 1."""
    with web.agent(echo) as agent:
        found = web.http.post("/api/ask", content=BODY)
        assert (found.status_code, found.content) == (401, NO_KEY)
        assert agent.asked == []


@pytest.mark.parametrize(
    "value",
    JUNK,
    ids=lambda value: repr(value[:20]),
)
def test_junk_is_no_credential(web: Web, value: bytes) -> None:
    """Attack 2."""
    (found,) = web.raw(head(web, (b"Authorization", value)))
    assert (found.status, found.body) == (401, BAD_KEY)


def test_sql_is_no_credential(web: Web) -> None:
    """Attack 3: in either header that holds a key, and without a pause."""
    begun = time.monotonic()
    for text in INJECTIONS:
        for value in (text, f"Bearer {text}"):
            (found,) = web.raw(head(web, (b"Authorization", value.encode())))
            assert (found.status, found.body) == (401, BAD_KEY)
        assert web.http.get("/admin/users", params={"admin_key": text}).status_code == 401
    assert time.monotonic() - begun < 3.5


def test_a_token_that_is_not_quite_right_is_refused(web: Web, asker: User) -> None:
    """Attack 4: truncated, longer, in capitals, one character changed, as an unsigned JWT."""
    token = asker.token
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")
    wrong = [token[:-1], token[1:], token + "0", token.upper(), token.replace("-", ""), changed, jwt(token)]
    wrong += [f"{{{token}}}", f"urn:uuid:{token}", f"{token}\t{token}", f"{token},{token}", f'"{token}"', asker.id]
    for value in wrong:
        assert (value, web.post(value, BODY).status_code) == (value, 401)
    assert web.post(token, BODY).status_code == 503  # itself it is good: only an agent is missing


@pytest.mark.parametrize("name", ["token", "key", "api_key", "Authorization", "access_token", "admin_key"])
def test_a_token_in_the_query_is_no_credential(web: Web, asker: User, name: str) -> None:
    """Attack 5."""
    found = web.http.post("/api/ask", params={name: asker.token}, content=BODY)
    assert (found.status_code, found.content) == (401, NO_KEY)


@pytest.mark.parametrize("name", ["X-Api-Key", "Api-Key", "Cookie", "Proxy-Authorization", "X-Authorization"])
def test_a_token_in_another_header_is_no_credential(web: Web, asker: User, name: str) -> None:
    """Attack 12."""
    (found,) = web.raw(head(web, (name.encode(), asker.token.encode())))
    assert (found.status, found.body) == (401, NO_KEY)


@pytest.mark.parametrize("name", [b"Authorization_", b"_Authorization", b"HTTP_AUTHORIZATION", b"Author_ization"])
def test_a_header_with_an_underscore_is_no_credential(web: Web, asker: User, name: bytes) -> None:
    """Attack 13."""
    (found,) = web.raw(head(web, (name, asker.token.encode())))
    assert (found.status, found.body) == (401, NO_KEY)


def test_two_credentials_are_none(web: Web, asker: User) -> None:
    """Attacks 12 and 13: which of them counts would depend on whoever stands in front."""
    token = asker.token.encode()
    for first, second in ((token, b"wrong"), (b"wrong", token), (token, token), (b"Bearer " + token, token)):
        (found,) = web.raw(head(web, (b"Authorization", first), (b"authorization", second)))
        assert (found.status, found.body) == (401, BAD_KEY)


def test_a_credential_behind_the_body_is_none(web: Web, asker: User) -> None:
    """Attack 63: a trailer is no header."""
    trailer = b"0\r\nAuthorization: " + asker.token.encode() + b"\r\n\r\n"
    chunks = b"%x\r\n%b\r\n" % (len(BODY), BODY)
    request = b"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with web.agent(echo) as agent:
        (found,) = web.raw(request + chunks + trailer)
        assert (found.status, found.body) == (401, NO_KEY)
        assert agent.asked == []


def test_the_admin_key_asks_too_and_a_users_token_bare_or_behind_bearer(web: Web, asker: User) -> None:
    with web.agent(echo):
        for key in (web.admin_key, asker.token, f"Bearer {asker.token}", f"bearer  {asker.token}"):
            assert web.post(key, BODY).status_code == 200


def test_keys_of_other_kinds_do_not_ask(web: Web) -> None:
    """Attack 33's other side: an agent's key opens the agents' door only."""
    key = web.key("--kind", "agent")
    assert web.post(key, BODY).status_code == 401
    assert web.http.get("/admin/users", params={"admin_key": key}).status_code == 401


def test_a_token_is_dead_after_its_user_was_deleted_and_others_live(web: Web, asker: User) -> None:
    """Attacks 7 and 8: within the second that is promised."""
    other = web.user()
    with web.agent(echo):
        assert web.post(asker.token, BODY).status_code == web.post(other.token, BODY).status_code == 200
        web.delete(asker)
        _refused_soon(web, asker.token)
        assert web.post(other.token, BODY).status_code == 200


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_token SET revoked_at = '2020-01-01' WHERE user_id = ?",
        "UPDATE accounts_token SET expires_at = '2020-01-01' WHERE user_id = ?",
        "UPDATE accounts_user SET is_active = FALSE WHERE id = ?",
        "DELETE FROM accounts_token WHERE user_id = ?",
    ],
)
def test_what_another_process_takes_away_is_gone_within_a_second(web: Web, asker: User, statement: str) -> None:
    """Attack 32, and the figure for revocation: also for a token that is in use all the time."""
    assert web.post(asker.token, BODY).status_code == 503
    web.sql(statement, UUID(asker.id).hex)
    _refused_soon(web, asker.token)


def test_a_revoked_token_that_lay_idle_is_not_good_for_one_more_ask(web: Web, asker: User) -> None:
    """The figure for revocation: nothing was asked in between that could have refreshed what the server knows."""
    assert web.post(asker.token, BODY).status_code == 503
    web.sql("UPDATE accounts_token SET revoked_at = '2020-01-01' WHERE user_id = ?", UUID(asker.id).hex)
    revoked = time.monotonic()
    until(lambda: time.monotonic() - revoked > REVOKED_WITHIN, "a second goes by")
    assert web.post(asker.token, BODY).content == BAD_KEY


def _refused_soon(web: Web, token: str) -> None:
    begun = time.monotonic()
    answers: list[httpx.Response] = []

    def refused() -> bool:
        sent = time.monotonic()
        answers.append(web.post(token, BODY))
        assert answers[-1].status_code == 401 or sent - begun < REVOKED_WITHIN, "still good after a second"
        return answers[-1].status_code == 401

    until(refused, "the refusal")
    assert answers[-1].content == BAD_KEY


def test_tokens_are_random(lane: Web) -> None:
    """Attack 16: version 4, no clock or counter in them, nothing in common."""
    tokens = [lane.user().token for _ in range(20)]
    assert all(str(UUID(token)) == token and UUID(token).version == 4 for token in tokens)
    assert len({token[:8] for token in tokens}) == len({token[-8:] for token in tokens}) == 20
    assert len({lane.key("--kind", "agent")[:12], lane.admin_key[:12]}) == 2
