"""`Idempotency-Key`: the same key, user and body give the same answer, and no agent works twice for it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.contract1 import BAD_BODY
from tests.running import until
from tests.wire_agent import echo, silent
from tests.wire_server import Asking, User, Web

BODY = b'{"content":"Hi"}'


def ask(web: Web, token: str, key: str, body: bytes = BODY) -> httpx.Response:
    return web.post(token, body, Idempotency_Key=key)


def test_a_repeat_gets_the_same_answer_without_an_agent(web: Web, asker: User) -> None:
    with web.agent(echo) as agent:
        first = ask(web, asker.token, "k")
        again = ask(web, asker.token, "k")
        assert len(agent.asked) == 1
    later = ask(web, asker.token, "k")  # with no agent at all
    assert first.status_code == again.status_code == later.status_code == 200
    assert first.content == again.content == later.content


def test_without_a_key_every_ask_is_a_new_one(web: Web, asker: User) -> None:
    with web.agent(echo) as agent:
        assert web.post(asker.token, BODY).json() != web.post(asker.token, BODY).json()
        assert len(agent.asked) == 2


def test_a_key_belongs_to_its_user(web: Web, asker: User) -> None:
    other = web.user()
    with web.agent(echo) as agent:
        answers = {ask(web, token, "k").content for token in (asker.token, other.token, web.admin_key)}
        assert len(answers) == len(agent.asked) == 3


def test_another_body_is_a_422(web: Web, asker: User) -> None:
    with web.agent(echo) as agent:
        ask(web, asker.token, "k")
        found = ask(web, asker.token, "k", b'{"content":"Hi!"}')
        assert len(agent.asked) == 1
    assert (found.status_code, found.json()) == (422, {"error": "This Idempotency-Key was used with another body"})


def test_repeats_of_an_ask_under_way_wait_for_its_answer(web: Web, asker: User) -> None:
    with web.agent(silent, declares='{"concurrency":9}') as agent:
        asking = [Asking(lambda: ask(web, asker.token, "k")) for _ in range(5)]
        asked = agent.was_asked()
        assert ask(web, asker.token, "k", b"{}").status_code == 422
        assert all(one.is_alive() for one in asking)
        agent.answer(asked, "once")
        answers = {one.reply.content for one in asking}
        assert len(agent.asked) == 1
    assert len(answers) == 1
    assert b'"once"' in answers.pop()


def test_a_failure_is_not_kept(web: Web, asker: User) -> None:
    assert ask(web, asker.token, "k").status_code == 503
    with web.agent(echo):
        assert ask(web, asker.token, "k").status_code == 200


def test_an_answer_that_came_too_late_is_there_for_the_repeat(web: Web, asker: User) -> None:
    """Fault 5."""
    with web.agent(silent) as agent:
        assert ask(web, asker.token, "k").status_code == 504
        agent.answer(agent.was_asked(), "late")
        until(lambda: bool(web.sql("SELECT 1 FROM relay_storedanswer WHERE owner = ?", asker.id)), "it is kept")
        found = ask(web, asker.token, "k")
        assert len(agent.asked) == 1
    assert (found.status_code, found.json()["content"]) == (200, "late")


def test_a_late_answer_and_a_retry_under_way_do_not_disagree(web: Web, asker: User) -> None:
    with web.agent(silent, declares='{"concurrency":2}') as agent:
        assert ask(web, asker.token, "k").status_code == 504
        retry = Asking(lambda: ask(web, asker.token, "k"))
        agent.answer(agent.was_asked(2), "from the retry", conversation_id="c")
        agent.answer(agent.was_asked(1), "late", conversation_id="c")
        assert retry.reply.content == ask(web, asker.token, "k").content


def test_a_key_is_forgotten_after_a_day(web: Web, asker: User) -> None:
    with web.agent(echo) as agent:
        first = ask(web, asker.token, "k")
        web.sql("UPDATE relay_storedanswer SET created_at = '2020-01-01' WHERE owner = ?", asker.id)
        second, third = (ask(web, asker.token, "k", b"{}") for _ in range(2))
        assert len(agent.asked) == 2
    assert first.content != second.content == third.content


@pytest.mark.parametrize("key", ["", "x" * 256, "x" * 5000])
def test_an_empty_or_endless_key_is_refused(web: Web, asker: User, key: str) -> None:
    found = ask(web, asker.token, key)
    assert (found.status_code, found.content) == (400, BAD_BODY)


@pytest.mark.parametrize("key", ["x" * 255, '"quoted"', "a b", "é", "%00", "../..", "'; --"])
def test_any_other_key_will_do(web: Web, asker: User, key: str) -> None:
    with web.agent(echo) as agent:
        headers = [(b"Authorization", asker.token.encode()), (b"Idempotency-Key", key.encode())]
        answers = {web.http.post("/api/ask", content=BODY, headers=headers).content for _ in range(2)}
        assert len(answers) == len(agent.asked) == 1


def test_two_keys_are_refused(web: Web, asker: User) -> None:
    headers = [("Authorization", asker.token), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert web.http.post("/api/ask", content=BODY, headers=headers).status_code == 400


def test_the_answer_outlives_a_restart(tmp_path: Path, empty_sqlite: Path) -> None:
    with Web(tmp_path, empty_sqlite) as before:
        asker = before.user()
        with before.agent(echo):
            first = ask(before, asker.token, "k")
    with Web(tmp_path, empty_sqlite, RELAY_FAST_LANE="off") as after:
        assert ask(after, asker.token, "k").content == first.content
        assert ask(after, asker.token, "k", b"{}").status_code == 422
    assert first.status_code == 200
