"""Which backend answers, and what happens when one does not: endpoints that rest, agents that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from accounts.models import User
from privategpt import answers, desk
from privategpt.llm import endpoints
from privategpt.llm.base import BackendError, Delta, Message
from privategpt.llm.endpoints import EndpointsBackend
from privategpt.llm.refusals import REFUSALS
from privategpt.llm.registry import Backends
from privategpt.llm.relay import RelayBackend
from privategpt.models import Message as Asked
from privategpt.prompts import LANGUAGES
from relay import exchange, frames
from relay.pool import Agent
from tests.answering import BACKENDS, Scripted, asked, chat, db, group, source, until
from tests.fake_upstream import CUT, DONE, event, sse, upstream, whole
from tests.patience import PATIENCE

HELLO = sse(event("Hello"), DONE)
ASK = [Message("user", "Why?")]


async def said(backend: Any) -> str:
    return "".join([piece.text async for piece in backend.generate(ASK) if isinstance(piece, Delta)])


# -- the default ----------------------------------------------------------------------------------


class FakeAgent:
    """An agent that has dialled in to this process's relay."""

    def __init__(
        self,
        name: str,
        *answers: str,
        error: str = "",
        is_mute: bool = False,
        whole: str | None = None,
        cut: str = "stop",
    ) -> None:
        """`whole` is what the answer's own frame says, the pieces together unless given; `cut` why it ended."""
        self._cut = cut
        self._answers, self._error, self._is_mute = list(answers), error, is_mute
        self._whole = "".join(answers or ["Whole."]) if whole is None else whole
        self.asked: list[str] = []
        said = frames.Declaration(name=name, stream=True)
        self.agent = Agent(name, self._send, lambda _: None, lambda _: None, said)
        exchange.current().dispatcher.pool.join(self.agent)

    async def _send(self, frame: str) -> None:
        self.asked.append(frame)
        found = frames.decode(frame)
        if not self._is_mute:
            asyncio.get_running_loop().call_soon(self._answer, found.id)

    def _answer(self, frame_id: str) -> None:
        hear = exchange.current().dispatcher.heard
        if self._error:
            hear(self.agent, frames.encode(frame_id, frames.ERROR, self._error))
            return
        for delta in self._answers:
            hear(self.agent, frames.encode(frame_id, frames.DELTA, delta))
        answer = f'{{"response_id": "r", "content": "{self._whole}", "finish_reason": "{self._cut}"}}'
        hear(self.agent, frames.encode(frame_id, frames.RESPONSE, answer))


@pytest.fixture
async def relay(scripted: type[Scripted], settings: Any) -> AsyncIterator[None]:
    """No backend is named, so the default chooses; agents are gone afterwards."""
    settings.LLM_BACKEND = ""
    yield
    await exchange.close()


async def test_an_endpoint_answers_before_everybody_else(relay: None) -> None:
    FakeAgent("mine")
    table = BACKENDS | {"openai": {"BACKEND": "tests.answering.Scripted"}}
    assert Backends(table).choose(is_grounded=True).name == "scripted"


@pytest.mark.parametrize(
    ("agents", "is_grounded", "chosen"),
    [
        ([], True, "quoting"),
        ([], False, "quoting"),  # which says that there is no model
        (["built-in"], True, "quoting"),
        (["built-in"], False, "relay"),
        (["built-in", "mine"], True, "relay"),
        (["mine"], False, "relay"),
    ],
)
async def test_who_answers_without_an_endpoint(relay: None, agents: list[str], is_grounded: bool, chosen: str) -> None:
    for name in agents:
        FakeAgent(name)
    assert Backends(BACKENDS).choose(is_grounded=is_grounded).name == chosen


async def test_a_named_backend_answers_whatever_else_there_is(relay: None) -> None:
    FakeAgent("mine")
    assert Backends(BACKENDS, "scripted").choose(is_grounded=True).name == "scripted"


async def test_an_unknown_name_is_refused_with_those_that_there_are(scripted: type[Scripted]) -> None:
    with pytest.raises(ImproperlyConfigured, match=r'LLM_BACKENDS has no "fast"; known: quoting, relay, scripted\.'):
        Backends(BACKENDS, "fast")
    with pytest.raises(ImproperlyConfigured, match="cannot be made"):
        Backends({"x": {"BACKEND": "nowhere.Nothing"}}).get("x")


# -- agents ---------------------------------------------------------------------------------------


async def test_an_agent_streams_its_answer(relay: None, alice: User) -> None:
    agent = FakeAgent("mine", "One ", "two")
    message = await asked(await db(chat, alice), "Why?")
    assert (message.state, message.answer, message.backend) == ("complete", "One two", "relay")
    assert '\\"messages\\"' in agent.asked[0]
    assert "Answer in English" in agent.asked[0]


async def test_an_agent_that_does_not_stream_answers_whole(relay: None, alice: User) -> None:
    FakeAgent("mine")
    assert (await asked(await db(chat, alice))).answer == "Whole."


@pytest.mark.parametrize(
    ("whole", "answer"),
    [("One two three", "One two three"), ("", "One two"), ("One", "One two"), ("Another answer", "One two")],
)
async def test_a_whole_answer_that_goes_on_behind_its_pieces_is_shown_to_its_end(
    relay: None, alice: User, whole: str, answer: str
) -> None:
    """One that says something else comes too late: the pieces were read."""
    FakeAgent("mine", "One ", "two", whole=whole)
    assert (await asked(await db(chat, alice))).answer == answer


async def test_what_was_retrieved_goes_to_somebodys_agent_and_not_to_the_built_in_one(relay: None, alice: User) -> None:
    built_in, mine = FakeAgent("built-in", "no"), FakeAgent("mine", "Tea is a drink [1].")
    tea = await db(group, "tea", alice)
    await db(source, "Tea", "Tea is a drink.", tea)
    for _ in range(3):
        message = await asked(await db(chat, alice, tea), "What is tea?")
        assert message.answer == "Tea is a drink [1]."
    assert (len(built_in.asked), len(mine.asked)) == (0, 3)


async def test_without_any_model_the_answer_says_what_to_do(relay: None, alice: User) -> None:
    message = await asked(await db(chat, alice))
    assert (message.state, message.backend) == ("complete", "quoting")
    assert "no language model is connected" in message.answer


async def test_a_chosen_backend_without_an_agent_fails_and_says_so(relay: None, alice: User) -> None:
    message = await db(answers.begin, await db(chat, alice), "Why?", user=alice)
    answers.start(message, user=alice, narrowed_to=None, backend="relay")
    message = await answers.finished(message.pk, PATIENCE)
    assert (message.state, message.error) == ("failed", "No agent is connected that could answer.")


async def test_an_agents_error_is_shown(relay: None, alice: User) -> None:
    FakeAgent("mine", error="Out of paper.")
    message = await asked(await db(chat, alice))
    assert (message.state, message.error) == ("failed", "The agent reports an error. It said: Out of paper.")


async def test_a_stop_frees_the_agent(relay: None, alice: User) -> None:
    agent = FakeAgent("mine", is_mute=True)
    pieces = RelayBackend().generate(ASK)
    waiting = asyncio.ensure_future(anext(pieces))
    await until(lambda: bool(agent.asked))
    assert agent.agent.load == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert agent.agent.load == 0


# -- quotes ---------------------------------------------------------------------------------------


async def test_without_a_model_the_sources_are_quoted(relay: None, alice: User) -> None:
    tea = await db(group, "tea", alice)
    await db(source, "Tea rules", "# Steeping\n\nGreen tea is steeped for two minutes.", tea)
    for number in range(5):
        await db(source, f"Paper {number}", f"Paper number {number} is about bicycles and roads.", tea)
    message = await asked(await db(chat, alice, tea), "How long is green tea steeped?")
    assert message.backend == "quoting"
    assert "> Green tea is steeped for two minutes. [1]" in message.answer
    assert "— Tea rules, Steeping" in message.answer
    assert message.trace["cited"] == [1]


@pytest.mark.parametrize("language", ["en", "de", "zh"])
async def test_what_the_sources_do_not_hold_is_said_in_the_askers_language(
    relay: None, alice: User, language: str
) -> None:
    tea = await db(group, "tea", alice)
    await db(source, "Tea", "Green tea is steeped for two minutes.", tea)
    question = "Which submarine sank the battleship near Norway?"
    message = await asked(await db(chat, alice, tea), question, language=language)
    assert message.answer == REFUSALS[language]


def test_every_language_has_its_refusal_and_its_name() -> None:
    from accounts.locales import LANGUAGES as CONTRACT

    assert set(REFUSALS) == set(LANGUAGES) == set(CONTRACT)
    assert len(set(REFUSALS.values())) == len(REFUSALS)


# -- endpoints ------------------------------------------------------------------------------------


async def test_the_next_endpoint_answers_when_the_first_does_not() -> None:
    async with upstream([CUT], [CUT]) as broken, upstream(HELLO, HELLO) as good:
        backend = EndpointsBackend([broken.url, good.url], model="m")
        assert await said(backend) == "Hello"
        asked_before = len(broken.requests)
        assert await said(backend) == "Hello"  # the broken one rests
        assert len(broken.requests) == asked_before
        await backend.aclose()


async def test_an_endpoint_that_has_rested_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "COOL_DOWN", 0.0)
    async with upstream(whole(500, {}), whole(500, {}), HELLO) as first, upstream(HELLO) as second:
        backend = EndpointsBackend([first.url, second.url], model="m")
        assert [await said(backend), await said(backend)] == ["Hello", "Hello"]
        assert (len(first.requests), len(second.requests)) == (3, 1)
        await backend.aclose()


async def test_nothing_is_asked_elsewhere_once_a_piece_was_shown() -> None:
    cut = [*sse(event("Half"))[:-1], CUT]
    async with upstream(cut) as first, upstream(HELLO) as second:
        backend = EndpointsBackend([first.url, second.url], model="m")
        with pytest.raises(BackendError):
            await said(backend)
        assert not second.requests
        await backend.aclose()


async def test_a_question_that_is_at_fault_itself_is_not_asked_elsewhere() -> None:
    refused = whole(400, {"error": {"message": "too long"}})
    async with upstream(refused) as first, upstream(HELLO) as second:
        backend = EndpointsBackend([first.url, second.url], model="m")
        with pytest.raises(BackendError, match="too long"):
            await said(backend)
        assert not second.requests
        await backend.aclose()


async def test_each_endpoint_gets_its_own_key() -> None:
    async with upstream(whole(401, {})) as first, upstream(HELLO) as second:
        backend = EndpointsBackend([first.url, second.url], model="m", keys=["one", "two"])
        assert await said(backend) == "Hello"
        headers = [request.headers["authorization"] for request in (*first.requests, *second.requests)]
        assert headers == ["Bearer one", "Bearer two"]
        await backend.aclose()


async def test_an_answer_comes_from_the_endpoint_of_the_settings(
    scripted: type[Scripted], alice: User, settings: Any
) -> None:
    async with upstream(HELLO) as endpoint:
        config = {"urls": [endpoint.url], "model": "m", "keys": []}
        settings.LLM_BACKEND = ""
        settings.LLM_BACKENDS = BACKENDS | {
            "openai": {"BACKEND": "privategpt.llm.endpoints.EndpointsBackend", "CONFIG": config}
        }
        message = await asked(await db(chat, alice), "Why?")
        await desk.close()
    assert (message.answer, message.backend, message.trace["model"]) == ("Hello", "openai", "m")
    assert endpoint.requests[0].body["messages"][-1] == {"role": "user", "content": "Why?"}
    assert isinstance(message, Asked)


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"OPENAI_BASE_URL": "localhost:11434"}, "must look like http://127.0.0.1:11434/v1"),
        ({"OPENAI_BASE_URL": "http://a/v1"}, "OPENAI_MODEL is not"),
        (
            {"OPENAI_BASE_URL": "http://a/v1,http://b/v1,http://c/v1", "OPENAI_MODEL": "m", "OPENAI_API_KEY": "1,2"},
            "2 keys for 3 endpoints",
        ),
        (
            {"OPENAI_BASE_URL": "http://a/v1", "OPENAI_MODEL": "m", "OPENAI_SILENCE_SECONDS": "soon"},
            "OPENAI_SILENCE_SECONDS",
        ),
    ],
)
def test_bad_settings_are_told_by_name(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], sentence: str) -> None:
    from project.llm import openai_backend

    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=sentence):
        openai_backend()


def test_no_endpoint_is_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    from project.llm import openai_backend

    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert openai_backend() == {}
