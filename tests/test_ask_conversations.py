"""Conversations belong to whoever opened them; to everybody else they do not exist."""

from __future__ import annotations

import json

import pytest

from tests.wire_agent import WireAgent, echo, says
from tests.wire_server import User, Web

UNKNOWN = b'{"error":"Conversation doesn\'t exists"}'
ODD = [
    "../../etc/passwd",
    "..%2f..%2f",
    "\0",
    "a\0b",
    "9" * 400,
    "-1",
    "0",
    "null",
    "😀",
    "' OR 1=1 --",
    "%",
    "\ud800",
    "\r\n",
    "x" * 100_000,
]


def opened(web: Web, token: str) -> str:
    return str(web.ask(token).json()["conversation_id"])


def test_a_stranger_cannot_go_on_with_a_conversation(web: Web, asker: User) -> None:
    """Attacks 22 and 31: the same answer as for an unknown one, and nothing reaches the agent."""
    stranger = web.user()
    with web.agent(echo) as agent:
        conversation = opened(web, asker.token)
        for token in (stranger.token, web.admin_key):
            found = web.ask(token, "What did she say?", conversation_id=conversation)
            assert (found.status_code, found.content) == (404, UNKNOWN)
        assert len(agent.asked) == 1
        assert web.ask(asker.token, conversation_id=conversation).status_code == 200


def test_the_admin_keys_conversations_are_its_own(web: Web, asker: User) -> None:
    with web.agent(echo):
        conversation = opened(web, web.admin_key)
        assert web.ask(asker.token, conversation_id=conversation).status_code == 404
        assert web.ask(web.admin_key, conversation_id=conversation).status_code == 200


def test_an_agent_that_names_a_foreign_conversation_does_not_take_it_over(web: Web, asker: User) -> None:
    """Attack 57."""
    stranger = web.user()
    with web.agent(echo) as first:
        conversation = opened(web, asker.token)
        named = json.dumps({"conversation_id": conversation, "content": "Mine now"})
        first.script = says("ChatGptResponse", named)
        assert web.ask(stranger.token).json()["conversation_id"] == conversation
        first.script = echo
        assert web.ask(asker.token, "still mine", conversation_id=conversation).json()["content"] == "still mine"


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd[:20]))
def test_an_odd_conversation_id_is_unknown(web: Web, asker: User, odd: str) -> None:
    """Attack 37."""
    with web.agent(echo) as agent:
        found = web.ask(asker.token, conversation_id=odd)
        assert (found.status_code, found.content) == (404, UNKNOWN)
        assert agent.asked == []


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd[:20]))
def test_other_odd_ids_are_passed_on_as_text(web: Web, asker: User, odd: str) -> None:
    """Attack 37."""
    with web.agent(echo) as agent:
        assert web.ask(asker.token, message_id=odd, parent_id=odd).status_code == 200
        data = agent.was_asked().data
    assert data["message_id"] == data["parent_id"] == odd.replace("\ud800", "\ufffd")


def test_an_agents_odd_conversation_id_is_no_failure(web: Web, asker: User) -> None:
    """Attack 37, fault 21: the answer is whole, whether or not the conversation can be kept."""
    for odd in ODD:

        def answers(agent: WireAgent, asked: object, odd: str = odd) -> None:
            agent.answer(agent.asked[-1], "Hi", conversation_id=odd)

        with web.agent(answers):
            found = web.ask(asker.token)
            assert (found.status_code, found.json()["content"]) == (200, "Hi")
            assert found.json()["conversation_id"] == odd.replace("\ud800", "\ufffd")
