"""Health: how every part stands, what waits, space and backup, each with what to do. For who sees the dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from privategpt import health
from privategpt.health import Place, Work
from privategpt.llm import relay_status
from privategpt.pages.dashboard import may_see
from privategpt.pages.partnames import named
from privategpt.pages.shell import UserRequest
from privategpt.serving.parts import DOWN, ENDED, SILENT, STARTING, UNREACHABLE, UP, Part

GOOD, WATCH, BAD, QUIET = "on", "busy", "bad", "off"  # how a finding's jack looks
OLD_SOURCE = 15 * 60.0  # seconds after which a source that is not finished is a matter for somebody
LONG_WAIT = 60.0  # the same for a question in line
LITTLE_SHARE, LITTLE_SPACE = 0.05, 2e9  # of a file system, and bytes: less than both is little
MANY_FAILED = 0.1  # of the answers of an hour

STATES: Final = {
    UP: (GOOD, _("Runs"), ""),
    STARTING: (WATCH, _("Starts"), ""),
    DOWN: (BAD, _("Down"), _("It ended and starts again by itself; the log says why it ended.")),
    SILENT: (BAD, _("Silent"), _("It gives no sign of life and is about to be started anew.")),
    UNREACHABLE: (BAD, _("Cannot be reached"), _("Look at its log, and start it again if it does not come back.")),
    ENDED: (QUIET, _("Does not run"), _("It cannot run here; the log of the start says what is missing.")),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what it is about, how it stands, and what to do."""

    jack: str
    title: Any
    figure: Any
    words: Any = ""


@require_safe
@login_required
def page(request: UserRequest) -> HttpResponse:
    if not may_see(request.user):
        raise Http404
    place, work = health.place(), health.work()
    sections = [
        (gettext("Parts"), [_part(part) for part in place.parts]),
        (gettext("Work"), list(_work(work))),
        (gettext("Machine"), list(_machine(place, work))),
    ]
    bad = sum(found.jack == BAD for _title, findings in sections for found in findings)
    shown = {"here": "dashboard", "sections": sections, "bad": bad, "now": timezone.localtime()}
    return render(request, "health.html", shown)


def _part(part: Part) -> Finding:
    jack, figure, words = STATES.get(part.state, (QUIET, part.state, ""))
    if part.restarts:
        again = ngettext("started again %(n)s time", "started again %(n)s times", part.restarts)
        figure = f"{figure}, {again % {'n': number_format(part.restarts)}}"
    return Finding(jack, named(part), figure, words)


def _work(work: Work) -> Iterator[Finding]:
    is_old = work.oldest > OLD_SOURCE
    words = gettext("The oldest made no step for %(time)s: do the worker and the embedder run?")
    yield Finding(
        BAD if is_old else WATCH if work.sources else GOOD,
        gettext("Sources under way"),
        _counted(work.sources, work.passages),
        words % {"time": span(work.oldest)} if is_old else "",
    )
    line = relay_status.line()
    yield Finding(
        BAD if line.oldest > LONG_WAIT else WATCH if line.waiting else GOOD,
        gettext("Questions in line"),
        number_format(line.waiting),
        gettext("One has waited for %(time)s: connect another agent, or let one take more at once.")
        % {"time": span(line.oldest)}
        if line.oldest > LONG_WAIT
        else "",
    )
    is_bad = work.failed_answers > MANY_FAILED * work.answers
    said = {"failed": number_format(work.failed_answers), "all": number_format(work.answers)}
    yield Finding(
        BAD if is_bad else GOOD,
        gettext("Answers that failed in the last hour"),
        gettext("%(failed)s of %(all)s") % said,
        gettext("The log names each failure; ask something yourself and see whether it is answered.") if is_bad else "",
    )
    yield Finding(
        WATCH if work.failed_sources else GOOD,
        gettext("Sources that failed"),
        number_format(work.failed_sources),
        gettext("The dashboard lists them with the reason.") if work.failed_sources else "",
    )


def _counted(sources: int, passages: int) -> str:
    if not sources:
        return number_format(0)
    said = {"n": number_format(sources), "passages": number_format(passages)}
    words = ngettext(
        "%(n)s source; passages to do: %(passages)s", "%(n)s sources; passages to do: %(passages)s", sources
    )
    return words % said


def _machine(place: Place, work: Work) -> Iterator[Finding]:
    if place.disk_free is not None and place.disk_size:
        share = place.disk_free / place.disk_size
        is_little = share < LITTLE_SHARE and place.disk_free < LITTLE_SPACE
        yield Finding(
            BAD if is_little else GOOD,
            gettext("Free space"),
            f"{number_format(place.disk_free / 1e9, 1)} GB, {number_format(share * 100, 0)} %",
            gettext("Make space: keep backups elsewhere. A full disk takes no questions and no sources.")
            if is_little
            else "",
        )
    yield _backup(health.backup_age(place, work), work.backup_error)
    if settings.REDIS_URL:
        is_cut_off = relay_status.line().is_cut_off
        yield Finding(
            BAD if is_cut_off else GOOD,
            "Redis",
            gettext("Cannot be reached") if is_cut_off else gettext("Answers"),
            gettext("Until it is back each web process has its own agents alone.") if is_cut_off else "",
        )


def _backup(age: float | None, error: str) -> Finding:
    title, command = gettext("Last backup"), "manage.py backup"
    if error:
        figure = gettext("None") if age is None else gettext("%(time)s ago") % {"time": span(age)}
        return Finding(BAD, title, figure, gettext("The last try failed: %(reason)s") % {"reason": error})
    if age is None:
        words = gettext("Make one with %(command)s, and let a timer make one every day.")
        return Finding(BAD, title, gettext("None"), words % {"command": command})
    words = gettext("Make one with %(command)s; does the timer run?") % {"command": command}
    figure = gettext("%(time)s ago") % {"time": span(age)}
    return Finding(BAD, title, figure, words) if age > health.old_backup() else Finding(GOOD, title, figure)


def span(seconds: float) -> str:
    """About how long that is."""
    count = round(seconds)
    if count < 120:
        return ngettext("%(n)s second", "%(n)s seconds", count) % {"n": number_format(count)}
    if (count := round(seconds / 60)) < 120:
        return ngettext("%(n)s minute", "%(n)s minutes", count) % {"n": number_format(count)}
    if (count := round(seconds / 3600)) < 48:
        return ngettext("%(n)s hour", "%(n)s hours", count) % {"n": number_format(count)}
    count = round(seconds / 86400)
    return ngettext("%(n)s day", "%(n)s days", count) % {"n": number_format(count)}
