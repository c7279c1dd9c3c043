"""What a model reads: within the budget, in order, with sources in blocks that their text cannot close."""

from __future__ import annotations

import re

from privategpt.prompts import Context, Style, Turn, build, flat, fresh_key, shortened, tokens

TEA = Context(1, "Tea", "Green › Steeping", "Two minutes.")


def contents(*contexts: Context, **how: object) -> list[str]:
    prompt = build("How long?", language="en", contexts=contexts, **how)  # type: ignore[arg-type]
    return [message.content for message in prompt.messages]


def test_a_plain_question_is_itself_and_the_language() -> None:
    prompt = build("Why?", language="de")
    assert [(message.role, message.content) for message in prompt.messages] == [
        ("system", "Answer in German."),
        ("user", "Why?"),
    ]
    assert flat(prompt.messages) == "Answer in German.\n\nWhy?"


def test_sources_stand_before_the_question_with_title_section_and_number() -> None:
    system, user = contents(TEA)
    assert "say that they do not" in system
    assert re.search(r"--- source \[1\] (\w{12})\nTitle: Tea\nSection: Green › Steeping\nTwo minutes\.\n", user)
    assert user.endswith("How long?")


def test_the_key_is_new_each_time_and_in_no_text() -> None:
    assert fresh_key([TEA]) != fresh_key([TEA])
    first, second = contents(TEA)[1], contents(TEA)[1]
    assert first != second


def test_nothing_found_is_said() -> None:
    assert contents() == [contents()[0], "No source was found for this question.\n\nHow long?"]


def test_contexts_find_room_in_their_order() -> None:
    long = [Context(number, "T", "", f"Text {number}. " * 200) for number in range(1, 11)]
    prompt = build("How long?", language="en", contexts=long, budget=3_000)
    assert prompt.used == list(range(1, len(prompt.used) + 1))
    assert 1 <= len(prompt.used) < 10
    assert sum(tokens(message.content) for message in prompt.messages) <= 3_000


def test_one_long_context_is_shortened_and_stays() -> None:
    prompt = build("How long?", language="en", contexts=[Context(1, "T", "", "word " * 50_000)])
    assert prompt.used == [1]
    assert sum(tokens(message.content) for message in prompt.messages) <= 6_000
    assert shortened("ä" * 10, 3) == "ä" * 4 + " …"


def test_the_latest_turns_stay_and_old_ones_go() -> None:
    history = [Turn(f"Question {number}", "Answer " * 300) for number in range(20)]
    prompt = build("And?", language="en", history=history, budget=3_000)
    asked = [message.content for message in prompt.messages if message.role == "user"]
    assert asked[-2:] == ["Question 19", "And?"]
    assert "Question 0" not in asked
    assert [message.role for message in prompt.messages[1:3]] == ["user", "assistant"]


def test_a_scenario_speaks_around_the_question() -> None:
    style = Style("You are a pirate.", "Before.", "After.")
    system, user = contents(TEA, style=style)
    assert system.startswith("You are a pirate.")
    assert user.endswith("Before.\n\nHow long?\n\nAfter.")


def test_a_flat_prompt_tells_the_conversation() -> None:
    prompt = build("And?", language="en", history=[Turn("Why?", "Because.")])
    assert flat(prompt.messages) == (
        "Answer in English.\n\nThe conversation so far:\n\nQuestion: Why?\n\nAnswer: Because.\n\n"
        "Now answer this:\n\nAnd?"
    )
