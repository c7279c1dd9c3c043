"""What was found is in the prompt, and the prompt is no longer than what the model reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.models import User
from privategpt import desk
from privategpt.fitting import shortened, tokens, window
from privategpt.llm.endpoints import EndpointsBackend
from privategpt.llm.openai_size import context_of
from privategpt.models import Message as Asked
from privategpt.prompts import Context, TooLongError, Turn, build
from relay import exchange, frames
from tests.answering import Scripted, asked, chat, db, group, in_prompts, source
from tests.fake_upstream import DONE, event, sse, upstream
from tests.test_llm_choice import FakeAgent

HELLO = sse(event("Hello"), DONE)


# -- lengths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("The pump runs at five bars and is checked twice a year by the works engineer.", 16),
        ("漢字かな交じり文", 12),
        ("поршневой насос", 12),
        ("for (int i = 0; i < n; i++) { a[i] = b[i] >> 2; }", 27),
        ("4711 0815 1234567890", 18),
        ("🙂🙂🙂", 6),
        ("| 1 | 2 | 3 |", 7),
        ("\ud800 half", 2),
    ],
)
def test_tokens_are_guessed_on_the_safe_side(text: str, least: int) -> None:
    assert least <= tokens(text) <= 3 * least + 8


def test_a_window_lies_around_its_core() -> None:
    text = "word " * 1_000
    for start in (0, 500, 2_500, 4_990):
        kept = window(text, 200, range(start, start + 10))
        assert kept.start <= start
        assert kept.stop >= min(start + 10, len(text) - 1)
        assert 150 < tokens(text[kept.start : kept.stop]) <= 201


@pytest.mark.parametrize("core", [range(0), range(10_000, 10_020), range(19_990, 20_000), range(50_000, 50_001)])
def test_a_text_that_is_too_long_keeps_its_core(core: range) -> None:
    text = "".join(f"{number:04} " for number in range(4_000))
    kept = shortened(text, 300, [core])
    assert tokens(kept) <= 301
    assert text[core.start : core.stop].strip() in kept
    assert shortened("short", 300, [core]) == "short"


def test_the_longest_core_that_fits_is_kept() -> None:
    text = "a b c d e f g h i j k l m n o p " * 40
    line, passage = range(600, 632), range(500, 800)
    assert text[500:800].strip() in shortened(text, tokens(text[500:800]) + 20, [line, passage])
    assert text[600:632].strip() in shortened(text, 60, [line, passage])


# -- prompts ----------------------------------------------------------------------------------------


def told(**how: Any) -> str:
    return "\n".join(message.content for message in build("How long?", language="en", **how).messages)


def test_a_long_context_is_cut_around_what_was_found() -> None:
    text = "".join(f"Row {number} has value {number * 7}. " for number in range(3_000))
    at = text.index("Row 2500 ")
    context = Context(1, "T" * 5_000, "H" * 5_000, text, range(at, at + 3_000), lambda: range(at, at + 25))
    for budget in (900, 2_000, 5_000):
        prompt = told(contexts=[context], budget=budget)
        assert "Row 2500 has value 17500." in prompt
        assert tokens(prompt) <= budget


@pytest.mark.parametrize("limit", [1_000, 2_000, 3_584])
def test_question_and_best_passages_survive_then_the_latest_turns(limit: int) -> None:
    history = [Turn(f"Question {number}?", f"Answer {number}. " * 100) for number in range(30)]
    contexts = [Context(number, "T", "", f"Passage {number}. " * 100) for number in range(1, 11)]
    prompt = build("How long?", language="en", history=history, contexts=contexts, budget=6_000, limit=limit)
    text = "\n".join(message.content for message in prompt.messages)
    assert tokens(text) <= limit
    assert prompt.used[0] == 1
    assert "How long?" in text
    assert all(turn in history or turn.question in {each.question for each in history} for turn in prompt.turns)
    assert [turn.question for turn in prompt.turns] == [
        turn.question for turn in history[len(history) - len(prompt.turns) :]
    ]


def test_a_long_question_leaves_room_for_what_was_found() -> None:
    contexts = [Context(1, "T", "", "The value is seven.")]
    prompt = build("word " * 5_000, language="en", contexts=contexts, budget=3_000)
    assert "The value is seven." in prompt.messages[-1].content


def test_a_question_that_no_model_of_that_size_reads_is_refused() -> None:
    with pytest.raises(TooLongError) as caught:
        build("word " * 5_000, language="en", limit=3_584)
    assert caught.value.needed > caught.value.limit == 3_584


# -- through the doors ------------------------------------------------------------------------------

ROWS = "| Part | Torque |\n|---|---|\n" + "".join(f"| RX-{row} | {row * 3} Nm |\n" for row in range(100, 500))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("row", [101, 288, 311, 497])
async def test_any_row_of_a_long_table_is_in_the_prompt(scripted: type[Scripted], alice: User, row: int) -> None:
    parts = await db(group, "parts", alice)
    stored = await db(source, "Torques", f"# Torques\n\n{ROWS}", parts)
    assert 2 <= stored.passages_total <= 3
    await asked(await db(chat, alice, parts), f"Which torque has RX-{row}?")
    assert in_prompts(f"| RX-{row} | {row * 3} Nm |")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("tail", [0, 1, 2])
async def test_a_short_source_that_is_too_long_keeps_the_passage_found(
    scripted: type[Scripted], alice: User, tail: int
) -> None:
    """Three passages of Cyrillic are more than one source may have of a prompt."""
    plant = await db(group, "plant", alice)
    filler = "Насос работает без остановки и проверяется раз в год. " * 36
    parts = [f"# Раздел {number}\n\n{filler}Код шкафа номер {number} это Q{number}71." for number in range(3)]
    stored = await db(source, "Завод", "\n\n".join(parts), plant)
    assert 2 <= stored.passages_total <= 3
    message = await asked(await db(chat, alice, plant), f"Какой код у шкафа номер {tail}?")
    assert in_prompts(f"Q{tail}71")
    rows = await db(lambda: list(message.citations.all()))
    assert all(stored.content[row.start : row.end].startswith(row.context[:500]) for row in rows)


@pytest.mark.django_db(transaction=True)
async def test_a_prompt_is_fitted_to_the_agent_that_will_read_it(alice: User, settings: Any) -> None:
    settings.LLM_BACKENDS = {"relay": {"BACKEND": "privategpt.llm.relay.RelayBackend"}}
    plant = await db(group, "plant", alice)
    for number in range(12):
        await db(
            source, f"Pump {number}", f"Pump {number} runs. " + "It is checked every year by the works. " * 45, plant
        )
    agent = FakeAgent("small")
    for declared, most in ((1_500, 1_500), (0, 3_584), (100_000, 6_000)):
        agent.agent.said = frames.Declaration(name="small", stream=True, context=declared)
        message = await asked(await db(chat, alice, plant), "How often are all the pumps of the works checked?")
        assert message.state == Asked.State.COMPLETE, message.error
        content = json.loads(frames.decode(agent.asked[-1]).data)["content"]
        assert most * 0.6 < tokens(content) <= most
        assert "It is checked every year" in content
    agent.agent.said = frames.Declaration(name="small", stream=True, context=1_500)
    message = await asked(await db(chat, alice), "word " * 3_000)
    assert "too long for this language model" in message.error
    exchange.current().dispatcher.pool.leave(agent.agent)
    await desk.close()


@pytest.mark.django_db(transaction=True)
async def test_a_prompt_is_fitted_to_what_the_endpoint_says(alice: User, settings: Any) -> None:
    async with upstream(HELLO) as up:
        up.models = [{"id": "other", "max_model_len": 9_999}, {"id": "m", "max_model_len": 2_048}]
        config = {"urls": [up.url], "model": "m"}
        backend = "privategpt.llm.endpoints.EndpointsBackend"
        settings.LLM_BACKENDS, settings.LLM_BACKEND = {"openai": {"BACKEND": backend, "CONFIG": config}}, "openai"
        talk = await db(chat, alice)
        await db(
            lambda: [
                Asked.objects.create(chat=talk, position=n, question="Q " * 50, answer="A " * 900) for n in range(9)
            ]
        )
        await asked(talk, "And?")
        await desk.close()
    text = "\n".join(message["content"] for message in up.requests[0].body["messages"])
    assert tokens(text) <= 2_048 - 512
    assert text.endswith("And?")


async def test_what_an_endpoint_reads_is_set_or_asked_for() -> None:
    async with upstream() as big, upstream() as silent:
        big.models = [{"id": "m", "meta": {"n_ctx": 8_192}}]
        for urls, context, reads in (
            ([big.url], 0, 7_168),
            ([silent.url], 0, None),
            ([silent.url, big.url], 0, 7_168),
            ([big.url], 4_096, 3_072),
        ):
            backend = EndpointsBackend(urls, model="m", context=context)
            assert await backend.reads() == reads
            await backend.aclose()
    gone = EndpointsBackend([big.url], model="m")
    assert await gone.reads() is None
    await gone.aclose()


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"data": None}, {"data": [7]}, {"data": [{"id": "m"}]}, {"data": [{"id": "m", "n_ctx": True}]}],
)
def test_a_list_that_does_not_say_says_nothing(document: Any) -> None:
    assert context_of(document, "m") is None


@pytest.mark.parametrize(("said", "reads"), [("4096", 0), (3_584, 3_584), (True, 0), (-1, 0), (10**12, 0), (None, 0)])
def test_an_agent_may_say_what_it_reads(said: Any, reads: int) -> None:
    assert frames.declaration(json.dumps({"name": "a", "context": said})).context == reads
