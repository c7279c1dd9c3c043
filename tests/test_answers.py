"""An answer's way: saved as it grows, ended by stop, failure, deletion or a crash, never by a closed connection."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from django.db import DatabaseError, IntegrityError
from django.utils import timezone

from accounts.models import User
from privategpt import answers, desk, saving
from privategpt.llm.base import Usage
from privategpt.models import LOST, Chat, Message
from tests.answering import BACKENDS, Scripted, asked, begun, broken, chat, db, followed, group, source, text_of, until

if TYPE_CHECKING:
    from pytest_django import Settings

State = Message.State


async def row(message: Message) -> Message:
    return await db(Message.objects.get, pk=message.pk)


async def test_an_answer_is_in_its_row_when_the_follower_hears_done(scripted: type[Scripted], alice: User) -> None:
    scripted.says("Be", "cause.", Usage(5, 2))
    message = await begun(await db(chat, alice), "Why is the sky blue?")
    events = await followed(message)
    saved = await row(message)
    assert (events[0].kind, events[-1].kind) == ("sources", "done")
    assert text_of(events) == saved.answer == "Because."
    assert (saved.state, saved.backend, saved.claimed_until) == (State.COMPLETE, "scripted", None)
    assert saved.trace["tokens"] == {"prompt": 5, "answer": 2}
    assert set(saved.trace["times"]) == {"first", "done"}


async def test_the_first_question_names_the_chat(scripted: type[Scripted], alice: User) -> None:
    talk = await db(chat, alice)
    await asked(talk, "## How long does **green tea** need, and how hot should the water be for it?\n\nThanks!")
    await asked(talk, "And black tea?")
    title = (await db(Chat.objects.get, pk=talk.pk)).title
    assert title == "How long does green tea need, and how hot should the water…"


async def test_the_text_grows_in_its_row_while_it_is_written(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says("First ", more, "second.")
    message = await begun(await db(chat, alice))
    await until(lambda: db(Message.objects.filter(pk=message.pk, answer="First ", state=State.ANSWERING).exists))
    more.set()
    await answers.finished(message.pk, 5)
    assert (await row(message)).answer == "First second."


async def test_many_pieces_cost_few_writes(scripted: type[Scripted], alice: User) -> None:
    scripted.says(*["word "] * 2_000)
    with mock.patch.object(saving, "write", wraps=saving.write) as written:
        await asked(await db(chat, alice))
    assert written.call_count < 5


async def test_a_chat_takes_one_question_at_a_time(scripted: type[Scripted], alice: User) -> None:
    more = asyncio.Event()
    scripted.says("One", more)
    talk = await db(chat, alice)
    first = await begun(talk)
    with pytest.raises(answers.Busy):
        await db(answers.begin, talk, "And?", user=alice)
    more.set()
    await answers.finished(first.pk, 5)
    assert (await asked(talk)).position == 1


async def test_nobody_asks_in_somebody_elses_chat(scripted: type[Scripted], alice: User, bob: User) -> None:
    talk = await db(chat, alice)
    with pytest.raises(Chat.DoesNotExist):
        await db(answers.begin, talk, "Why?", user=bob)
    assert not await db(talk.messages.exists)
    assert not scripted.prompts


async def test_one_user_has_so_many_answers_at_once_and_others_still_get_theirs(
    scripted: type[Scripted], alice: User, bob: User, settings: object
) -> None:
    settings.ANSWERS_PER_USER = 2  # type: ignore[attr-defined]
    more = asyncio.Event()
    for _ in range(2):
        scripted.says(more)
        await begun(await db(chat, alice))
    with pytest.raises(answers.TooMany):
        await begun(await db(chat, alice))
    assert (await asked(await db(chat, bob))).state == State.COMPLETE
    more.set()


async def test_a_stopped_answer_keeps_what_was_written(scripted: type[Scripted], alice: User) -> None:
    scripted.says("So far", asyncio.Event(), "never")
    message = await begun(await db(chat, alice))
    await until(lambda: desk.current().running[message.pk].growing.length > 0)
    answers.stop(message.pk)
    saved = await answers.finished(message.pk, 5)
    assert (saved.state, saved.answer) == (State.STOPPED, "So far")
    assert (await row(message)).state == State.STOPPED
    assert scripted.closed == 1


async def test_a_database_that_was_away_ends_no_watch(
    scripted: type[Scripted], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It restarted: what is stopped elsewhere afterwards still ends."""
    looks = mock.Mock(side_effect=[DatabaseError("restarting"), *[mock.DEFAULT] * 1000], wraps=desk._rows)
    monkeypatch.setattr(desk, "_rows", looks)
    scripted.says("So far", asyncio.Event())
    message = await begun(await db(chat, alice))
    desk.current()._changed(message.pk)
    await until(lambda: looks.call_count > 0)
    await db(Message.objects.filter(pk=message.pk).update, state=State.STOPPED)
    assert (await answers.finished(message.pk, 5)).state == State.STOPPED


async def test_another_process_can_stop_it(scripted: type[Scripted], alice: User) -> None:
    scripted.says("So far", asyncio.Event())
    message = await begun(await db(chat, alice))
    await until(lambda: desk.current().running[message.pk].growing.length > 0)
    await db(Message.objects.filter(pk=message.pk).update, state=State.STOPPED)  # what `stop` does there
    saved = await answers.finished(message.pk, 5)
    assert (saved.state, (await row(message)).answer) == (State.STOPPED, "So far")


async def test_a_stop_from_elsewhere_needs_no_thread_and_no_loop(scripted: type[Scripted], alice: User) -> None:
    message = await db(answers.begin, await db(chat, alice), "Why?", user=alice)  # another process will start it
    answers.stop(message.pk)
    await until(lambda: db(Message.objects.filter(pk=message.pk, state=State.STOPPED).exists))


async def test_a_failure_keeps_its_reason_and_the_text(scripted: type[Scripted], alice: User) -> None:
    scripted.says("Half an ans", broken("The language model's server broke off."))
    saved = await asked(await db(chat, alice))
    assert (saved.state, saved.answer) == (State.FAILED, "Half an ans")
    assert saved.error == "The language model's server broke off."


async def test_a_bug_is_logged_and_not_shown(
    scripted: type[Scripted], alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.says(RuntimeError("the password is 123"))
    saved = await asked(await db(chat, alice))
    assert saved.state == State.FAILED
    assert "123" not in saved.error
    assert "the password is 123" in caplog.text


async def test_an_endless_answer_ends(scripted: type[Scripted], alice: User, settings: object) -> None:
    """Fault 24."""
    settings.ANSWER_SECONDS = 0.05  # type: ignore[attr-defined]
    scripted.says("Well", asyncio.Event())
    saved = await asked(await db(chat, alice))
    assert (saved.state, saved.answer) == (State.FAILED, "Well")
    assert "0.05 seconds" in saved.error


async def test_an_answer_has_a_longest_length(scripted: type[Scripted], alice: User) -> None:
    """Attack 56."""
    scripted.says(*["x" * (1 << 20)] * 6)
    saved = await asked(await db(chat, alice))
    assert saved.state == State.FAILED
    assert "longer than an answer may be" in saved.error


async def test_others_have_their_turn_while_a_long_piece_is_read(scripted: type[Scripted], alice: User) -> None:
    await db(source, "Tea", "Tea is a drink.")
    scripted.says("Tea is a drink [1]. " * 40_000)
    message = await begun(await db(chat, alice, public=True), "What is tea?")
    running = desk.current().running
    await until(lambda: message.pk not in running or running[message.pk].growing.length > 0)
    assert 0 < running[message.pk].growing.length < 400_000
    assert len((await answers.finished(message.pk, 5)).answer) == 800_000


async def test_a_piece_that_is_too_long_is_not_read(scripted: type[Scripted], alice: User) -> None:
    scripted.says("So far. ", "x" * (5 << 20))
    saved = await asked(await db(chat, alice))
    assert (saved.state, saved.answer) == (State.FAILED, "So far. ")


async def test_a_deleted_chat_does_not_come_back(scripted: type[Scripted], alice: User) -> None:
    """Fault 32."""
    more = asyncio.Event()
    scripted.says("One", more, "two")
    talk = await db(chat, alice)
    message = await begun(talk)
    await until(lambda: db(Message.objects.exclude(answer="").exists))
    await db(talk.delete)
    more.set()
    assert (await followed(message))[-1].data["state"] == State.FAILED
    await until(lambda: not desk.current().running)
    assert not await db(Message.objects.exists)
    assert not await db(Chat.objects.exists)


async def test_a_silent_answer_of_a_deleted_chat_ends_too(scripted: type[Scripted], alice: User) -> None:
    scripted.says(asyncio.Event())
    talk = await db(chat, alice)
    await begun(talk)
    await db(talk.delete)
    await until(lambda: not desk.current().running)
    assert scripted.closed <= 1


async def test_the_answer_of_a_deleted_user_is_discarded(scripted: type[Scripted], alice: User) -> None:
    """Fault 33."""
    scripted.says("One", asyncio.Event())
    await begun(await db(chat, alice))
    await db(alice.delete)
    await until(lambda: not desk.current().running)
    assert not await db(Message.objects.exists)


async def test_the_answer_of_a_retired_user_ends(scripted: type[Scripted], alice: User) -> None:
    """Attack 44."""
    scripted.says("One", asyncio.Event())
    message = await begun(await db(chat, alice))
    await db(alice.retire)
    await until(lambda: not desk.current().running)
    assert (await row(message)).state == State.FAILED


async def test_an_answer_whose_process_died_fails_when_somebody_looks(scripted: type[Scripted], alice: User) -> None:
    """Fault 10."""
    talk = await db(chat, alice)
    message = await db(answers.begin, talk, "Why?", user=alice)  # and the process is killed
    past = timezone.now() - timedelta(seconds=1)
    await db(Message.objects.filter(pk=message.pk).update, claimed_until=past, answer="Half", state=State.ANSWERING)
    events = await followed(message)
    assert text_of(events) == "Half"
    assert events[-1].data == {"state": "failed", "error": LOST}
    assert (await asked(talk)).state == State.COMPLETE


async def test_a_claim_from_before_the_clock_was_set_back_is_no_claim(scripted: type[Scripted], alice: User) -> None:
    """Fault 19."""
    message = await db(answers.begin, await db(chat, alice), "Why?", user=alice)
    later = timezone.now() + timedelta(hours=1)
    await db(Message.objects.filter(pk=message.pk).update, claimed_until=later)
    assert await db(answers.end_lost) == 1


async def test_an_answer_that_was_taken_for_lost_goes_on(scripted: type[Scripted], alice: User) -> None:
    """Fault 19: the clock jumped forward, and somebody looked before the next heartbeat."""
    more = asyncio.Event()
    scripted.says("One ", more, "two")
    message = await begun(await db(chat, alice))
    await until(lambda: db(Message.objects.filter(state=State.ANSWERING).exists))
    await db(Message.objects.filter(pk=message.pk).fail)
    more.set()
    await answers.finished(message.pk, 5)
    saved = await row(message)
    assert (saved.state, saved.error, saved.answer) == (State.COMPLETE, "", "One two")


async def test_the_end_of_the_server_keeps_what_was_written(scripted: type[Scripted], alice: User) -> None:
    scripted.says("So far", asyncio.Event())
    message = await begun(await db(chat, alice))
    await until(lambda: desk.current().running[message.pk].growing.length > 0)
    await desk.close()
    saved = await row(message)
    assert (saved.state, saved.answer) == (State.FAILED, "So far")
    assert "server was stopped" in saved.error


async def test_a_locked_database_delays_an_answer_and_loses_nothing(scripted: type[Scripted], alice: User) -> None:
    """Faults 16 and 17."""
    real, faults = saving._write, [DatabaseError("disk is full")] * 3

    def failing(save: saving.Save) -> bool:
        if faults:
            raise faults.pop()
        return real(save)

    with mock.patch.object(saving, "_write", failing), mock.patch.object(saving, "RETRY", 0.01):
        message = await asked(await db(chat, alice))
    assert (message.state, message.answer) == (State.COMPLETE, "Yes.")


async def test_a_source_that_goes_away_at_the_moment_of_a_save_is_no_error(
    scripted: type[Scripted], alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    real, faults = saving._write, [IntegrityError("a citation's source is gone")]

    def failing(save: saving.Save) -> bool:
        if faults:
            raise faults.pop()
        return real(save)

    with mock.patch.object(saving, "_write", failing):
        message = await asked(await db(chat, alice))
    assert (message.state, message.answer) == (State.COMPLETE, "Yes.")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_what_no_database_stores_is_left_out(scripted: type[Scripted], alice: User) -> None:
    """Fault 21, attack 71."""
    scripted.says("a\0b", "\ud83d", "\U0001f600 \u202eright\u200b")
    saved = await asked(await db(chat, alice))
    assert saved.state == State.COMPLETE
    assert saved.answer == "ab\ufffd\U0001f600 \u202eright\u200b"


async def test_thirty_questions_at_once_all_get_their_own_answers(scripted: type[Scripted], alice: User) -> None:
    for _ in range(30):
        scripted.says("Yes.")
    talks = [await db(chat, alice) for _ in range(30)]
    found = await asyncio.gather(*[asked(talk, f"Question {number}?") for number, talk in enumerate(talks)])
    assert {message.state for message in found} == {State.COMPLETE}
    assert len({message.chat_id for message in found}) == 30


async def test_a_follow_up_is_searched_with_what_it_refers_to(scripted: type[Scripted], alice: User) -> None:
    tea = await db(group, "tea", alice)
    await db(source, "Green tea", "Green tea is brewed for two minutes at 80 degrees.", tea)
    talk = await db(chat, alice, tea)
    await asked(talk, "How is green tea brewed?")
    message = await asked(talk, "And how long does it take?")
    assert message.trace["searched"] == "And how long does it take?\nHow is green tea brewed?"
    other = await asked(talk, "Which companies deliver coffee machines to the third floor?")
    assert other.trace["searched"] == other.question
    assert [turn.role for turn in scripted.prompts[1]] == ["system", "user", "assistant", "user"]


@pytest.mark.django_db(transaction=True)
def test_saves_that_are_overdue_are_planned_on_uvloop_too() -> None:
    """Its handles of calls in the past do not know when they were due."""
    uvloop = pytest.importorskip("uvloop")

    async def overdue() -> None:
        saver = saving.Saver()
        for _ in range(3):
            saver._plan(-1.0)
        await saver.close()

    uvloop.run(overdue())


def test_an_event_loop_that_ends_saves_its_answers_first(
    transactional_db: None, settings: Settings, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a request that Django's own test client or a synchronous server makes: the loop cancels its tasks."""
    settings.LLM_BACKENDS, settings.LLM_BACKEND = BACKENDS, "scripted"
    Scripted.reset()
    talk = chat(alice)

    async def leave() -> Message:
        Scripted.says("So far", asyncio.Event())
        message = await begun(talk)
        await until(lambda: desk.current().running[message.pk].growing.length > 0)
        return message

    message = asyncio.run(leave())
    saved = Message.objects.get(pk=message.pk)
    assert (saved.state, saved.answer) == (State.FAILED, "So far")
    gc.collect()
    assert "destroyed" not in caplog.text
    asyncio.run(desk.close())  # of a loop that is gone: nothing is left to do, and nothing fails
    assert desk.peek() is None
