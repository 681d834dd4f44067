"""Exports traces and metrics by OpenTelemetry.

This module needs the extra ``otel`` and is imported only where telemetry is on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from impactd.__about__ import __version__
from impactd.shell.durations import BOUNDS_S, Durations
from impactd.shell.metrics import METRICS, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from impactd.config import Settings

#: An export may take so long.
_EXPORT_S: Final = 5.0


class Telemetry:
    """The exporters of one process."""

    def __init__(self, settings: Settings) -> None:
        self._every_s = settings.telemetry.metrics_interval_s
        endpoint = settings.telemetry.endpoint.rstrip("/")
        self._resource = _resource(settings)
        self.provider = provider_of(self._resource, settings.telemetry.sample)
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
        self._metrics = OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=_EXPORT_S)

    async def export(self, reading: Callable[[], Reading]) -> None:
        """Export the metrics at their interval until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await asyncio.to_thread(self.export_once, reading())

    def export_once(self, reading: Reading) -> None:
        """Export one reading; the library logs what fails, and the next reading has the same counters."""
        self._metrics.export(metrics_data(reading, self._resource))

    async def close(self) -> None:
        """Export what is left, within bounds."""
        await asyncio.to_thread(self.provider.force_flush, round(_EXPORT_S * 1000))


def _resource(settings: Settings) -> Resource:
    return Resource.create(
        {
            "service.name": "impactd",
            "service.version": __version__,
            "deployment.environment.name": settings.kafka.environment,
        }
    )


def provider_of(resource: Resource, sample: float) -> TracerProvider:
    """Return a provider that records a share of the traces that their senders record."""
    share = TraceIdRatioBased(sample)
    # The stages of a record that is followed are all recorded; one whose sender does not record it is not followed.
    sampler = ParentBased(
        ALWAYS_OFF, remote_parent_sampled=share, remote_parent_not_sampled=ALWAYS_OFF, local_parent_sampled=ALWAYS_ON
    )
    return TracerProvider(sampler, resource, shutdown_on_exit=False)


def metrics_data(reading: Reading, resource: Resource) -> MetricsData:
    """Return every metric of `impactd.shell.metrics` as OpenTelemetry's data, under its name there."""
    start, now = round(reading.started * 1e9), reading.wall_ns
    total = sdk.AggregationTemporality.CUMULATIVE
    metrics = []
    for row in METRICS:
        points: list[Any] = []
        for labels, value in row.read(reading):
            attributes = dict(zip(row.labels, labels, strict=True))
            if isinstance(value, Durations):
                points.append(
                    sdk.HistogramDataPoint(
                        attributes, start, now, value.count, value.total_s, value.counts, BOUNDS_S, 0.0, 0.0
                    )
                )
            else:
                points.append(sdk.NumberDataPoint(attributes, start, now, float(value)))
        data: Any
        match row.kind:
            case "counter":
                data = sdk.Sum(points, total, is_monotonic=True)
            case "gauge":
                data = sdk.Gauge(points)
            case _:
                data = sdk.Histogram(points, total)
        if points:
            unit = "s" if "_seconds" in row.name else "By" if row.name.endswith("_bytes") else "1"
            metrics.append(sdk.Metric(row.name, row.meaning, unit, data))
    scope = sdk.ScopeMetrics(InstrumentationScope("impactd", __version__), metrics, "")
    return sdk.MetricsData([sdk.ResourceMetrics(resource, [scope], "")])
