"""Traces through the whole service: every output of a traced record carries its trace, and no value depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from unittest import mock

import pytest

from impactd.core.base.topics import Topic
from impactd.shell.kafka.service import Service
from tests.simulate import days, verdict, world
from tests.simulate.cluster import Sent
from tests.simulate.days import Day, Event, Outcome, run

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is an extra")

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from impactd.shell.kafka.traces import Traces
from impactd.shell.telemetry import provider_of

_DAY = Day("3", 2, 10, (Event(1.2, "hit", (0, "end", "kill", 0)), Event(1.8, "refuse", (0.6,))))
_TRACE = "0af7651916cd43dd8448eb211c80319c"


def _sent(key: bytes | None, value: bytes | None, _headers: Any, timestamp: int) -> Sent:
    return Sent(key, value, (("traceparent", f"00-{_TRACE}-b7ad6b7169203331-01".encode()),), timestamp)


def _run(**options: Any) -> tuple[Outcome, Mapping[Topic, Mapping[int, list[Any]]]]:
    """Run the day with records that carry a trace; return also what was published."""
    found: list[Any] = []

    def noting(of: world.World, records: Any) -> Any:
        found.append(records)
        return judged(of, records)

    judged = verdict.judged
    with (
        mock.patch.object(days, "Sent", _sent),
        mock.patch.object(verdict, "judged", noting),
        mock.patch.object(world, "Service", partial(Service, **options)),
    ):
        return run(_DAY), found[0]


def test_outputs_carry_the_trace_of_their_input_and_no_value_changes() -> None:
    exporter, provider = InMemorySpanExporter(), provider_of(Resource({}), 1.0)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    plain, untraced = _run()
    outcome, records = _run(traces=partial(Traces, provider))
    assert not plain.faults
    assert not outcome.faults
    assert outcome.digest == plain.digest
    caused = [record for found in records[Topic.PLANS].values() for record in found if "input" in dict(record.headers)]
    assert caused
    of_orders = [record for record in caused if ".orders/" in dict(record.headers)["input"].decode()]
    assert of_orders
    assert all(_TRACE in dict(record.headers)["traceparent"].decode() for record in caused)
    assert not any("traceparent" in dict(r.headers) for found in untraced[Topic.PLANS].values() for r in found)
    names = {span.name for span in exporter.get_finished_spans()}
    assert names == {f"impactd.{name}" for name in ("commit_input", "decode", "apply", "solve", "commit")}
    # The span that an output names as its cause is one that was exported.
    spans = {f"{span.context.span_id:016x}" for span in exporter.get_finished_spans()}
    assert {dict(record.headers)["traceparent"].decode().split("-")[2] for record in caused} <= spans
