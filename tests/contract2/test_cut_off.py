"""An answer that is not whole says why, in a key of its own."""

from __future__ import annotations

from tests.contract2.server import Program


def test_an_answer_that_is_not_whole_says_why(as_alice: Program) -> None:
    chat = as_alice.post("/chats", {"question": "Please stop at length"}).data
    assert chat["cutOff"] == "length"
    assert as_alice.get(f"/chats/{chat['chatId']}").data["messages"][0]["cutOff"] == "length"
    whole = as_alice.post("/chats", {"question": "Hello?"}).data
    assert "cutOff" not in whole
    assert "cutOff" not in as_alice.get(f"/chats/{whole['chatId']}").data["messages"][0]
