"""Traces reach a collector, hold nobody's text, and are no condition for anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.running import until
from tests.wire_agent import echo
from tests.wire_server import Web

TEXT = "text-of-somebody-4711"
PARENT = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Takes what is sent to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        found = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                found.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def spans(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for each in requests
            for found in each.resource_spans
            for part in found.scope_spans
            for span in part.spans
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def test_spans_of_an_ask_and_its_request_reach_the_collector(
    collector: Collector, tmp_path: Path, empty_sqlite: Path
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="`make otel` installs OpenTelemetry")
    with Web(tmp_path, empty_sqlite, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100") as web:
        asker = web.user()
        with web.agent(echo):
            body = f'{{"content": "{TEXT}"}}'.encode()
            assert web.post(asker.token, body, traceparent=f"00-{PARENT}-00f067aa0ba902b7-01").status_code == 200
        web.http.get(f"/nowhere/{TEXT}", params={"q": TEXT})
        until(lambda: "GET unknown" in {span.name for span in collector.spans()}, "the spans")
    by_name = {span.name: span for span in collector.spans()}
    ask, request = by_name["ask"], by_name["POST /api/ask"]
    assert request.trace_id.hex() == PARENT
    assert (ask.trace_id, ask.parent_span_id) == (request.trace_id, request.span_id)
    attributes = {attribute.key: attribute.value for attribute in request.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    everything = b"".join(collector.bodies)
    for private in (TEXT, asker.token, asker.id, web.admin_key):
        assert private.encode() not in everything


def test_a_collector_that_is_away_costs_nobody_anything(tmp_path: Path, empty_sqlite: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="`make otel` installs OpenTelemetry")
    with Web(tmp_path, empty_sqlite, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as web, web.agent(echo):
        assert web.ask(web.user().token).status_code == 200


class Bare(Web):
    """A server without OpenTelemetry's packages."""

    def program(self, listener: int) -> list[str]:
        manage = super().program(listener)
        hidden = "import sys, runpy; sys.modules['opentelemetry'] = None; sys.argv = sys.argv[1:]; "
        return ["-c", f"{hidden}runpy.run_path(sys.argv[0], run_name='__main__')", *manage]


def test_without_the_packages_one_line_says_so(tmp_path: Path, empty_sqlite: Path) -> None:
    with Bare(tmp_path, empty_sqlite, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as web:
        assert web.http.get("/ready").status_code == 200
    assert web.log.count("`make otel`") == 1
