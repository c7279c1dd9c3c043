"""What happened, counted by the hour: questions, waits, failures, sources, and what agents answered.

Hours that are over are rolled up into rows by the worker; the hour at hand is counted when somebody looks.
So a chat that is deleted later stays counted, and no look reads more than two hours of messages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone

from accounts.units import unit
from privategpt.models import Hour, Message, Source
from privategpt.writing import transaction_in_turn

HOUR = timedelta(hours=1)
SETTLED = timedelta(minutes=15)  # after an hour's end most of its answers have ended as well
AT_ONCE = 48  # hours in one roll-up: a first one over months goes on at the next look
KEPT = timedelta(days=400)
LOOKED_BACK = timedelta(days=31)  # as far as the first roll-up reads, and as any plot shows
STEP = 1.05  # from bin to bin: a wait is known to three per cent


@dataclass(slots=True)
class Tally:
    """The figures of one span. `waits` counts bins, see `bin_of`."""

    questions: int = 0
    complete: int = 0
    failed: int = 0
    cited: int = 0
    sources: int = 0
    passages: int = 0
    asks: int = 0
    asks_failed: int = 0
    waits: Counter[int] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.waits.update(other.waits)

    def wait(self, share: float) -> float | None:
        """Seconds within which this share of the answers began; None when there was none."""
        left = math.ceil(self.waits.total() * share)
        for number in sorted(self.waits):
            left -= self.waits[number]
            if left <= 0:
                return float(STEP ** (number - 0.5) / 1000)
        return None


COUNTED = ("questions", "complete", "failed", "cited", "sources", "passages", "asks", "asks_failed")


def bin_of(milliseconds: float) -> int:
    """Waits between two powers of STEP share a bin, so hours can be added up and still have a median."""
    return math.ceil(math.log(max(milliseconds, 1.0)) / math.log(STEP))


def hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


# -- looking --------------------------------------------------------------------------------------


def hours(since: datetime) -> dict[datetime, Tally]:
    """Every hour from `since` on in which something happened. Three queries, whatever there is."""
    found: dict[datetime, Tally] = {}
    rolled = since - HOUR
    for row in Hour.objects.filter(at__gte=since):
        found[row.at] = _tally(row)
        if row.is_complete:
            rolled = max(rolled, row.at)
    for at, live in _counted(max(since, rolled + HOUR), None).items():
        found.setdefault(at, Tally()).add(live)
    return found


def _tally(row: Hour) -> Tally:
    figures = {name: getattr(row, name) for name in COUNTED}
    return Tally(**figures, waits=Counter({int(number): count for number, count in row.waits.items()}))


def _counted(since: datetime, until: datetime | None) -> dict[datetime, Tally]:
    """Out of the rows themselves; two queries."""
    found: dict[datetime, Tally] = {}
    span: dict[str, Any] = {"created_at__gte": since} | ({"created_at__lt": until} if until else {})
    rows = Message.objects.filter(**span).order_by()
    for created, state, first, cited in rows.values_list("created_at", "state", "trace__times__first", "trace__cited"):
        _note(found.setdefault(hour_of(created), Tally()), state, first, bool(cited))
    there = Source.objects.exclude(pk__in=Source.objects.on_their_way())
    stored = there.filter(**span).order_by().annotate(hour=TruncHour("created_at", tzinfo=UTC))
    for hour, sources, passages in stored.values_list("hour").annotate(Count("pk"), Sum("passages_total")):
        tally = found.setdefault(hour, Tally())
        tally.sources, tally.passages = sources, passages or 0
    return found


def _note(tally: Tally, state: str, first: float | None, cited: bool) -> None:
    tally.questions += 1
    tally.complete += state == Message.State.COMPLETE
    tally.failed += state == Message.State.FAILED
    tally.cited += cited and state == Message.State.COMPLETE
    if isinstance(first, int | float):
        tally.waits[bin_of(first)] += 1


def sum_of(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


# -- keeping --------------------------------------------------------------------------------------


@unit
def roll_up(now: datetime | None = None) -> int:
    """Keeps the figures of hours that are over, at most AT_ONCE of them. Returns how many."""
    end = hour_of((now or timezone.now()) - SETTLED)
    begin = _next_hour(end)
    if begin is None or begin >= end:
        return 0
    end = min(end, begin + AT_ONCE * HOUR)
    counted = _counted(begin, end)
    with transaction_in_turn():
        rows = [_row(at, counted.get(at, Tally())) for at in _each_hour(begin, end)]
        written = ("is_complete", "questions", "complete", "failed", "cited", "waits", "sources", "passages")
        Hour.objects.bulk_create(rows, update_conflicts=True, unique_fields=["at"], update_fields=written)
        Hour.objects.filter(at__lt=end - KEPT).delete()
    return len(rows)


def _next_hour(end: datetime) -> datetime | None:
    """The first that is not rolled up; None as long as nothing ever happened."""
    last: datetime | None = Hour.objects.filter(is_complete=True).aggregate(last=Max("at"))["last"]
    if last:
        return last + HOUR
    begins = [model.objects.aggregate(first=Min("created_at"))["first"] for model in (Message, Source)]
    known = [moment for moment in begins if moment]
    return max(hour_of(min(known)), end - LOOKED_BACK) if known else None


def _each_hour(begin: datetime, end: datetime) -> Iterator[datetime]:
    while begin < end:
        yield begin
        begin += HOUR


def _row(at: datetime, tally: Tally) -> Hour:
    figures = {name: getattr(tally, name) for name in COUNTED}
    return Hour(at=at, is_complete=True, waits={str(number): count for number, count in tally.waits.items()}, **figures)


@unit
def note_asks(served: int, failed: int, now: datetime | None = None) -> None:
    """What agents did since the last look belongs to the hour at hand. The arguments are their sums of all time."""
    last = Hour.objects.exclude(served_before=None).order_by("-at").first()
    if last and (last.served_before, last.failed_before) == (served, failed):
        return
    with transaction_in_turn():
        last = Hour.objects.select_for_update().exclude(served_before=None).order_by("-at").first()
        row = Hour.objects.get_or_create(at=hour_of(now or timezone.now()))[0]
        if last:
            # An agent that was forgotten takes its figures with it: the sums may sink.
            row.asks += max(0, served - (last.served_before or 0))
            row.asks_failed += max(0, failed - (last.failed_before or 0))
        row.served_before, row.failed_before = served, failed
        row.save(update_fields=["asks", "asks_failed", "served_before", "failed_before"])


def shares(total: Tally) -> tuple[float | None, float | None]:
    """Of the questions that ended by themselves, how many were answered; of those, how many with a source."""
    ended = total.complete + total.failed
    return (total.complete / ended if ended else None, total.cited / total.complete if total.complete else None)
