"""`POST /api/ask` against the contract's table, byte for byte, on both ways in."""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest

from tests.contract1 import AGENT_FAILS, ANSWERED_HEADERS, ANSWERS, ASK_REFUSED, JSON, Failure, Pair
from tests.wire_agent import WireAgent, echo, hangs_up, says, silent
from tests.wire_server import User, Web, shows


@pytest.mark.parametrize("pair", ASK_REFUSED, ids=str)
def test_an_ask_that_reaches_no_agent_is_refused_as_recorded(web: Web, asker: User, pair: Pair) -> None:
    shows(web, pair, asker)


@pytest.mark.parametrize(("data", "reply"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_an_answer_is_passed_on_as_recorded(web: Web, asker: User, data: str, reply: bytes) -> None:
    with web.agent(says("ChatGptResponse", data)):
        found = web.ask(asker.token)
    assert (found.status_code, found.content) == (200, reply)
    for name, value in ANSWERED_HEADERS.items():
        assert found.headers.get(name, "") == value


@pytest.mark.parametrize("failure", AGENT_FAILS, ids=str)
def test_an_agents_failure_is_told_as_recorded(web: Web, asker: User, failure: Failure) -> None:
    with web.agent(says(failure.message, failure.data)) as agent:
        found = web.ask(asker.token)
        assert agent.id in web.agents()  # it stays in play
    assert (found.status_code, found.content) == (failure.status, failure.reply)
    assert found.headers["content-type"] == JSON


def test_the_agent_gets_the_recorded_frame(web: Web, asker: User) -> None:
    with web.agent(echo) as agent:
        web.ask(asker.token, 'a "b" <c> \u2028', message_id="M", parent_id="P")
        asked = agent.was_asked()
    assert asked.text == '{"message_id":"M","conversation_id":"","parent_id":"P","content":"a \\"b\\" <c> \u2028"}'
    frame = next(frame for frame in agent.frames if "ChatGptRequest" in frame)
    assert frame.endswith("\n")
    assert list(json.loads(frame)) == ["id", "message", "data"]
    assert UUID(asked.frame).version == 4


def test_ids_that_the_client_did_not_give_are_made_for_the_agent(web: Web, asker: User) -> None:
    with web.agent(echo) as agent:
        web.ask(asker.token)
        data = agent.was_asked().data
    assert [UUID(data[name]).version for name in ("message_id", "parent_id")] == [4, 4]
    assert data["message_id"] != data["parent_id"]


def test_a_conversation_goes_on_with_its_agent(web: Web, asker: User) -> None:
    with web.agent(echo) as first, web.agent(echo) as second:
        opened = web.ask(asker.token, "one").json()["conversation_id"]
        holder, other = (first, second) if first.asked else (second, first)
        for text in ("two", "three"):
            found = web.ask(asker.token, text, conversation_id=opened)
            assert (found.status_code, found.json()["content"]) == (200, text)
        assert [asked.data["conversation_id"] for asked in holder.asked] == ["", opened, opened]
        assert other.asked == []


def test_an_unknown_conversation_is_a_404(web: Web, asker: User) -> None:
    with web.agent(echo) as agent:
        found = web.ask(asker.token, conversation_id="unknown")
        assert (found.status_code, found.content) == (404, b'{"error":"Conversation doesn\'t exists"}')
        assert agent.asked == []


def test_a_conversation_whose_agent_is_gone_says_so(web: Web, asker: User) -> None:
    with web.agent(echo):
        opened = web.ask(asker.token).json()["conversation_id"]
    with web.agent(echo) as other:
        found = web.ask(asker.token, conversation_id=opened)
        assert (found.status_code, found.content) == (500, b'{"error":"Connection no longer exists"}')
        assert other.asked == []
    found = web.ask(asker.token, conversation_id=opened)
    assert (found.status_code, found.content) == (503, b'{"error":"No available clients"}')


def test_an_agent_that_goes_away_is_a_502_with_a_reason(web: Web, asker: User) -> None:
    with web.agent(hangs_up):
        found = web.ask(asker.token)
    assert found.status_code == 502
    assert re.fullmatch(rb'{"err":"[^"]+","error":"Failed to read response from the client"}', found.content)


def test_an_agent_that_goes_away_is_replaced_by_another(web: Web, asker: User) -> None:
    with web.agent(hangs_up) as first, web.agent(echo) as second:
        found = web.ask(asker.token, "still answered")
        assert (found.status_code, found.json()["content"]) == (200, "still answered")
        assert (len(first.asked), len(second.asked)) == (1, 1)


def test_a_silent_agent_is_a_504_with_a_reason_and_is_told_to_stop(web: Web, asker: User) -> None:
    with web.agent(silent) as agent:
        found = web.ask(asker.token)
        assert agent.was_told("cancel")["id"] == agent.was_asked().frame
    assert found.status_code == 504
    assert re.fullmatch(rb'{"err":"[^"]+","error":"Failed to read response from the client"}', found.content)


def test_a_frame_that_cannot_be_read_is_a_502(web: Web, asker: User) -> None:
    def rubbish(agent: WireAgent, asked: object) -> None:
        agent.say_raw("{")

    with web.agent(rubbish):
        found = web.ask(asker.token)
    assert found.status_code == 502
    assert found.json()["error"] == "Failed to convert response to ChatGptResponse"


def test_an_answer_under_another_id_is_not_taken(web: Web, asker: User) -> None:
    def wrong_then_right(agent: WireAgent, asked: object) -> None:
        real = agent.asked[-1]
        agent.say("another id", "ChatGptResponse", '{"content":"wrong"}')
        agent.answer(real, "right")

    with web.agent(wrong_then_right):
        assert web.ask(asker.token).json()["content"] == "right"
