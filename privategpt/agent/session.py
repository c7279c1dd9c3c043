"""One connection to a relay: its frames in, answers out."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from privategpt.agent.frames import (
    ANSWER,
    ASK,
    CANCEL,
    DELTA,
    HELLO,
    PING,
    PONG,
    Abilities,
    Answer,
    ErrorFrame,
    Frame,
    Question,
    decoded,
    encoded,
)
from privategpt.agent.transcripts import Transcripts
from privategpt.llm.base import Backend, BackendError, Cut, Delta, Message

logger = logging.getLogger(__name__)

HELLO_WITHIN = 10.0  # seconds
GATHER = 0.03  # seconds between two deltas of one answer; shorter is not seen and costs frames
LONGEST_ANSWER = 1 << 20  # characters; in JSON one may take six bytes, and relays refuse large frames
GOING_AWAY = 1001


class NoHelloError(Exception):
    """The other side does not begin as a relay does."""


class Session:
    """Serves one connection until it ends. Never more than `abilities.concurrency` answers at once."""

    def __init__(
        self, connection: ClientConnection, backend: Backend, abilities: Abilities, transcripts: Transcripts
    ) -> None:
        self._connection = connection
        self._backend = backend
        self._abilities = abilities
        self._transcripts = transcripts
        self._tasks: set[asyncio.Task[None]] = set()
        self._asks: dict[str, asyncio.Task[None]] = {}  # those that take a place; by the id of their frames

    async def greet(self, claim: Callable[[str], Awaitable[str]]) -> None:
        """Answer the hello with the id that `claim` makes of the fresh one. Raises NoHelloError."""
        try:
            async with asyncio.timeout(HELLO_WITHIN):
                hello = decoded(await self._connection.recv(), Frame)
        except (TimeoutError, ValueError) as error:
            raise NoHelloError("it sent no hello") from error
        if hello.message != HELLO:
            raise NoHelloError("its first frame is no hello")
        await self._send(Frame(await claim(hello.id), HELLO, encoded(self._abilities)))

    async def serve(self) -> None:
        """Ends when the relay closes the connection; raises ConnectionClosedError when it is lost."""
        try:
            async for raw in self._connection:
                await self._take(raw)
        except asyncio.CancelledError:
            await self._drop()
            await self._connection.close(GOING_AWAY, "agent stops")
            raise
        finally:
            await self._drop()

    async def _drop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, raw: str | bytes) -> None:
        try:
            frame = decoded(raw, Frame)
        except ValueError:
            logger.warning("The relay sent a frame that cannot be read; ignored.")
            return
        if frame.message == PING:
            await self._send(Frame(frame.id, PONG))
        elif frame.message == CANCEL:
            if task := self._asks.pop(frame.id, None):
                task.cancel()
        elif frame.message == ASK and frame.id not in self._asks:
            await self._begin(frame)

    async def _begin(self, frame: Frame) -> None:
        if len(self._asks) >= self._abilities.concurrency:
            await self._send(ErrorFrame(frame.id, f"This agent answers {self._abilities.concurrency} at a time."))
            return
        try:
            question = decoded(frame.data, Question)
        except ValueError:
            await self._send(ErrorFrame(frame.id, "The question cannot be read."))
            return
        task = asyncio.create_task(self._answer(frame.id, question))
        self._asks[frame.id] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, ask: str, question: Question) -> None:
        reply: msgspec.Struct
        try:
            reply = Frame(ask, ANSWER, encoded(await self._answered(ask, question)))
        except BackendError as error:
            logger.warning("A question failed: %s", error.sentence)
            reply = ErrorFrame(ask, str(error))
        except ConnectionClosed:
            return
        except Exception as error:
            # Only the kind: the text of a stranger's exception may hold the prompt.
            logger.error("A question failed: %s in the backend.", type(error).__name__)  # noqa: TRY400
            reply = ErrorFrame(ask, "The agent failed on this question.")
        # Before the frame leaves: the relay may fill the place the moment it reads it.
        self._asks.pop(ask, None)
        with contextlib.suppress(ConnectionClosed):
            await self._send(reply)

    async def _answered(self, ask: str, question: Question) -> Answer:
        conversation = question.conversation_id or str(uuid.uuid4())
        messages = question.turns() or [
            *self._transcripts.before(conversation),
            Message("user", question.content or ""),
        ]
        text, cut = await self._generated(ask, question, messages)
        self._transcripts.keep(conversation, messages, text)
        return Answer(str(uuid.uuid4()), conversation, text, cut.reason if cut else msgspec.UNSET)

    async def _generated(self, ask: str, question: Question, messages: list[Message]) -> tuple[str, Cut | None]:
        cut: Cut | None = None
        found: list[str] = []
        length = 0
        limit = question.max_tokens if question.max_tokens and question.max_tokens > 0 else None
        pieces = self._backend.generate(messages, max_tokens=limit, temperature=question.temperature)
        async with contextlib.aclosing(pieces), Gathered(lambda text: self._send(Frame(ask, DELTA, text))) as deltas:
            async for piece in pieces:
                if isinstance(piece, Cut):
                    cut = piece
                elif isinstance(piece, Delta):
                    found.append(piece.text)
                    length += len(piece.text)
                    if length > LONGEST_ANSWER:
                        raise BackendError("The answer is longer than an answer may be.")
                    if question.stream:
                        deltas.add(piece.text)
        text = "".join(found)
        if not text.strip():
            raise BackendError("The language model answered nothing.", retryable=True)
        return text, cut

    async def _send(self, frame: msgspec.Struct) -> None:
        await self._connection.send(encoded(frame))


class Gathered:
    """Sends an answer's pieces: the first at once, then together what came within GATHER seconds.

    Leaving the block sends the rest, unless it is left by an exception.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: list[str] = []
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Gathered":
        return self

    def add(self, text: str) -> None:
        self._waiting.append(text)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            text = "".join(self._waiting)
            self._waiting.clear()
            await self._send(text)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER):
                    await self._ended.wait()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        if self._task is not None:
            if kind is not None:
                self._task.cancel()
            # Its failure is the connection's, which the reader sees as well.
            await asyncio.gather(self._task, return_exceptions=True)
