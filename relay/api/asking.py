"""`POST /api/ask` as one function, for the fast lane and the DRF view alike."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from relay import exchange, frames
from relay.api import shapes
from relay.api.credentials import INVALID, asker, known_asker
from relay.api.replies import ClientLeft, Reply, Unauthorized, refusal
from relay.dispatch import Question
from relay.failures import KeyEnded
from relay.frames import Answer

LONGEST_KEY = 255  # characters of an Idempotency-Key


async def answer_ask(
    relay: exchange.Exchange,
    authorization: Sequence[bytes],
    idempotency: Sequence[bytes],
    read_body: Callable[[], Awaitable[bytes]],
    scope: Mapping[str, Any] | None = None,
) -> Reply:
    """The whole reply to an ask. The credential is checked before the body is read.

    `authorization` and `idempotency` are all values of those headers; `read_body` may raise TooLarge. `scope` is
    ASGI's: where the ask comes from.
    Raises ClientLeft only.
    """
    try:
        forgettings = relay.askers.forgettings
        who = known_asker(relay, authorization) or await asker(relay, authorization, scope)
        body = await read_body()
        while forgettings != relay.askers.forgettings:  # body and database take their time: the key may have ended
            forgettings = relay.askers.forgettings
            who = await asker(relay, authorization, scope)
        question = shapes.question(body, who.owner)
        question.token = who.token
        with relay.dispatcher.admitted.by(who.token):
            if idempotency:
                reply = await _answer_once(relay, question, idempotency, body)
            else:
                reply = _reply(question, frames.reply(await relay.dispatcher.ask(question)))
    except ClientLeft:
        raise
    except KeyEnded:
        reply = refusal(Unauthorized(INVALID))
    except Exception as fault:
        reply = refusal(fault)
    relay.dispatcher.tally.replies[reply.status] += 1
    return reply


async def _answer_once(
    relay: exchange.Exchange, question: Question, idempotency: Sequence[bytes], body: bytes
) -> Reply:
    if len(idempotency) > 1 or not 0 < len(idempotency[0]) <= LONGEST_KEY:
        raise shapes.BadRequest
    key = idempotency[0].decode("latin-1")
    owner = question.owner

    def late(answer: Answer) -> None:
        relay.repeats.late(owner, key, body, frames.reply(answer))

    async def produce() -> bytes:
        return frames.reply(await relay.dispatcher.ask(question))

    question.on_late = late
    return _reply(question, await relay.repeats.once(owner, key, body, produce))


def _reply(question: Question, body: bytes) -> Reply:
    if not question.waited:
        return Reply(200, body)
    return Reply(200, body, (("x-queue-wait", f"{question.waited:.3f}"),))
