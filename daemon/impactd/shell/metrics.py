"""Every metric: its name, what it means, and how it is read from the service's status.

The exported metrics and the reference are generated from the same rows.  A
counter's name ends with ``_total``, units are seconds, bytes and records.  No
measured duration ever enters a message: these numbers are the only place
where they show.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from impactd.__about__ import __version__
from impactd.core.base.topics import INPUT_TOPICS
from impactd.shell.durations import Durations
from impactd.shell.kafka.status import STAGES, PartitionStatus, Phase, Status, Totals

Labels = tuple[str, ...]
Sample = tuple[Labels, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one scrape is made from."""

    status: Status
    #: Monotonic time, seconds.
    now: float
    #: Wall clock, ns since the epoch.
    wall_ns: int
    ready: bool
    loop_delays: Durations
    #: Of the last minute.
    longest_loop_delay_s: float
    suppressed_logs: int
    #: Start of the process, seconds since the epoch.
    started: float
    #: End of the calendar that ends first, seconds since the epoch; None where none ends.
    calendar_ends: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One metric: how it is named, what it means, and how it is read."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    meaning: str
    read: Callable[[Reading], Iterable[tuple[Labels, float | Durations]]]


def _by_partition(value: Callable[[PartitionStatus, Reading], float | None]) -> Callable[[Reading], Iterator[Sample]]:
    def read(reading: Reading) -> Iterator[Sample]:
        for number, status in sorted(reading.status.partitions.items()):
            found = value(status, reading)
            if found is not None:
                yield (str(number),), found

    return read


def _by_input(value: Callable[[PartitionStatus], Mapping[str, int]]) -> Callable[[Reading], Iterator[Sample]]:
    def read(reading: Reading) -> Iterator[Sample]:
        for number, status in sorted(reading.status.partitions.items()):
            for topic, found in value(status).items():
                yield (str(number), topic), found

    return read


def _total(value: Callable[[Totals], float]) -> Callable[[Reading], Iterator[Sample]]:
    def read(reading: Reading) -> Iterator[Sample]:
        for number, totals in sorted(reading.status.totals.items()):
            yield (str(number),), value(totals)

    return read


def _totals(
    value: Callable[[Totals], Mapping[str, int] | Mapping[tuple[str, str], int]],
) -> Callable[[Reading], Iterator[Sample]]:
    def read(reading: Reading) -> Iterator[Sample]:
        for number, totals in sorted(reading.status.totals.items()):
            for labels, found in sorted(value(totals).items()):
                yield (str(number), *((labels,) if isinstance(labels, str) else labels)), found

    return read


def _one(
    value: Callable[[Reading], float | Durations],
) -> Callable[[Reading], Iterator[tuple[Labels, float | Durations]]]:
    def read(reading: Reading) -> Iterator[tuple[Labels, float | Durations]]:
        yield (), value(reading)

    return read


def _costs(reading: Reading) -> Iterator[Sample]:
    for number, status in sorted(reading.status.partitions.items()):
        plans = status.plans.values()
        yield (str(number), "plan"), sum(plan.cost for plan in plans)
        yield (str(number), "twap"), sum(plan.twap_cost for plan in plans)


def _phases(reading: Reading) -> Iterator[Sample]:
    for number, status in sorted(reading.status.partitions.items()):
        for phase in Phase:
            yield (str(number), phase.value), float(status.phase is phase)


def _build(_reading: Reading) -> Iterator[Sample]:
    yield (__version__, platform.python_version()), 1.0


def _event_time_age(status: PartitionStatus, reading: Reading) -> float | None:
    return (reading.wall_ns - status.clock) / 1e9 if status.clock else None


def _stage(stage: str) -> Callable[[Reading], Iterator[tuple[Labels, float | Durations]]]:
    return _one(lambda reading: reading.status.durations[stage])


_P: Final = ("partition",)
_PT: Final = ("partition", "topic")


def _gauge(name: str, meaning: str, value: Callable[[PartitionStatus, Reading], float | None]) -> Row:
    return Row(name, "gauge", _P, meaning, _by_partition(value))


def _counter(name: str, meaning: str, value: Callable[[Totals], Any], *labels: str) -> Row:
    """Return a counter by partition; with `labels`, `value` is a mapping by their values."""
    return Row(name, "counter", (*_P, *labels), meaning, _totals(value) if labels else _total(value))


_STAGE_MEANING: Final = {
    "decode": "Decoding one fetch in its worker thread, waiting for the thread included.",
    "apply": "Applying and encoding the input of one commit in its worker thread.",
    "refit": "Refitting both sides of one symbol as its minute closes.",
    "solve": "One order's schedule.",
    "transaction": "One commit, from the opening of its transaction to the broker's answer.",
    "restore": "From the start of a partition's producer to its first fetch.",
}

METRICS: Final[tuple[Row, ...]] = (
    Row("impactd_build_info", "gauge", ("version", "python"), "Always 1.", _build),
    Row("impactd_ready", "gauge", (), "1 while /readyz answers 200.", _one(lambda r: float(r.ready))),
    Row("impactd_draining", "gauge", (), "1 while the process is stopping.", _one(lambda r: float(r.status.draining))),
    Row(
        "impactd_broker_answers",
        "gauge",
        (),
        "1 while the brokers that lead the inputs answer.",
        _one(lambda r: float(r.status.broker_answers)),
    ),
    Row("impactd_partitions_owned", "gauge", (), "Partitions owned.", _one(lambda r: len(r.status.partitions))),
    Row(
        "impactd_standby_partitions",
        "gauge",
        (),
        "Warm copies of states: partitions that this process takes over without a full restore.",
        _one(lambda r: r.status.standby_partitions),
    ),
    Row("impactd_standby_bytes", "gauge", (), "Bytes of these copies.", _one(lambda r: r.status.standby_bytes)),
    Row("impactd_partition_phase", "gauge", ("partition", "phase"), "1 for the current phase.", _phases),
    Row(
        "impactd_lag_records",
        "gauge",
        _PT,
        "Records of an input that are in no commit yet: high watermark less position; absent before it is known.",
        _by_input(lambda p: {topic.value: p.lag(topic) for topic in INPUT_TOPICS if topic in p.high_watermarks}),
    ),
    Row(
        "impactd_stable_lag_records",
        "gauge",
        _PT,
        "The same up to the last stable offset: records of open transactions left out.",
        _by_input(lambda p: {topic.value: p.stable_lag(topic) for topic in INPUT_TOPICS if topic in p.stable_offsets}),
    ),
    Row(
        "impactd_position",
        "gauge",
        _PT,
        "Next offset of an input, as of the last commit.",
        _by_input(lambda p: {topic.value: at for topic, at in sorted(p.positions.items())}),
    ),
    _gauge("impactd_positions_lost", "Inputs whose position retention has deleted.", lambda p, _: len(p.lost)),
    _gauge(
        "impactd_tick_age_seconds",
        "Since a tick was fetched; absent in a partition that never had one.",
        lambda p, r: p.tick_age(r.now),
    ),
    Row(
        "impactd_event_time_age_seconds",
        "gauge",
        _P,
        "Wall clock less the event time that the ticks have reached.",
        _by_partition(_event_time_age),
    ),
    _gauge(
        "impactd_commit_age_seconds",
        "Since the last commit; absent before the first.",
        lambda p, r: None if p.last_commit is None else r.now - p.last_commit,
    ),
    _gauge(
        "impactd_fetch_paused",
        "1 while fetching waits until what was fetched is applied.",
        lambda p, _: float(p.paused),
    ),
    _gauge(
        "impactd_too_many_invalid",
        "1 while the share of invalid input is above its limit.",
        lambda p, _: float(p.too_many_invalid),
    ),
    _gauge("impactd_orders_active", "Active parent orders, halted ones included.", lambda p, _: p.orders),
    _gauge("impactd_orders_halted", "Active orders that are halted.", lambda p, _: p.halted),
    _gauge(
        "impactd_orders_short",
        "Active orders whose caps leave something untraded.",
        lambda p, _: sum(plan.short for plan in p.plans.values()),
    ),
    Row(
        "impactd_open_cost",
        "gauge",
        ("partition", "of"),
        "Expected cost (currency) of the plans in force that this process published, and of TWAP instead.",
        _costs,
    ),
    _gauge("impactd_restored_keys", "State keys at the last restore.", lambda p, _: p.restored_keys),
    _counter("impactd_commits_total", "Commits.", lambda t: t.commits),
    _counter("impactd_idle_moves_total", "Commits that closed minutes without input.", lambda t: t.idle_moves),
    _counter("impactd_records_total", "Input records in commits.", lambda t: t.records),
    _counter("impactd_tick_rows_total", "Ticks in commits, before any check.", lambda t: t.rows),
    _counter(
        "impactd_ticks_total",
        "Ticks of closed minutes: accepted (two-sided books and trades), late, or rejected for a reason.",
        lambda t: t.ticks,
        "result",
        "reason",
    ),
    _counter(
        "impactd_refused_records_total",
        "Fetched records that cannot be decoded or belong to another partition; counted again when fetched again.",
        lambda t: t.refused,
        "topic",
        "reason",
    ),
    _counter(
        "impactd_unknown_messages_total",
        "Messages of a type that this release does not know.",
        lambda t: t.skipped_unknown,
    ),
    _counter("impactd_minutes_closed_total", "Minutes closed, of all symbols.", lambda t: t.minutes),
    _counter("impactd_plans_total", "Plans published.", lambda t: t.plans, "reason", "status"),
    _counter("impactd_plans_withheld_total", "Plans withheld by the gate, repeats included.", lambda t: t.withheld),
    _counter(
        "impactd_shadow_plans_total", "Shadow plans that ended, by their length.", lambda t: t.shadows, "intervals"
    ),
    _counter(
        "impactd_shadow_plans_held_total",
        "Of these, the ones whose cost ended within the band given at their start; their share should equal the level.",
        lambda t: t.shadows_held,
        "intervals",
        "level",
    ),
    _counter(
        "impactd_trial_savings_bps_total",
        "Trial plans of an hour, by `of`: ended is their number; saved, lost and possible (what could have been "
        "saved) are in basis points of TWAP's cost. (saved - lost) / possible is the capture.",
        lambda t: t.trials,
        "of",
    ),
    _counter("impactd_alerts_total", "Alerts published.", lambda t: t.alerts, "kind"),
    _counter("impactd_dead_letters_total", "Records sent to the dead letters.", lambda t: t.dead, "reason"),
    Row(
        "impactd_outputs_total",
        "counter",
        _PT,
        "Records published, by topic; state and journal not included.",
        _totals(lambda t: t.outputs),
    ),
    _counter(
        "impactd_reacquired_total",
        "Times that memory was dropped and the partition acquired again.",
        lambda t: t.failures,
    ),
    _counter("impactd_fenced_total", "Of these, the ones caused by another producer.", lambda t: t.fenced),
    Row("impactd_rebalances_total", "counter", (), "Assignments by the group.", _one(lambda r: r.status.rebalances)),
    *(Row(f"impactd_{stage}_seconds", "histogram", (), _STAGE_MEANING[stage], _stage(stage)) for stage in STAGES),
    Row(
        "impactd_event_loop_delay_seconds",
        "histogram",
        (),
        "How late the event loop wakes a task, sampled a hundred times a second.",
        _one(lambda r: r.loop_delays),
    ),
    Row(
        "impactd_event_loop_delay_max_seconds",
        "gauge",
        (),
        "The longest of the last minute.",
        _one(lambda r: r.longest_loop_delay_s),
    ),
    Row(
        "impactd_log_lines_suppressed_total",
        "counter",
        (),
        "Log lines suppressed by the rate limit.",
        _one(lambda r: r.suppressed_logs),
    ),
    Row(
        "impactd_resident_memory_bytes",
        "gauge",
        (),
        "Resident memory; absent if the system does not report it.",
        lambda _: (((), rss),) if (rss := resident_bytes()) is not None else (),
    ),
    Row(
        "impactd_start_time_seconds",
        "gauge",
        (),
        "Start of the process, seconds since the epoch.",
        _one(lambda r: r.started),
    ),
    Row(
        "impactd_calendar_end_timestamp_seconds",
        "gauge",
        (),
        "Last day whose holidays the session's calendars know, seconds since the epoch; absent if none ends.",
        lambda r: (((), r.calendar_ends),) if r.calendar_ends is not None else (),
    ),
)


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int | None:
    """Return the resident memory of this process, or None where the system does not say."""
    try:
        pages = int(statm.read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
