"""Metrics as Prometheus' text, and as the table of the reference, from one reading of the service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from impactd.shell.durations import BOUNDS_S, Durations
from impactd.shell.metrics import METRICS, Labels, Reading, Row

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class StatusCollector(Collector):
    """Gives Prometheus' registry the rows of one reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, also those without a sample."""
        for row in METRICS:
            yield _family(row, row.read(self._reading))


def _family(row: Row, samples: Iterable[tuple[Labels, float | Durations]]) -> Metric:
    match row.kind:
        case "counter":
            family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily = CounterMetricFamily(
                row.name, row.meaning, labels=row.labels
            )
        case "gauge":
            family = GaugeMetricFamily(row.name, row.meaning, labels=row.labels)
        case _:
            family = HistogramMetricFamily(row.name, row.meaning, labels=row.labels)
    for labels, value in samples:
        if isinstance(value, Durations):
            bounds = [*map(str, BOUNDS_S), "+Inf"]
            buckets = list(zip(bounds, value.cumulative(), strict=True))
            family.add_metric(labels, buckets=buckets, sum_value=value.total_s)  # type: ignore[call-arg]  # histogram
        else:
            family.add_metric(labels, value)  # type: ignore[arg-type,call-arg]  # no histogram
    return family


def exposition(reading: Reading) -> bytes:
    """Return the metrics as Prometheus' text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(reading))
    return generate_latest(registry)


def reference() -> str:
    """Return the table of all metrics, in Markdown."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for row in METRICS:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{row.name}` | {row.kind} | {labels} | {row.meaning} |")
    return "\n".join(lines) + "\n"
