"""A source's text to passages to vectors. Owns the states of a source:

    creation ──> processing ──> vectorized        an edit leads back to creation
                     └────────> error             after ATTEMPTS in a row without a step forward

Words are indexed before anybody sees the text; vectors follow in the worker, which claims a source, says
again and again that it is at work, and loses the source to the next one when it falls silent."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from django.db import DatabaseError, IntegrityError, connection, models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts import steps
from accounts.models import Group
from accounts.units import unit
from privategpt import sweeping
from privategpt.models import STORING, UNDO, Passage, Source, Vector
from privategpt.retrieval.index import COUNTED, Cut, cut_text
from privategpt.retrieval.indexes import index
from privategpt.retrieval.matrix import packed
from privategpt.storable import check, check_content, check_room
from privategpt.turns import Turns
from privategpt.writing import give_way, transaction_in_turn

if TYPE_CHECKING:
    from accounts.models import User
    from privategpt.retrieval.embedding_process import Embedded

LEASE = timedelta(seconds=30)  # a worker that was silent for so long has lost its source
ATTEMPTS = 5
PAUSES = (1, 5, 15, 30)  # seconds before the next attempt at a source
AT_ONCE = 500  # rows in one statement
MARKED_AT_ONCE = 25  # sources in one transaction: SQLite writes the whole row anew, with its text
CLAIM = ("claimed_by", "claimed_until", "attempts")
LONG = 300  # passages, former and new: storing, editing or deleting more than that is more than one transaction
CUTTING = "cutting "  # holds a source whose text is newer than its passages
AGAIN = "vectorize again"  # holds a source while its vectors go
FORGOTTEN = "The worker ended each time that it was at work on this source; edit or store it again to try anew."

State = Source.State


class GroupGone(Exception):
    """A group that was named has been deleted meanwhile; nothing was saved."""


class SourceGone(Exception):
    """The source has been deleted meanwhile."""


class StoringLost(IntegrityError):
    """Storing stood still for so long that what there was of the source has been swept away."""


# -- storing --------------------------------------------------------------------------------------


def store(
    creator: User | None,
    *,
    title: str,
    content: str,
    groups: Collection[Group],
    public: bool,
    source_id: UUID | None = None,
    cut: Cut | None = None,
) -> Source:
    """Saves a source; it is found by its words when this returns. Raises GroupGone, Unstorable.

    Who calls it inside a transaction makes the `cut` before that begins.
    """
    if cut is None or (cut.title, cut.content) != (title, content):
        cut = prepare(title, content)
    with laid_down(creator, cut, source_id) as laid:
        return publish(laid, groups=groups, public=public)


@dataclass(frozen=True, slots=True)
class Laid:
    """A source that is about to be published. Its passages are there already if it has a mark."""

    creator: User | None
    cut: Cut
    pk: UUID
    mark: str


@contextlib.contextmanager
def laid_down(creator: User | None, cut: Cut, source_id: UUID | None = None) -> Iterator[Laid]:
    """Stores the passages of a long text in steps, for `publish`; what is not published goes again.

    Until then it counts as deleted, and is swept away when the process dies. Raises Unstorable.
    """
    mark = f"{STORING}{uuid4().hex}" if len(cut.drafts) > LONG else ""
    laid = Laid(creator, cut, source_id or uuid4(), mark)
    if source_id:  # the rest of a former one under this id
        steps.end((Source.objects.doomed() | Source.objects.on_their_way()).filter(pk=source_id))
    try:
        if mark:
            _lay_down(laid)
        yield laid
    finally:
        if mark:
            _drop(laid)


def _lay_down(laid: Laid) -> None:
    source = _begun(laid)
    for step in (*index().steps(source, laid.cut), *_text_of(laid)):
        if not _one_step(_on_its_way(laid), step, deleted_at=timezone.now()):
            raise StoringLost


def _text_of(laid: Laid) -> list[Callable[[], object]]:
    """In SQLite none: whoever changes a row writes it anew, so the text comes with what else `publish` has to write."""
    is_whole_row = connection.vendor == "sqlite"
    return [] if is_whole_row else [lambda: Source.objects.filter(pk=laid.pk).update(content=laid.cut.content)]


@unit
def _begun(laid: Laid) -> Source:
    """The row, whose text comes last."""
    cut, now = laid.cut, timezone.now()
    source = Source(pk=laid.pk, creator=laid.creator, title=cut.title, language=cut.language)
    source.deleted_at, source.claimed_by = now, laid.mark
    with transaction_in_turn():
        check_room(laid.creator, len(cut.drafts), sources=1)
        source.save(force_insert=True)
    return source


def _on_its_way(laid: Laid) -> models.QuerySet[Source]:
    return Source.objects.filter(pk=laid.pk, claimed_by=laid.mark, deleted_at__gt=timezone.now() - UNDO)


@unit
def publish(laid: Laid, *, groups: Collection[Group], public: bool) -> Source:
    """From now on it is there, for its readers and the worker. Raises GroupGone, TooMuch, StoringLost."""
    cut = laid.cut
    with transaction_in_turn():
        if laid.mark:
            source = _on_its_way(laid).select_for_update().defer("content").first()
            if source is None or source.passages.count() != len(cut.drafts):
                raise StoringLost
        else:
            source = Source(pk=laid.pk, creator=laid.creator, title=cut.title)
        check_room(laid.creator, len(cut.drafts), sources=1)
        source.content, source.is_public, source.deleted_at = cut.content, public, None
        source.created_at = timezone.now()
        if not laid.mark:
            source.save(force_insert=True)
            for step in index().steps(source, cut):
                step()
        _set_groups(source, groups)
        index().count(source, cut)
        _settle(source, *_fields_of(laid))
    return source


def _fields_of(laid: Laid) -> Sequence[str]:
    """What `publish` changes in a row that is there already."""
    text = [] if _text_of(laid) else ["content"]
    return [*text, "is_public", "deleted_at", "created_at", "updated_at"] if laid.mark else []


def _drop(laid: Laid) -> None:
    """Unless it was published. Where this fails too, it goes like one whose process died."""
    with contextlib.suppress(DatabaseError):
        if unit(Source.objects.filter(pk=laid.pk, claimed_by=laid.mark).end)():
            sweeping.soon()


def prepare(title: str, content: str) -> Cut:
    """The text in passages, for `store`. Raises Unstorable."""
    check(title)
    check_content(content)
    return cut_text(title, content)


def edit(
    source: Source, *, title: str | None = None, content: str | None = None, groups: Collection[Group] | None = None
) -> None:
    """Changes what is given; `groups` empty makes it public. Only passages that changed are embedded again.

    Raises SourceGone, GroupGone, Unstorable.
    """
    check(title or "")
    check_content(content or "")
    while True:
        cut = _cut_anew(source, title, content)
        with contextlib.suppress(_Outdated):
            mark = _save_edit(source, title, content, groups, cut)
            break
    if mark and cut:
        _cut_in_steps(source, cut, mark)


class _Outdated(Exception):
    """Somebody else has edited the source since it was cut; it is cut anew, outside of the transaction."""


@unit
def _save_edit(
    source: Source, title: str | None, content: str | None, groups: Collection[Group] | None, cut: Cut | None
) -> str:
    """Saves what is given; of a long text the passages are yet to come, under the mark that is returned."""
    with transaction_in_turn():
        current = Source.objects.not_deleted().select_for_update().filter(pk=source.pk).first()
        if current is None:
            raise SourceGone
        if cut and len(cut.drafts) > current.passages_total:
            check_room(current.creator, len(cut.drafts) - current.passages_total)
        source.title = current.title if title is None else title
        source.content = current.content if content is None else content
        source.is_public = current.is_public if groups is None else not groups
        if groups is not None:
            _set_groups(source, groups)
        if (source.title, source.content) != (current.title, current.content) and not (cut and cut.is_of(source)):
            raise _Outdated
        changed = [name for name in ("title", "content") if getattr(source, name) != getattr(current, name)]
        fields = [*changed, "is_public", "updated_at"]
        is_cut = bool(changed) or (cut is not None and _is_given_up(current))
        if is_cut and cut and len(cut.drafts) + current.passages_total > LONG:
            return _hold_for_cutting(source, fields)
        source.save(update_fields=fields)
        if is_cut:
            index().store(source, cut)
            _settle(source)
        return ""


def _is_given_up(source: Source) -> bool:
    """Whether an edit of it was killed as often as it was tried: the text stands, the passages are of before."""
    return source.state == State.ERROR and source.claimed_by.startswith(CUTTING)


def _hold_for_cutting(source: Source, fields: Sequence[str]) -> str:
    """Saves the text, whose passages are still those of the former one: nobody else is to work on them."""
    mark = f"{CUTTING}{uuid4().hex}"
    source.state, source.state_reason, source.attempts = State.CREATION, "", 0
    source.claimed_by, source.claimed_until = mark, timezone.now() + LEASE
    source.save(update_fields=[*fields, *CLAIM, "state", "state_reason"])
    return mark


def _cut_in_steps(source: Source, cut: Cut, mark: str) -> None:
    """Brings the passages of a long text to its present state. Ends when a later edit has taken over.

    Killed in between, the worker goes on: see `finish_edit`.
    """

    def last() -> None:
        index().count(source, cut)
        _settle(source)

    mine = Source.objects.not_deleted().filter(pk=source.pk, claimed_by=mark)
    for step in (*index().steps(source, cut), last):
        if not _one_step(mine, step, claimed_until=timezone.now() + LEASE):
            return


def _one_step(mine: models.QuerySet[Source], step: Callable[[], object], **renewed: datetime) -> bool:
    """False when the source is not held any more."""
    began = time.monotonic()
    is_mine = _step(mine, step, renewed)
    give_way(time.monotonic() - began)
    return is_mine


@unit
def _step(mine: models.QuerySet[Source], step: Callable[[], object], renewed: dict[str, datetime]) -> bool:
    with transaction_in_turn():
        if not mine.update(**renewed):
            return False
        step()
    return True


def _cut_anew(source: Source, title: str | None, content: str | None) -> Cut | None:
    """What the edited text falls into, when it becomes another one, or has not its passages yet."""
    row = Source.objects.not_deleted().filter(pk=source.pk).only("title", "content", "state", *CLAIM).first()
    if row is None:
        raise SourceGone
    wanted = (row.title if title is None else title, row.content if content is None else content)
    if wanted == (row.title, row.content) and not _is_given_up(row):
        return None
    known = Passage.objects.filter(source=source.pk).order_by().values_list("digest", flat=True)
    return cut_text(*wanted, known={bytes(digest) for digest in known})


@unit
def delete(*sources: Source) -> None:
    """Out of everybody's sight when this returns, and never to be brought back; the rows go step by step."""
    for some in _few(sorted(source.pk for source in sources)):
        with transaction_in_turn():
            Source.objects.filter(pk__in=some).end()
    sweeping.soon()


def _few(pks: Sequence[UUID]) -> Iterator[list[UUID]]:
    """So many that changing their rows, with all their texts, is one short transaction; a long one comes alone."""
    for portion in steps.portions(pks, MARKED_AT_ONCE):
        sizes = dict(Source.objects.filter(pk__in=portion).order_by().values_list("pk", "passages_total"))
        some: list[UUID] = []
        for pk in portion:
            if some and sum(sizes.get(each, 0) for each in (*some, pk)) > LONG:
                yield some
                some = []
            some.append(pk)
        yield some


@unit
def put_aside(source: Source) -> None:
    """Deletes it for every reader at once, and for good after UNDO."""
    Source.objects.filter(pk=source.pk, deleted_at=None).update(deleted_at=timezone.now())


@unit
def bring_back(source: Source) -> bool:
    """Undoes `put_aside`; False when it is too late."""
    recent = Source.objects.filter(pk=source.pk, deleted_at__gt=timezone.now() - UNDO)
    return bool(recent.exclude(claimed_by__startswith=STORING).update(deleted_at=None))


@unit
def try_again(source: Source) -> None:
    """A source that failed goes back to the worker."""
    with transaction_in_turn():
        row = _locked().filter(pk=source.pk, state=State.ERROR, deleted_at=None).first()
        if row:
            _release(row, State.CREATION, mark=row.claimed_by if row.claimed_by.startswith(CUTTING) else "")


def vectorize_again(source: Source) -> None:
    """Its vectors go and are made anew; until then it is found by its words. Whoever is at work on it has lost it."""
    held = Source.objects.not_deleted().filter(pk=source.pk)
    until = timezone.now() + LEASE
    whole = held.exclude(claimed_by__startswith=CUTTING)
    if not whole.update(state=State.PROCESSING, claimed_by=AGAIN, claimed_until=until, passages_done=0):
        try_again(source)  # an edit is under way, or was given up: its passages come first
        return
    steps.end(Vector.objects.filter(passage__source=source.pk))
    held.filter(claimed_by=AGAIN).update(
        state=State.CREATION, state_reason="", claimed_by="", claimed_until=None, attempts=0
    )


def _locked() -> models.QuerySet[Source]:
    """Rows that nobody else changes before this transaction ends, without their text."""
    return Source.objects.select_for_update().defer("content")


def _set_groups(source: Source, groups: Collection[Group]) -> None:
    # All in or all out: a group that was deleted since it was looked up takes the source with it,
    # and one that is being deleted waits for this, or this for its end.
    wanted = {group.pk for group in groups}
    there = Group.objects.select_for_update(no_key=True).filter(pk__in=wanted).order_by("pk")
    if wanted - set(there.values_list("pk", flat=True)):
        raise GroupGone
    source.groups.set(wanted)


def _settle(source: Source, *also: str) -> None:
    """The state of a source that was just indexed; whoever had claimed its former text has lost it."""
    is_done = source.passages_done >= source.passages_total
    _release(source, State.VECTORIZED if is_done else State.CREATION, "", *COUNTED, *also)


# -- the worker's side ----------------------------------------------------------------------------


class ClaimLost(Exception):
    """The source was edited, deleted, or taken up by another worker."""


def is_waiting() -> bool:
    """Whether there is a source to claim."""
    return _waiting(timezone.now()).exists()


def is_unfinished() -> bool:
    """Whether any source still lacks vectors and is not given up."""
    return Source.objects.not_deleted().filter(state__in=[State.CREATION, State.PROCESSING]).exists()


@unit
def claim(worker: str, turns: Turns | None = None) -> Source | None:
    """The source whose turn it is, or that has waited longest, now this worker's; None when nothing is to be done.

    One that was taken up too often comes back unclaimed, in `error`.
    """
    with transaction_in_turn():
        now = timezone.now()
        plain = waiting = _waiting(now).order_by("updated_at").defer("content")
        # Two workers at once: each takes another one. SQLite has one writer, and knows no such locks.
        if connection.features.has_select_for_update_skip_locked:
            waiting = waiting.select_for_update(skip_locked=True)
        source = turns.pick(plain, waiting) if turns else waiting.first()
        if source is None:
            return None
        source.attempts += 1
        if source.attempts > ATTEMPTS:
            # It took its workers with it, so that none came to say why.
            _release(source, State.ERROR, FORGOTTEN)
            return source
        source.state, source.state_reason = State.PROCESSING, ""
        source.claimed_by, source.claimed_until = worker, now + LEASE
        source.save(update_fields=[*CLAIM, "state", "state_reason"])
    return source


def finish_edit() -> bool:
    """Goes on with a long edit whose process was killed; False when there is none. Takes no embedder."""
    found = _take_edit()
    if found is None:
        return False
    source, mark = found
    if mark:
        _cut_in_steps(source, cut_text(source.title, source.content), mark)
    return True


@unit
def _take_edit() -> tuple[Source, str] | None:
    """The source and the mark that now holds it; no mark when it is given up."""
    with transaction_in_turn():
        now = timezone.now()
        waiting = _free(now).filter(claimed_by__startswith=CUTTING).order_by("updated_at").defer("content")
        if connection.features.has_select_for_update_skip_locked:
            waiting = waiting.select_for_update(skip_locked=True)
        source = waiting.first()
        if source is None:
            return None
        source.attempts += 1
        if source.attempts > ATTEMPTS:
            _release(source, State.ERROR, FORGOTTEN, mark=source.claimed_by)  # its passages are still to be made
            return source, ""
        source.claimed_by, source.claimed_until = f"{CUTTING}{uuid4().hex}", now + LEASE
        source.save(update_fields=CLAIM)
        return source, source.claimed_by


def _free(now: datetime) -> models.QuerySet[Source]:
    """Unfinished sources that nobody is at work on."""
    # Far later than any claim lasts: the clock was set back since. A little later is one that was just made.
    is_free = Q(claimed_until=None) | Q(claimed_until__lte=now) | Q(claimed_until__gt=now + 2 * LEASE)
    return Source.objects.not_deleted().filter(is_free, state__in=[State.CREATION, State.PROCESSING])


def _waiting(now: datetime) -> models.QuerySet[Source]:
    """Those of them that have all their passages, and lack vectors."""
    return _free(now).exclude(claimed_by__startswith=CUTTING)


def missing(source: Source, embedder: str, limit: int) -> list[Passage]:
    """The first passages of the source that this embedder has yet to embed."""
    rows = Passage.objects.filter(source=source.pk).without_vector(embedder)
    return list(rows.select_related("source").defer("source__content")[:limit])


def is_whole(source: Source, embedder: str) -> bool:
    """Whether no passage lacks its vector: then only `finish` is left to do."""
    return not Passage.objects.filter(source=source.pk).without_vector(embedder).exists()


@unit
def keep(source: Source, worker: str, passages: Sequence[Passage], vectors: Embedded) -> None:
    """Saves one batch and how far it brought the source. Raises ClaimLost."""
    with transaction_in_turn():
        _hold(source, worker, attempts=0)
        # An edit may have taken passages away while they were being embedded.
        alive = set(Passage.objects.filter(pk__in=[row.pk for row in passages]).values_list("pk", flat=True))
        pairs = zip(passages, packed(vectors.rows), strict=True)
        rows = [Vector(passage=row, embedder=vectors.identity, data=data) for row, data in pairs if row.pk in alive]
        index().keep(rows)
        done = Passage.objects.filter(source=source.pk, vectors__embedder=vectors.identity).count()
        Source.objects.filter(pk=source.pk).update(passages_done=done)


@unit
def finish(source: Source, worker: str, embedder: str) -> bool:
    """All passages have vectors: those of former embedders go. False when a passage lacks one. Raises ClaimLost."""
    with transaction_in_turn():
        _hold(source, worker)
        if missing(source, embedder, 1):
            return False
        source.passages_done = Passage.objects.filter(source=source.pk).count()
        _release(source, State.VECTORIZED, "", "passages_done")
    steps.end(Vector.objects.filter(passage__source=source.pk).exclude(embedder=embedder))
    return True


def renew(source: Source, worker: str) -> None:
    """The worker's heartbeat. Raises ClaimLost."""
    _hold(source, worker)


def give_back(source: Source, worker: str) -> None:
    """The worker ends in order: the next one goes on, and this attempt does not count."""
    fewer = Greatest(models.F("attempts") - 1, 0)
    Source.objects.filter(pk=source.pk, claimed_by=worker).update(claimed_by="", claimed_until=None, attempts=fewer)


@unit
def fail(source: Source, worker: str, reason: str) -> None:
    """An attempt that did not succeed: the next one comes after a pause, the last one ends in `error`."""
    with transaction_in_turn():
        row = _locked().filter(pk=source.pk, claimed_by=worker).first()
        if row is None:
            return
        if row.attempts >= ATTEMPTS:
            _release(row, State.ERROR, reason)
            return
        pause = PAUSES[min(row.attempts, len(PAUSES)) - 1]
        row.claimed_by, row.claimed_until = "", timezone.now() + timedelta(seconds=pause)
        row.state_reason = f"{reason} It is tried again."
        row.save(update_fields=[*CLAIM, "state_reason"])


def explain_wait(reason: str) -> None:
    """Says at every waiting source why its vectors do not come."""
    waiting = _waiting(timezone.now()).exclude(state_reason=reason)
    pks = list(waiting.values_list("pk", flat=True)[:AT_ONCE])
    for some in _few(pks):
        Source.objects.filter(pk__in=some).update(state_reason=reason)


def reindex(embedder: str) -> int:
    """Sends every source that lacks vectors of this embedder back to the worker. Returns how many."""
    vectorless = Passage.objects.filter(source=OuterRef("pk")).without_vector(embedder).order_by()
    done = Source.objects.not_deleted().filter(Exists(vectorless), state__in=[State.VECTORIZED, State.ERROR])
    pks = list(done.exclude(claimed_by__startswith=CUTTING).order_by().values_list("pk", flat=True))
    for some in _few(pks):
        Source.objects.filter(pk__in=some).update(
            state=State.CREATION, state_reason="", attempts=0, claimed_by="", claimed_until=None, passages_done=0
        )
    return len(pks)


def _hold(source: Source, worker: str, **also: int) -> None:
    mine = Source.objects.filter(pk=source.pk, claimed_by=worker)
    if not mine.update(claimed_until=timezone.now() + LEASE, **also):
        raise ClaimLost


def _release(source: Source, state: Source.State, reason: str = "", *also: str, mark: str = "") -> None:
    """In one statement, with what else is to be saved: SQLite writes the row anew, with its text.

    `mark`: of an edit that is still to be finished.
    """
    source.state, source.state_reason = state, reason
    source.claimed_by, source.claimed_until, source.attempts = mark, None, 0
    source.save(update_fields=[*CLAIM, "state", "state_reason", *also])
