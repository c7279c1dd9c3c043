"""Busy agents: asks wait in turn, within bounds, and one that leaves makes room at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from tests.running import until
from tests.wire_agent import WireAgent, echo, silent
from tests.wire_server import Asking, User, Web

WHY = "Too many of your questions are waiting already"


def asks(web: Web, token: str, content: str = "Why?") -> Asking:
    return Asking(lambda: web.ask(token, content))


def release(agent: WireAgent) -> None:
    """Answers what the agent was asked so far, and from now on everything."""
    agent.script = echo
    for asked in list(agent.asked):
        agent.answer(asked, asked.content)


def refused(asking: list[Asking]) -> int:
    """How many of them have their answer already."""
    return sum(not one.is_alive() for one in asking)


def test_an_ask_waits_for_a_busy_agent_and_says_how_long(patient: Web) -> None:
    token = patient.user().token
    with patient.agent(silent) as agent:
        first = asks(patient, token, "first")
        agent.was_asked()
        crowd = [asks(patient, token, "more") for _ in range(21)]
        until(lambda: refused(crowd) == 1, "20 wait")
        assert len(agent.asked) == 1  # it declared nothing: one at a time
        release(agent)
        assert first.reply.json()["content"] == "first"
        waited = [one.reply for one in crowd if one.reply.status_code == 200]
        assert len(waited) == 20
    assert "x-queue-wait" not in first.reply.headers
    assert all(0 < float(reply.headers["x-queue-wait"]) < 60 for reply in waited)


def test_a_wait_has_an_end(web: Web, asker: User) -> None:
    stuck = web.user()
    with web.agent(silent, declares='{"concurrency":1}') as agent:
        first = asks(web, stuck.token)
        agent.was_asked()
        # The agent has 1.2 s for each ask and none is answered: the third is still waiting when its 2 s are over.
        others = [asks(web, asker.token) for _ in range(3)]
        statuses = Counter(ask.reply.status_code for ask in [first, *others])
        over = next(ask.reply for ask in others if ask.reply.status_code == 503)
    assert statuses[503] >= 1
    assert statuses[503] + statuses[504] == 4
    assert over.headers["retry-after"] == "5"
    assert over.json() == {"error": "Every agent stayed busy for as long as a question may wait"}


def test_one_users_crowd_is_bounded_and_does_not_starve_another(patient: Web) -> None:
    """Attacks 64 and 65: a cap for each user with 429, one for all with 503, both at once; users take turns."""
    token, other, third = patient.user().token, patient.user().token, patient.user().token
    with patient.agent(silent) as agent:
        crowd = [asks(patient, token, "crowd")]
        agent.was_asked()
        crowd += [asks(patient, token, "crowd") for _ in range(49)]
        until(lambda: refused(crowd) == 29, "29 refusals")  # one is asked, 20 may wait
        others = [asks(patient, other, "other") for _ in range(11)]
        until(lambda: refused(others) == 1, "one refusal: 30 wait in all")
        full = patient.ask(third)
        release(agent)
        replies = [ask.reply for ask in crowd if ask.reply.status_code != 200]
        assert len(replies) == 29
        order = [asked.content for asked in agent.asked]
    assert {(reply.status_code, reply.headers["retry-after"], reply.json()["error"]) for reply in replies} == {
        (429, "5", WHY)
    }
    assert (full.status_code, full.headers["retry-after"]) == (503, "5")
    assert full.json() == {"error": "Too many questions are waiting"}
    assert sum(ask.reply.status_code == 200 for ask in others) == 10
    assert order[1:21].count("other") == 10  # turn by turn, however many the first one has waiting


def test_an_agent_that_declares_more_gets_more_at_once(patient: Web) -> None:
    token = patient.user().token
    with patient.agent(silent, declares='{"concurrency":3}') as agent:
        asking = [asks(patient, token, str(number)) for number in range(3)]
        agent.was_asked(3)
        for asked in reversed(agent.asked):
            agent.answer(asked, asked.content)
        assert [ask.reply.json()["content"] for ask in asking] == ["0", "1", "2"]


@contextmanager
def hanging(web: Web, token: str, content: str) -> Iterator[None]:
    """An ask whose client hangs up, without a word, at the end of the block."""
    body = json.dumps({"content": content}).encode()
    head = f"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\nContent-Length: {len(body)}"
    with web.connection() as wire:
        wire.sendall(head.encode() + b"\r\n\r\n" + body)
        yield


def test_a_client_that_leaves_frees_the_agent_at_once(patient: Web) -> None:
    """Fault 8: the agent is told to stop, and the next one is served."""
    token = patient.user().token
    with patient.agent(silent) as agent:
        with hanging(patient, token, "I am off"):
            asked = agent.was_asked()
        agent.script = echo
        assert agent.was_told("cancel")["id"] == asked.frame
        assert patient.ask(token, "next").json()["content"] == "next"


def test_a_client_that_leaves_the_queue_is_never_asked_for(patient: Web) -> None:
    token = patient.user().token
    with patient.agent(silent) as agent:
        first = asks(patient, token, "first")
        agent.was_asked()
        with ExitStack() as leaving:
            for _ in range(19):
                leaving.enter_context(hanging(patient, token, "gone"))
            while waits(patient, token):
                leaving.enter_context(hanging(patient, token, "gone"))
        refused_at: list[float] = []

        def persist() -> httpx.Response:
            while (found := patient.ask(token, "second")).status_code == 429:
                refused_at.append(time.monotonic())
            return found

        begun = time.monotonic()
        asking = [Asking(persist) for _ in range(20)]  # as many as may wait: there is room for all once all are gone
        until(lambda: time.monotonic() - max([begun, *refused_at]) > 0.4, "nobody is refused any more")
        release(agent)
        assert {one.reply.status_code for one in [first, *asking]} == {200}
        assert [asked.content for asked in agent.asked] == ["first"] + ["second"] * 20


def waits(web: Web, token: str) -> bool:
    """Whether one more ask would be let into the queue. It gives up soon."""
    try:
        found = web.http.post("/api/ask", json={"content": "gone"}, headers={"Authorization": token}, timeout=0.2)
    except httpx.ReadTimeout:
        return True
    assert found.status_code == 429
    return False


def test_the_first_agent_to_come_serves_at_once(web: Web, asker: User) -> None:
    """Fault 31: with no agent 503 at once; the first one back serves."""
    refused = web.ask(asker.token)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    with web.agent(echo):
        assert web.ask(asker.token).status_code == 200
