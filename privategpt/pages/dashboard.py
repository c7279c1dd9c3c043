"""The dashboard: what happened in the last day, week or month, as plots, and what there is now. For administrators."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from shutil import disk_usage
from tomllib import loads
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Count, QuerySet, Sum
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.models import User
from privategpt import figures, health
from privategpt.figures import COUNTED, HOUR, Tally
from privategpt.llm.relay_status import status
from privategpt.models import Source
from privategpt.pages import plots
from privategpt.pages.partnames import named
from privategpt.pages.plots import Plot
from privategpt.pages.shell import UserRequest

FAILING = 5  # sources that are named
State = Source.State


@dataclass(frozen=True, slots=True)
class Period:
    """`step` hours make one bar; there are `bars` of them, and every `mark`-th beginning is named."""

    name: str
    title: Any
    step: int
    bars: int
    mark: int

    def begins(self, now: datetime) -> list[datetime]:
        """The bars' beginnings in the reader's own hours and days; the last bar is the one at hand."""
        local = timezone.localtime(now).replace(minute=0, second=0, microsecond=0)
        if self.step > 1:
            local = local.replace(hour=local.hour - local.hour % self.step)
        days, hours = divmod(self.step, 24)
        # By the clock on the wall: a day of 23 hours is one bar as well.
        return [local - place * timedelta(days=days, hours=hours) for place in range(self.bars - 1, -1, -1)]


PERIODS = (
    Period("day", _("24 hours"), 1, 24, 6),
    Period("week", _("7 days"), 6, 28, 4),
    Period("month", _("30 days"), 24, 30, 7),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, its figure and what both say; `sentence` is for who does not see it."""

    title: str
    figure: str
    words: str
    sentence: str
    kind: str
    plot: Plot
    is_empty: bool


@require_safe
@login_required
def dashboard(request: UserRequest) -> HttpResponse:
    _admit(request.user)
    period = _period(request)
    begins = period.begins(timezone.now())
    spans = _spans(begins)
    shown = {
        "here": "dashboard",
        "period": period,
        "periods": PERIODS,
        "now": timezone.localtime(),
        "format": gettext("l j F Y"),
        "happened": _happened(figures.sum_of(spans)),
        "totals": _totals(),
        "figures": _figures(period, begins, spans),
        "broken": _broken(),
        **_failing(request.user),
    }
    return render(request, "dashboard.html", shown)


@require_safe
@login_required
def as_csv(request: UserRequest) -> HttpResponse:
    """The figures behind the plots: numbers and moments alone, so no cell can begin a formula."""
    _admit(request.user)
    period = _period(request)
    begins = period.begins(timezone.now())
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="figures-{period.name}.csv"'
    rows = csv.writer(response)
    rows.writerow(["from", *COUNTED, "wait_median_seconds", "wait_p95_seconds"])
    for begin, tally in zip(begins, _spans(begins), strict=True):
        waits = [f"{wait:.2f}" if (wait := tally.wait(share)) is not None else "" for share in (0.5, 0.95)]
        rows.writerow([begin.isoformat(), *(getattr(tally, name) for name in COUNTED), *waits])
    return response


def _broken() -> list[str]:
    """Parts that should do their work and do not, by their names."""
    return [named(part) for part in health.broken()]


def may_see(user: User) -> bool:
    return user.is_staff and user.has_perm("privategpt.view_dashboard")


def _admit(user: User) -> None:
    if not may_see(user):
        raise Http404


def _period(request: UserRequest) -> Period:
    return next((period for period in PERIODS if period.name == request.GET.get("period")), PERIODS[0])


def _spans(begins: Sequence[datetime]) -> list[Tally]:
    spans = [Tally() for _ in begins]
    # Hours of UTC begin within local ones where clocks differ by half an hour.
    for at, tally in figures.hours(begins[0] - HOUR).items():
        if place := bisect_right(begins, at):
            spans[place - 1].add(tally)
    return spans


# -- the plots ------------------------------------------------------------------------------------


def _figures(period: Period, begins: Sequence[datetime], spans: Sequence[Tally]) -> list[Figure]:
    moments = [_moment(period, begins[n]) if n % period.mark == 0 else "" for n in range(len(begins))]
    moments = [*moments, ""]  # the end of the last bar
    return [
        _questions(period, begins, spans, moments),
        _waits(spans, moments),
        _failures(period, begins, spans, moments),
        _taken_in(spans, moments),
    ]


def _moment(period: Period, moment: datetime) -> str:
    # Translators: the name of a day at a plot's axis, in Django's date format.
    return date_format(moment, "H:i" if period.step == 1 else gettext("j M"))


def _peak(period: Period, begins: Sequence[datetime], counts: Sequence[int]) -> str:
    """When the most happened."""
    place = counts.index(max(counts))
    pattern = {1: "H:i", 6: gettext("j M, H:i")}.get(period.step, gettext("j M"))
    return date_format(begins[place], pattern)


def _questions(period: Period, begins: Sequence[datetime], spans: Sequence[Tally], moments: list[str]) -> Figure:
    counts = [span.questions for span in spans]
    words = ""
    if any(counts):
        said = {"most": _whole(max(counts)), "when": _peak(period, begins, counts)}
        words = gettext("at most %(most)s in one bar, from %(when)s") % said
    title, total = gettext("Questions"), _whole(sum(counts))
    plot = plots.bars(counts, moments, _whole)
    return Figure(title, total, words, _sentence(gettext("Bars"), title, total, words), "bar1", plot, not any(counts))


def _waits(spans: Sequence[Tally], moments: list[str]) -> Figure:
    total = figures.sum_of(spans)
    half, most = total.wait(0.5), total.wait(0.95)
    title, words, figure = gettext("Wait for the first word"), "", _seconds(half)
    if most is not None:
        words = gettext("or less for half of the questions; dashed: for 19 of 20, %(most)s") % {"most": _seconds(most)}
    halves, mosts = [span.wait(0.5) for span in spans], [span.wait(0.95) for span in spans]
    plot = plots.lines(halves, moments, _axis_seconds, dashed=mosts, least=0.2)
    return Figure(title, figure, words, _sentence(gettext("Lines"), title, figure, words), "", plot, most is None)


def _failures(period: Period, begins: Sequence[datetime], spans: Sequence[Tally], moments: list[str]) -> Figure:
    counts = [span.failed for span in spans]
    agents = sum(span.asks_failed for span in spans)
    parts = []
    if any(counts):
        parts.append(gettext("most from %(when)s") % {"when": _peak(period, begins, counts)})
    if agents:
        said = ngettext("agents failed %(n)s ask", "agents failed %(n)s asks", agents)
        parts.append(said % {"n": _whole(agents)})
    title, total, words = gettext("Failures"), _whole(sum(counts)), "; ".join(parts)
    plot = plots.bars(counts, moments, _whole)
    return Figure(title, total, words, _sentence(gettext("Bars"), title, total, words), "bar2", plot, not any(counts))


def _taken_in(spans: Sequence[Tally], moments: list[str]) -> Figure:
    counts, sources = [span.passages for span in spans], sum(span.sources for span in spans)
    words = ngettext("passages of %(n)s new source", "passages of %(n)s new sources", sources) % {"n": _whole(sources)}
    title, total = gettext("Sources taken in"), _whole(sum(counts))
    plot = plots.lines(counts, moments, _whole, is_filled=True)
    return Figure(title, total, words, _sentence(gettext("Area"), title, total, words), "", plot, not any(counts))


def _sentence(kind: str, title: str, figure: str, words: str) -> str:
    return f"{kind}: {title}, {figure} {words}".rstrip()


def _whole(value: float) -> str:
    return number_format(round(value), use_l10n=True, force_grouping=True)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{number_format(value, 2 if value < 1 else 1)} s"  # noqa: RUF001


def _axis_seconds(value: float) -> str:
    places = 0 if value == int(value) else 1 if round(value, 1) == round(value, 3) else 2
    return f"{number_format(value, places)} s"


# -- what there is --------------------------------------------------------------------------------


def _happened(total: Tally) -> list[tuple[str, str]]:
    answered, cited = figures.shares(total)
    return [
        (gettext("Questions"), _whole(total.questions)),
        (gettext("Answered"), _percent(answered)),
        (gettext("Cited a source"), _percent(cited)),
        (gettext("Answered by agents"), _whole(total.asks)),
    ]


def _percent(share: float | None) -> str:
    # Rounded down: 100 % is what it says.
    return "–" if share is None else f"{number_format(int(share * 1000) / 10, 1)} %"  # noqa: RUF001


def _totals() -> list[tuple[str, str]]:
    people = User.objects.filter(is_active=True).exclude(email=None).count()
    states = Source.objects.kept().order_by().values_list("state").annotate(Count("pk"), Sum("passages_total"))
    found = {state: (count, passages or 0) for state, count, passages in states}
    sources, passages = (sum(each[place] for each in found.values()) for place in (0, 1))
    said = {"ready": _whole(found.get(State.VECTORIZED, (0, 0))[0]), "all": _whole(sources)}
    moving = sum(found.get(state, (0, 0))[0] for state in (State.CREATION, State.PROCESSING))
    agents = status().agents
    return [
        (gettext("People"), _whole(people)),
        (gettext("Sources ready"), gettext("%(ready)s of %(all)s") % said),
        *([(gettext("Sources under way"), _whole(moving))] if moving else []),
        (gettext("Passages"), _whole(passages)),
        (gettext("Agents now"), _whole(len(agents))),
        (gettext("Disk used, free"), _disk()),
        (gettext("Version"), version()),
    ]


def _disk() -> str:
    """Of the data folder and its file system."""
    folder = Path(settings.DATA_DIR)
    sizes = []
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size if path.is_file() else 0)
        except OSError:  # it has just gone
            continue
    try:
        free = disk_usage(folder).free
    except OSError:
        return _bytes(sum(sizes))
    return f"{_bytes(sum(sizes))}, {_bytes(free)}"


def _bytes(count: int) -> str:
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    return f"{number_format(count / unit, 1 if count < 100 * unit else 0)} {name}"


@cache
def version() -> str:
    try:
        found = loads((Path(settings.BASE_DIR) / "pyproject.toml").read_text())
    except (OSError, ValueError):
        return "–"  # noqa: RUF001
    return str(found.get("project", {}).get("version", "–"))  # noqa: RUF001


def _failing(user: User) -> dict[str, Any]:
    """Sources that failed, newest first: titles only of those that the reader may read, or administer."""
    failed: QuerySet[Source] = Source.objects.kept().filter(state=State.ERROR)
    named = failed if user.is_superuser else failed.filter(pk__in=Source.objects.visible_to(user).values("pk"))
    listed = named.order_by("-updated_at").only("title", "state_reason", "updated_at")
    return {"failing": list(listed[:FAILING]), "failing_count": failed.count()}
