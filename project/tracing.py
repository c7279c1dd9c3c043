"""Traces for an OpenTelemetry collector, when OTEL_EXPORTER_OTLP_ENDPOINT names one and `make otel` has been run.

Spans: a request, an ask, a search, a generation. Their attributes are methods, routes, statuses and outcomes;
nothing that anybody wrote. Without the setting, nothing of this is loaded and no request pays for it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.urls import Resolver404, resolve

from privategpt import tally
from project.guards import App, Message, Receive, Scope, Send
from relay.tally import Tally

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)
MISSING = "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the packages are not there: run `make otel`. There are no traces."
_provider: TracerProvider | None = None


def traced(app: App) -> App:
    """The application with spans around its requests; the application itself where nothing is configured."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip():
        return app
    try:
        return _begin(app)
    except ImportError:
        logger.warning(MISSING)
        return app


def close() -> None:
    """Sends what is still to be sent; waits some seconds at the most."""
    if _provider:
        _provider.shutdown()


def _begin(app: App) -> App:
    global _provider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "").strip() or "switchboard"
    _provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    # A thread of its own sends them in batches; a collector that is away costs spans, and nobody's time.
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=5)))
    tracer = _provider.get_tracer("switchboard")

    def told(name: str, seconds: float, attributes: Mapping[str, str]) -> None:
        """What has just ended, as a span behind the request that it belongs to."""
        end = time.time_ns()
        tracer.start_span(name, start_time=end - int(seconds * 1e9), attributes=dict(attributes)).end(end)

    tally.LISTENER.told = told
    Tally.told = told
    return Traced(app, tracer)


class Traced:
    """A span around each request, under the caller's own if that sent one along."""

    def __init__(self, app: App, tracer: Any) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app, self._tracer, self._kind = app, tracer, SpanKind.SERVER
        self._callers = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        route, method = _route(scope["path"]), scope["method"] if scope["method"] in METHODS else "other"
        attributes = {"http.request.method": method, "http.route": route}
        context = self._callers.extract({name: sent[name] for name in ("traceparent", "tracestate") if name in sent})
        span = self._tracer.start_as_current_span(
            f"{method} {route}",
            context=context,
            kind=self._kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        with span as current:
            await self._app(scope, receive, _noting(current, send))


METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _noting(span: Span, send: Send) -> Send:
    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
        await send(message)

    return noted


def _route(path: str) -> str:
    """The pattern, not the path: in that may stand an id, or a key."""
    try:
        return f"/{resolve(path).route}"
    except Resolver404:
        return "unknown"
