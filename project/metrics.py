"""`/metrics` for Prometheus: what this process counts, and what stands in the database.

For this machine, or with `METRICS_TOKEN` as a bearer. Names, addresses and texts of people are in none of it."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.views.generic import View
from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from privategpt import desk, health, tally
from privategpt.models import Source
from privategpt.serving import parts
from project.logs import RECORDS
from relay import exchange
from relay.exchange import Exchange
from relay.loopback import is_from_here
from relay.tally import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FRESH = 5.0  # seconds that the database's figures are believed: a scrape costs one short query at the most
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
NODE = f"{socket.gethostname()}:{os.getpid()}"  # every process answers for itself

_own = CollectorRegistry()
_process = ProcessCollector(registry=None)
REQUESTS = Counter("switchboard_http_requests", "Requests that Django answered.", ["method", "status"], registry=_own)


def request_ended(method: str, status: int) -> None:
    """A request is answered; `/api/ask` has figures of its own."""
    REQUESTS.labels(method if method in METHODS else "other", str(status)).inc()


class Metrics(View):
    """The page that Prometheus reads."""

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """Strangers learn nothing: 404 where no token is set, 401 for a wrong one."""
        if not _may_read(request):
            return HttpResponse(status=401 if settings.METRICS_TOKEN else 404)
        return await self.get(request) if request.method == "GET" else HttpResponseNotAllowed(["GET"])

    async def get(self, request: HttpRequest) -> HttpResponse:
        await _stock.look()
        return HttpResponse(
            generate_latest(_everything), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"}
        )


def _may_read(request: HttpRequest) -> bool:
    shown = request.headers.get("Authorization", "")
    if settings.METRICS_TOKEN and shown[:7].lower() == "bearer ":
        return secrets.compare_digest(shown[7:].strip().encode(), settings.METRICS_TOKEN.encode())
    return bool(settings.METRICS_FROM_LOOPBACK) and is_from_here(request)


class Stock:
    """What stands in the database, read off the event loop and kept for a while."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._rows: list[tuple[str, int, int, int]] = []
        self._is_there = False
        self._work: health.Work | None = None
        self._place: health.Place | None = None

    async def look(self) -> None:
        """Reads again what has become old. A database that is away is a figure too."""
        if time.monotonic() - self._read_at < FRESH:
            return
        self._read_at = time.monotonic()  # first: those who ask meanwhile get what there is
        self._place = await asyncio.to_thread(health.place)
        try:
            look = database_sync_to_async(lambda: (_sources(), health.work()), thread_sensitive=False)
            self._rows, self._work = await look()
            self._is_there = True
        except DatabaseError:
            self._is_there = False

    def metrics(self) -> Iterator[Metric]:
        yield _gauge("database_up", "1 when the database answered at the last look.", int(self._is_there))
        sources = GaugeMetricFamily("switchboard_sources", "Sources by state.", labels=["state"])
        known = {state: count for state, count, _, _ in self._rows}
        for state in Source.State.values:
            sources.add_metric([state], known.get(state, 0))
        yield sources
        yield _gauge("passages", "Passages of all sources.", sum(row[2] for row in self._rows))
        yield _gauge("passages_embedded", "Passages that have a vector.", sum(row[3] for row in self._rows))
        yield from _work(self._work) if self._work else ()
        yield from _place(self._place) if self._place else ()
        yield from _backups(self._place, self._work)


def _work(work: health.Work) -> Iterator[Metric]:
    yield _gauge("unfinished_sources", "Sources whose vectors are not made yet.", work.sources)
    yield _gauge("backlog_passages", "Passages of theirs that have no vector yet.", work.passages)
    yield _gauge("oldest_unfinished_source_seconds", "Since the oldest of them made a step.", work.oldest)
    yield _gauge("failed_answers", "Answers in chats that failed within the last hour.", work.failed_answers)


def _place(place: health.Place) -> Iterator[Metric]:
    up = GaugeMetricFamily("switchboard_part_up", "0 while the part should do its work and does not.", labels=["part"])
    restarts = CounterMetricFamily("switchboard_part_restarts", "How often it ended by itself.", labels=["part"])
    for part in place.parts:
        if part.state == parts.ENDED:  # it is not to run here: no fault, and nothing that could come up
            continue
        up.add_metric([part.name], int(part.state not in parts.BROKEN))
        restarts.add_metric([part.name], part.restarts)
    yield up
    yield restarts
    if place.disk_free is not None:
        yield _gauge("disk_free_bytes", "Of the data folder's file system.", place.disk_free)


def _backups(place: health.Place | None, work: health.Work | None) -> Iterator[Metric]:
    age = health.backup_age(place, work)
    if age is not None:  # no backup, no figure
        yield _gauge("last_backup_age_seconds", "Since the last backup was made.", age)
    yield _gauge("backup_every_seconds", "Between two scheduled backups; 0: none is.", settings.BACKUP_EVERY * 3600)
    if work:
        yield _gauge("backup_failed", "1 when the last scheduled one could not be made.", int(bool(work.backup_error)))


def _sources() -> list[tuple[str, int, int, int]]:
    rows = Source.objects.kept().order_by().values_list("state")
    figures = rows.annotate(count=Count("pk"), all=Sum("passages_total"), done=Sum("passages_done"))
    return [(state, count, passages or 0, done or 0) for state, count, passages, done in figures]


class Everything(Collector):
    """All figures, each with the process that they are of."""

    def collect(self) -> Iterable[Metric]:
        relay = exchange.peek()
        parts = chain(
            _relay(relay) if relay else (),
            _answers(),
            tally.REGISTRY.collect(),
            _own.collect(),
            _logged(),
            _stock.metrics(),
            _process.collect(),
        )
        return map(_of_this_process, parts)


def _of_this_process(metric: Metric) -> Metric:
    metric.samples = [sample._replace(labels={**sample.labels, "node": NODE}) for sample in metric.samples]
    return metric


def _relay(relay: Exchange) -> Iterator[Metric]:
    dispatcher = relay.dispatcher
    pool, counted, agents = dispatcher.pool, dispatcher.tally, list(dispatcher.pool.agents.values())
    yield _counter("asks", "Asks to agents that have ended.", "outcome", _words(counted.outcomes))
    replies = {str(status): count for status, count in counted.replies.items()}
    yield _counter("ask_replies", "Replies to POST /api/ask.", "status", replies)
    yield _histogram("ask_wait_seconds", "In the queue, of asks that had to wait.", counted.waits)
    yield _histogram("ask_seconds", "From an ask's arrival to its end.", counted.times)
    yield _gauge("asks_under_way", "Asks that wait or are being answered.", dispatcher.asks)
    yield _gauge("queue_length", "Asks that wait for an agent.", pool.waiting.total())
    since = min((waiter.since for waiter in dispatcher.waiters), default=None)
    age = 0.0 if since is None else time.monotonic() - since
    yield _gauge("queue_age_seconds", "How long the one that waits longest has waited.", age)
    resting = sum(bool(agent.at_rest or agent.rests_until) for agent in agents)
    yield _gauges("agents", "Connected agents.", "state", {"ready": len(agents) - resting, "resting": resting})
    lines = {"busy": sum(agent.load for agent in agents), "all": sum(agent.said.concurrency for agent in agents)}
    yield _gauges("agent_lines", "Asks that agents have, and that they could have at once.", "state", lines)


def _answers() -> Iterator[Metric]:
    answers = desk.peek()
    yield _gauge(
        "answers_under_way", "Answers in chats that wait or are being made.", len(answers.running) if answers else 0
    )


def _logged() -> Iterator[Metric]:
    yield _counter(
        "log_records", "What was logged.", "level", {level.lower(): count for level, count in RECORDS.items()}
    )


def _words(names: Mapping[str, int]) -> dict[str, int]:
    """`AgentGone` as `agent_gone`."""
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): count for name, count in names.items()}


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"switchboard_{name}", says, value=value)


def _gauges(name: str, says: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"switchboard_{name}", says, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counter(name: str, says: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"switchboard_{name}", says, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(name: str, says: str, found: Histogram) -> Metric:
    family = HistogramMetricFamily(f"switchboard_{name}", says, labels=[])
    sums, total = [], 0
    for bound, count in zip((*map(str, found.bounds), "+Inf"), found.counts, strict=True):
        total += count
        sums.append((bound, float(total)))
    family.add_metric([], sums, found.total)
    return family


_stock = Stock()
_everything = CollectorRegistry()
_everything.register(Everything())
