"""Traces and metrics by OpenTelemetry: what is recorded, what outputs carry on, and what reaches a collector."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
import structlog

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.inputs.columns import RecordColumns
from impactd.shell.audit.compare import difference
from impactd.shell.durations import Durations
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.status import Status
from impactd.shell.metrics import METRICS, Reading
from tests.serving import Silent, served

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="OpenTelemetry is an extra")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from impactd.shell.kafka.traces import Traces
from impactd.shell.telemetry import Telemetry, provider_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01".encode()


def record(offset: int, *headers: tuple[str, bytes | None]) -> ConsumedRecord:
    return ConsumedRecord("orders", 0, offset, 1_000, b"FROG", b"{}", headers)


def traces(sample: float = 1.0) -> tuple[Traces, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), provider_of(Resource({}), sample)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider, 3), exporter


def test_record_is_followed_from_its_header_to_its_commit() -> None:
    one, exporter = traces()
    one.decoded(Topic.ORDERS, [record(6), record(7, ("traceparent", PARENT), ("tracestate", b"a=1"))], 0.1)
    assert one.applied({Topic.ORDERS: (0, 7)}) is None
    traced = one.applied({Topic.ORDERS: (7, 8)})
    assert traced is not None
    headers = dict(traced.headers[Topic.ORDERS, 7])
    with one.committing(traced, [(time.perf_counter() - 0.01, 0.005)], 0.02):
        assert structlog.contextvars.get_contextvars()["trace_id"] == TRACE
    assert "trace_id" not in structlog.contextvars.get_contextvars()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {f"impactd.{name}" for name in ("commit_input", "decode", "apply", "solve", "commit")}
    root = spans.pop("impactd.commit_input")
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == "b7ad6b7169203331"
    assert headers == {"traceparent": f"00-{TRACE}-{root.context.span_id:016x}-01".encode(), "tracestate": b"a=1"}
    for span in spans.values():
        assert span.parent is not None
        assert span.parent.span_id == root.context.span_id
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time
    # It is taken in once.
    assert one.applied({Topic.ORDERS: (7, 9)}) is None


def test_failed_commit_shows_as_one() -> None:
    one, exporter = traces()
    one.decoded(Topic.ORDERS, [record(0, ("traceparent", PARENT))], 0.0)
    traced = one.applied({Topic.ORDERS: (0, 1)})
    assert traced is not None
    with pytest.raises(RuntimeError), one.committing(traced, [], 0.0):
        raise RuntimeError
    root = next(span for span in exporter.get_finished_spans() if span.name == "impactd.commit_input")
    assert not root.status.is_ok


@pytest.mark.parametrize(("sample", "parent"), [(0.0, PARENT), (1.0, PARENT[:-1] + b"0")])
def test_trace_that_is_not_recorded_is_carried_on_unchanged(sample: float, parent: bytes) -> None:
    one, exporter = traces(sample)
    one.decoded(Topic.ORDERS, [record(0, ("traceparent", parent))], 0.0)
    traced = one.applied({Topic.ORDERS: (0, 1)})
    assert traced is not None
    with one.committing(traced, [], 0.0):
        pass
    assert traced.headers == {(Topic.ORDERS, 0): (("traceparent", parent),)}
    assert not exporter.get_finished_spans()


@pytest.mark.parametrize("value", [None, b"", b"00-0-0-01", b"\xff\xfe", PARENT[:-4], b"00-" + b"0" * 32 + PARENT[35:]])
def test_header_that_cannot_be_read_is_no_trace(value: bytes | None) -> None:
    one, _ = traces()
    one.decoded(Topic.ORDERS, [record(0, ("traceparent", value))], 0.0)
    assert one.applied({Topic.ORDERS: (0, 1)}) is None


def test_columns_without_headers_are_not_looked_through() -> None:
    one, _ = traces()
    one.decoded(Topic.TICKS, RecordColumns(b"", np.zeros((9, 1_000), np.int64)), 0.0)
    assert one.applied({Topic.TICKS: (0, 1_000)}) is None


def test_records_that_are_never_committed_do_not_pile_up() -> None:
    one, _ = traces()
    for offset in range(10_050):
        one.decoded(Topic.ORDERS, [record(offset, ("traceparent", PARENT))], 0.0)
    traced = one.applied({Topic.ORDERS: (0, 20_000)})
    assert traced is not None
    assert len(traced.spans) == 10_000


def test_audit_leaves_traces_out() -> None:
    made = Record("plans", 0, b"k", b"v", (("commit", b"0:1"),))
    theirs = ConsumedRecord("plans", 0, 5, 1, b"k", b"v", (("commit", b"0:1"), ("traceparent", PARENT)))
    assert not list(difference(0, 1, (Topic.PLANS, 0), theirs, made))
    other = ConsumedRecord("plans", 0, 5, 1, b"k", b"v", (("commit", b"0:2"), ("traceparent", PARENT)))
    assert list(difference(0, 1, (Topic.PLANS, 0), other, made))


@contextmanager
def collector() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """Listen as an OTLP collector does, and keep what comes by path."""
    found: dict[str, list[bytes]] = {}

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.setdefault(self.path, []).append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    with served(Handler) as port:
        yield f"http://127.0.0.1:{port}", found


async def test_spans_and_every_metric_reach_a_collector() -> None:
    timed = Durations()
    timed.observe(0.003)
    reading = Reading(Status(rebalances=3), 10.0, 2_000_000_000, True, timed, 0.5, 7, 1.0)
    with collector() as (endpoint, found):
        telemetry = Telemetry(Settings(telemetry={"enabled": True, "endpoint": f"{endpoint}/"}))
        one = Traces(telemetry.provider, 0)
        one.decoded(Topic.ORDERS, [record(0, ("traceparent", PARENT))], 0.0)
        traced = one.applied({Topic.ORDERS: (0, 1)})
        assert traced is not None
        with one.committing(traced, [], 0.0):
            pass
        telemetry.export_once(reading)
        await telemetry.close()
    spans = ExportTraceServiceRequest.FromString(found["/v1/traces"][0]).resource_spans[0].scope_spans[0].spans
    assert {span.name for span in spans} == {f"impactd.{n}" for n in ("commit_input", "decode", "apply", "commit")}
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    metrics = (
        ExportMetricsServiceRequest.FromString(found["/v1/metrics"][0]).resource_metrics[0].scope_metrics[0].metrics
    )
    by_name = {metric.name: metric for metric in metrics}
    assert by_name.keys() == {row.name for row in METRICS if list(row.read(reading))}
    assert by_name["impactd_rebalances_total"].sum.data_points[0].as_double == 3
    point = by_name["impactd_event_loop_delay_seconds"].histogram.data_points[0]
    assert (point.count, point.sum, list(point.bucket_counts)) == (1, 0.003, timed.counts)
