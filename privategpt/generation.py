"""One answer from its question to its end: retrieve, prompt, generate, save, stream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from channels.db import database_sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from privategpt import prompts, tally
from privategpt.citing import Citing
from privategpt.gate import ForbiddenError, Gate, slices
from privategpt.grounding import SOURCES, Grounded, Numbered, ground
from privategpt.growing import Growing, Outcome
from privategpt.llm.base import Backend, BackendError, Cut, InLine, Piece, Sized, Usage
from privategpt.llm.matter import Matter, Particular
from privategpt.llm.quoting import QuotingBackend
from privategpt.models import ANSWER_LEASE, Citation, Message, SourceQuerySet
from privategpt.prompts import Style, Turn
from privategpt.retrieval.search import BOTH, Ways
from privategpt.saving import Save, Saved, Saver

if TYPE_CHECKING:
    from privategpt.llm.registry import Backends

logger = logging.getLogger(__name__)

LONGEST_ANSWER = 4 << 20  # characters
SNIPPET = 2_000  # characters of a passage that are kept and sent with a citation
TEMPERATURES = {1: 0.1, 2: 0.4, 3: 0.7, 4: 1.0}  # of a scenario's creativity

State = Message.State
TOO_LONG = "The question is too long for this language model: it has some {} tokens, {} can be read."
FORBIDDEN = "You may not read any more what this answer rests on."


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with all that its answer depends on. `visible` is None when nothing is to be searched:
    else the only sources that this answer will ever see. `readable` are all that the asker may read."""

    message: Message
    owner: str
    visible: SourceQuerySet | None
    readable: SourceQuerySet | None = None
    history: tuple[Turn, ...] = ()
    style: Style | None = None
    sources: int = SOURCES
    least_cosine: float = 0.0
    ways: Ways = BOTH
    temperature: float | None = None
    backend: str | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What an answer is made with."""

    backends: Backends
    saver: Saver
    searching: Executor
    slots: asyncio.Semaphore
    count: Callable[[], int]  # of the answers under way


class Generation:
    """Owned by the process, not by a connection. Ends by itself, by `stop`, or when its row is gone."""

    def __init__(
        self, asked: Asked, means: Means, ended: Callable[[Generation], None], lost: Callable[[], None]
    ) -> None:
        """`lost` is called when the row did not take a save: somebody should look why."""
        self.asked, self.growing = asked, Growing()
        self.message = asked.message
        self._means, self._ended = means, ended
        self._saved = Saved(self.message.pk, self._save, lost)
        self._citations: list[Citation] = []
        self._new_citations: list[Citation] = []  # not in the database yet
        self._citing: Citing | None = None
        self._taken = 0  # characters from the backend
        self._named: set[int] = set()  # numbers whose rows say that they were cited
        self._began = time.monotonic()
        self._why: Outcome | None = None  # why it was cut short
        self._is_finishing = False
        self._is_over = asyncio.Event()
        self.rests = frozenset[UUID]().union(*(turn.sources for turn in asked.history))  # on these sources
        self._gate = Gate(self.is_allowed, means.count, self._write)
        self.trace: dict[str, Any] = {"times": {}}
        self.task = asyncio.create_task(self._run(), name=f"answer {self.message.pk}")

    # -- what others do to it -------------------------------------------------------------------

    def stop(self, state: str = State.STOPPED, reason: str = "") -> None:
        """Ends it here; what was written stays."""
        if self._why is None and not self._is_finishing:
            self._why = Outcome(state, reason)
            self.task.cancel()

    def forbid(self) -> None:
        """The asker may not read any more what it rests on."""
        self.stop(State.FAILED, FORBIDDEN)

    def renew(self) -> None:
        """Says that this process is still at work."""
        if not self._is_finishing:
            self._means.saver.touch(self._saved, within=0)

    def discard(self, reason: str) -> None:
        """The row went away, or somebody else ended it: nothing is written any more."""
        if not self._is_finishing:
            self._is_finishing = True
            self.task.cancel()
            self._over(Outcome(State.FAILED, reason))

    # -- its life -------------------------------------------------------------------------------

    async def _run(self) -> None:
        outcome = Outcome(State.COMPLETE)
        try:
            async with asyncio.timeout(settings.ANSWER_SECONDS), self._means.slots:
                await self._answer()
        except asyncio.CancelledError:
            outcome = self._why or Outcome(State.FAILED, "The server was stopped before the answer was complete.")
        except TimeoutError:
            outcome = Outcome(State.FAILED, f"The answer was not complete within {settings.ANSWER_SECONDS:g} seconds.")
        except prompts.TooLongError as fault:
            outcome = Outcome(State.FAILED, TOO_LONG.format(fault.needed, fault.limit))
        except ForbiddenError:
            outcome = Outcome(State.FAILED, FORBIDDEN)
        except BackendError as fault:
            logger.warning("An answer failed: %s", fault.sentence)
            outcome = Outcome(State.FAILED, str(fault))
        except ImproperlyConfigured as fault:
            outcome = Outcome(State.FAILED, str(fault))
        except Exception:
            logger.exception("An answer failed")
            outcome = Outcome(State.FAILED, f"Something failed here; the log says what happened to {self.message.pk}.")
        self._gate.close()
        self._finish(outcome)
        while not self._is_over.is_set():
            # A loop that ends cancels every task once more; the end is saved before it may close.
            with contextlib.suppress(asyncio.CancelledError):
                await self._is_over.wait()

    async def _answer(self) -> None:
        asked = self.asked
        if asked.visible is None:
            self.growing.show_sources([])
        backend = self._chosen()
        limit = await backend.reads() if isinstance(backend, Sized) else None
        budget = min(settings.LLM_PROMPT_TOKENS, limit or settings.LLM_PROMPT_TOKENS)
        grounded = await self._ground(asked.visible, budget) if asked.visible is not None else None
        backend = self._about(backend, grounded)
        if grounded:
            self.rests |= {each.source for each in grounded.numbered}
        if self.rests:
            await self._gate.look()
        contexts = [each.context for each in grounded.numbered] if grounded else None
        build = partial(
            prompts.build,
            asked.message.question,
            language=asked.message.language,
            history=asked.history,
            contexts=contexts,
            style=asked.style,
            budget=budget,
            limit=limit,
        )
        # It may read many earlier answers, which takes a while.
        prompt = await asyncio.get_running_loop().run_in_executor(self._means.searching, build)
        if grounded:
            everything = [each.context.number for each in grounded.numbered]
            self._show(grounded, everything if isinstance(backend, QuotingBackend) else prompt.used)
        self.trace["earlier"] = sorted(str(source) for turn in prompt.turns for source in turn.sources)
        try:
            await self._take(backend.generate(prompt.messages, temperature=asked.temperature))
        except BackendError:
            await self._gate.settle()
            raise
        await self._gate.settle()
        if self._citing:
            self.growing.append(self._citing.finish())
        if not self.growing.text.strip():
            raise BackendError("The language model answered nothing.", retryable=True)

    async def _take(self, pieces: AsyncGenerator[Piece, None]) -> None:
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Usage):
                    self.trace["tokens"] = {"prompt": piece.prompt_tokens, "answer": piece.completion_tokens}
                elif isinstance(piece, InLine):
                    self._stand(piece)
                elif isinstance(piece, Cut):
                    self.message.cut_off = piece.reason
                else:
                    await self._take_text(piece.text)

    async def _take_text(self, text: str) -> None:
        self._taken += len(text)
        if self._taken > LONGEST_ANSWER:
            raise BackendError("The answer is longer than an answer may be.")
        if self.rests:
            self._gate.feed(text)
            return
        async for part in slices(text):
            self._write(part)

    def is_allowed(self) -> bool:
        """Whether the asker may read still what it rests on. For threads."""
        readable, rests = self.asked.readable, self.rests
        return readable is None or not rests or readable.filter(pk__in=rests).count() == len(rests)

    async def _ground(self, visible: SourceQuerySet, budget: int) -> Grounded:
        asked = self.asked
        began = time.monotonic()
        search = database_sync_to_async(ground, thread_sensitive=False, executor=self._means.searching)  # type: ignore[arg-type]
        grounded: Grounded = await search(
            asked.message.question,
            visible,
            history=asked.history,
            limit=asked.sources,
            least=asked.least_cosine,
            ways=asked.ways,
            longest=min(prompts.LONGEST_CONTEXT, budget // 3),
        )
        self._time("searched")
        tally.searched(time.monotonic() - began)
        return grounded

    def _chosen(self) -> Backend:
        backends, name = self._means.backends, self.asked.backend
        backend = backends.get(name) if name else backends.choose(is_grounded=self.asked.visible is not None)
        self.message.backend = backend.name
        self.trace |= {"backend": backend.name, "model": backend.model}
        return backend

    def _about(self, backend: Backend, grounded: Grounded | None) -> Backend:
        """The same for this question, if it has to know more of it than messages."""
        if not isinstance(backend, Particular):
            return backend
        language = self.asked.message.language
        grounds = grounded.grounds(language) if grounded else None
        return backend.about(Matter(self.asked.owner, grounds, self._means.searching, language))

    def _show(self, grounded: Grounded, used: list[int]) -> None:
        """Says what the answer will rest on."""
        given = [each for each in grounded.numbered if each.context.number in set(used)]
        self._citing = Citing([each.context.number for each in given])
        self._citations = [self._citation(each) for each in given]
        self._new_citations = self._citations
        self.trace |= {
            "searched": grounded.searched,
            "note": grounded.found.note,
            "found": [_found(each) for each in grounded.numbered],
            "used": used,
        }
        told = [
            citation_data(row) | {"title": each.context.title} for row, each in zip(self._citations, given, strict=True)
        ]
        if not told:
            self.growing.show_sources([])
            return
        # Whoever is told of sources finds them in the database; the backend works meanwhile.
        self._saved.heard = lambda: self._told(told)
        self._means.saver.touch(self._saved, within=0)

    def _told(self, sources: list[dict[str, Any]]) -> None:
        self._saved.heard = None
        self._new_citations = []
        is_forbidden = self.message.error == FORBIDDEN
        self.growing.show_sources([] if is_forbidden else sources)

    def _citation(self, each: Numbered) -> Citation:
        return Citation(
            message_id=self.message.pk,
            source_id=each.source,
            number=each.context.number,
            heading=each.context.heading,
            start=each.start,
            end=each.end,
            context=each.context.text[:SNIPPET],
            score=each.score,
        )

    def _stand(self, place: InLine) -> None:
        """In line, or out of it; the row says so too, for pages and for other processes."""
        self.growing.stand(place)
        self.trace.pop("line", None)
        if place.place:
            self.trace["line"] = asdict(place)
        self._means.saver.touch(self._saved, within=0)

    def _write(self, piece: str) -> None:
        if not self.growing.length:
            self._time("first")
        text = storable(piece)
        self.growing.append(self._citing.feed(text) if self._citing else text)
        self._means.saver.touch(self._saved)

    # -- its row --------------------------------------------------------------------------------

    def _save(self) -> Save:
        """The row as it is to be just now."""
        values: dict[str, Any] = {
            "answer": self.growing.text,
            "state": State.ANSWERING,
            "backend": self.message.backend,
            "claimed_until": timezone.now() + ANSWER_LEASE,
        }
        if self.growing.place or self._new_citations or self.trace.get("earlier"):  # what its text rests on
            values["trace"] = {**self.trace, "times": {**self.trace["times"]}}  # written by another thread
        # With the text that names them: who kills this process keeps both.
        named = self._citing.cited - self._named if self._citing else set()
        self._named |= named
        return Save(self.message.pk, values, self._new_citations, sorted(named))

    def _finish(self, outcome: Outcome) -> None:
        if self._is_finishing:
            return
        self._is_finishing = True
        self._time("done")
        self.trace.pop("line", None)
        cited = sorted(self._citing.cited) if self._citing else []
        self.trace["cited"] = cited
        message = self.message
        message.answer, message.state, message.error = self.growing.text, outcome.state, outcome.error
        message.trace, message.claimed_until, message.finished_at = self.trace, None, timezone.now()
        names = ("answer", "state", "error", "cut_off", "backend", "trace", "claimed_until", "finished_at")
        values = {name: getattr(message, name) for name in names}
        last = Save(message.pk, values, self._citations, cited, is_stopped=outcome.state == State.STOPPED)
        self._means.saver.finish(self._saved, last, lambda kept: self._saved_last(outcome, is_kept=kept))

    def _saved_last(self, outcome: Outcome, *, is_kept: bool) -> None:
        self._over(outcome if is_kept else Outcome(State.FAILED, "The answer could not be saved, or was deleted."))

    def _over(self, outcome: Outcome) -> None:
        if self._is_over.is_set():
            return
        self._is_over.set()
        self.message.state, self.message.error = outcome.state, outcome.error
        if self._saved.heard:
            self._saved.heard()
        tally.answered(self.message.backend, outcome.state, self.trace, self.growing.length)
        self.growing.end(outcome)
        self._ended(self)

    def _time(self, what: str) -> None:
        """Milliseconds from the start."""
        self.trace["times"][what] = round((time.monotonic() - self._began) * 1000, 1)


def _found(each: Numbered) -> dict[str, Any]:
    cosine = None if each.cosine is None else round(each.cosine, 4)
    return {
        "number": each.context.number,
        "source": str(each.source),
        "start": each.start,
        "end": each.end,
        "score": round(each.score, 4),
        "cosine": cosine,
    }


def citation_data(row: Citation) -> dict[str, Any]:
    """A citation as followers are told of it; the title is added by whoever may read it."""
    return {
        "number": row.number,
        "source": str(row.source_id),
        "heading": row.heading,
        "start": row.start,
        "end": row.end,
        "context": row.context,
        "score": row.score,
    }


def storable(text: str) -> str:
    """Without what no database stores: NUL, and halves of surrogate pairs."""
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
