"""Traces of single records, from an input's header to those of its outputs.

A record of an input that carries a W3C ``traceparent`` header is followed to the outputs that it causes: they carry the
header on, and spans say how long decoding, waiting and applying, solving and committing took.  Headers are no part of a
message's value, and an audit leaves these two out, so that no published byte depends on who traces.

This module needs the extra ``otel`` and is imported only where tracing is on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from opentelemetry.trace import Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from impactd.__about__ import __version__
from impactd.core.base.topics import Topic
from impactd.core.inputs.columns import HEADERS, RecordColumns
from impactd.shell.kafka.encoder import TRACE_HEADERS, Headers

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

Trigger = tuple[Topic, int]

#: Records whose trace is kept until their commit; of more the oldest are no longer followed.
_PENDING: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A record with a trace that waits for its commit; times in ns of the wall clock."""

    carrier: Mapping[str, str]
    context: Context
    decoding: int
    decoded: int


@dataclass(frozen=True, slots=True)
class Traced:
    """What of a commit is traced: headers for the outputs by their trigger, and the spans to be ended."""

    headers: Mapping[Trigger, Headers]
    spans: Sequence[tuple[Span, _Arrived]]

    @property
    def trace_ids(self) -> list[str]:
        """Trace ids (32 hex digits), each once."""
        return list(dict.fromkeys(f"{span.get_span_context().trace_id:032x}" for span, _ in self.spans))


class Traces:
    """The traces of one partition's records, from their fetch to their commit; they end with the partition's loop."""

    def __init__(self, provider: TracerProvider, partition: int) -> None:
        self._tracer = provider.get_tracer("impactd", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._partition = partition
        self._pending: dict[Trigger, _Arrived] = {}

    def decoded(self, topic: Topic, records: Sequence[Any], seconds: float) -> None:
        """Note the records of a decoded fetch that carry a trace."""
        columns = RecordColumns.of(records)
        now = time.time_ns()
        for record in columns.where(columns.rows[HEADERS] > 0):
            carrier = {
                name: bytes(value or b"").decode("ascii", "replace")
                for name, value in record.headers
                if name in TRACE_HEADERS
            }
            context = self._propagator.extract(carrier) if "traceparent" in carrier else None
            # A header that cannot be read gives an empty context.
            if context:
                self._pending[topic, record.offset] = _Arrived(carrier, context, now - round(seconds * 1e9), now)
        while len(self._pending) > _PENDING:
            del self._pending[next(iter(self._pending))]

    def applied(self, spans: Mapping[Topic, tuple[int, int]]) -> Traced | None:
        """Return what is traced of a commit that takes in these offsets of each topic; None where nothing is."""
        taken = [
            trigger for trigger in list(self._pending) if trigger[0] in spans and trigger[1] < spans[trigger[0]][1]
        ]
        if not taken:
            return None
        headers: dict[Trigger, Headers] = {}
        made = []
        for topic, offset in taken:
            arrived = self._pending.pop((topic, offset))
            span = self._tracer.start_span(
                "impactd.commit_input",
                arrived.context,
                start_time=arrived.decoding,
                attributes={
                    "messaging.system": "kafka",
                    "messaging.kafka.message.offset": offset,
                    "messaging.destination.partition.id": str(self._partition),
                    "impactd.topic": topic.value,
                },
            )
            carrier = dict(arrived.carrier)
            if span.is_recording():
                self._propagator.inject(carrier, set_span_in_context(span))
            headers[topic, offset] = tuple((name, carrier[name].encode()) for name in TRACE_HEADERS if name in carrier)
            made.append((span, arrived))
        return Traced(headers, made)

    @contextmanager
    def committing(self, traced: Traced, solves: Sequence[tuple[float, float]], applied_s: float) -> Iterator[None]:
        """Record the spans of a commit around its transaction; log lines within carry the trace ids.

        Parameters
        ----------
        solves : sequence of (float, float)
            Start (`time.perf_counter`) and seconds of each schedule.
        applied_s : float
            Seconds that applying took, until now.
        """
        applied, clock = time.time_ns(), time.perf_counter()
        starts = [(applied - round((clock - started) * 1e9), round(seconds * 1e9)) for started, seconds in solves]
        failed = True
        try:
            with structlog.contextvars.bound_contextvars(trace_id=" ".join(traced.trace_ids)):
                yield
            failed = False
        finally:
            done = time.time_ns()
            applying = applied - round(applied_s * 1e9)
            for span, arrived in traced.spans:
                within = set_span_in_context(span)
                stages = [
                    ("impactd.decode", arrived.decoding, arrived.decoded),
                    ("impactd.apply", max(applying, arrived.decoded), applied),
                    *(("impactd.solve", start, start + took) for start, took in starts),
                    ("impactd.commit", applied, done),
                ]
                for name, start, end in stages:
                    self._tracer.start_span(name, within, start_time=start).end(end)
                if failed:
                    span.set_status(Status(StatusCode.ERROR, "the commit failed or its outcome is unknown"))
                span.end(done)
