"""Metrics: what is exported is what the reference lists, and each number is where it belongs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.durations import BOUNDS_S, Durations
from impactd.shell.exposition import exposition
from impactd.shell.kafka.status import OpenPlan, PartitionStatus, Phase, Status, Totals
from impactd.shell.metrics import METRICS, Reading, resident_bytes
from tests.write_reference import PAGE, page


def full_status() -> Status:
    """Return a status in which every number differs and every label occurs."""
    owned = PartitionStatus(
        3,
        token=2,
        phase=Phase.RUNNING,
        positions=dict.fromkeys(INPUT_TOPICS, 5),
        high_watermarks=dict.fromkeys(INPUT_TOPICS, 12),
        stable_offsets=dict.fromkeys(INPUT_TOPICS, 9),
        last_tick=96.0,
        owned_since=90.0,
        last_commit=98.5,
        clock=1_000_000_000,
        orders=21,
        halted=22,
        plans={"A": OpenPlan(50.0, 60.0, short=False), "B": OpenPlan(5.5, 6.5, short=True)},
        restored_keys=23,
        paused=True,
        lost={Topic.TICKS: 4},
    )
    totals = Totals(
        commits=31,
        records=32,
        rows=33,
        idle_moves=34,
        minutes=35,
        failures=36,
        fenced=37,
        skipped_unknown=38,
        ticks=Counter({("accepted", ""): 39, ("rejected", "crossed"): 40}),
        refused=Counter({("orders", "missing_field"): 41}),
        dead=Counter({"orphan": 42}),
        plans=Counter({("minute", "active"): 43}),
        alerts=Counter({"halt": 44}),
        outputs=Counter({"plans": 45}),
        shadows=Counter({"60": 48}),
        shadows_held=Counter({("60", "0.8"): 38}),
        trials=Counter({"ended": 49, "saved": 50, "lost": 51, "possible": 52}),
    )
    status = Status(partitions={3: owned}, totals={3: totals, 1: Totals(commits=7)}, rebalances=46)
    status.durations["solve"].observe(0.003)
    return status


def reading(status: Status | None = None) -> Reading:
    delays = Durations()
    delays.observe(0.0007)
    return Reading(
        status=full_status() if status is None else status,
        now=100.0,
        wall_ns=3_500_000_000,
        ready=True,
        loop_delays=delays,
        longest_loop_delay_s=0.25,
        suppressed_logs=47,
        started=1_700_000_000.0,
    )


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_reference_lists_exactly_what_is_exported() -> None:
    exported = set(re.findall(r"^# TYPE (\S+) ", exposition(reading()).decode(), re.MULTILINE))
    listed = set(re.findall(r"^\| `(impactd_\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert exported == listed == {row.name for row in METRICS}
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python -m tests.write_reference"


def test_exposition_of_a_full_status_gives_each_number_its_place() -> None:
    found = samples(exposition(reading()))
    three = ("partition", "3")
    assert found["impactd_lag_records", (three, ("topic", "ticks"))] == 7
    assert found["impactd_stable_lag_records", (three, ("topic", "orders"))] == 4
    assert found["impactd_position", (three, ("topic", "control"))] == 5
    assert found["impactd_tick_age_seconds", (three,)] == 4.0
    assert found["impactd_event_time_age_seconds", (three,)] == 2.5
    assert found["impactd_commit_age_seconds", (three,)] == 1.5
    assert found["impactd_orders_active", (three,)] == 21
    assert found["impactd_orders_halted", (three,)] == 22
    assert found["impactd_orders_short", (three,)] == 1
    assert found["impactd_open_cost", (("of", "plan"), three)] == 55.5
    assert found["impactd_open_cost", (("of", "twap"), three)] == 66.5
    assert found["impactd_positions_lost", (three,)] == 1
    assert found["impactd_fetch_paused", (three,)] == 1
    assert found["impactd_partition_phase", (three, ("phase", "running"))] == 1
    assert found["impactd_partition_phase", (three, ("phase", "restoring"))] == 0
    assert found["impactd_commits_total", (three,)] == 31
    assert found["impactd_commits_total", (("partition", "1"),)] == 7
    assert found["impactd_minutes_closed_total", (three,)] == 35
    assert found["impactd_ticks_total", (three, ("reason", "crossed"), ("result", "rejected"))] == 40
    assert found["impactd_refused_records_total", (three, ("reason", "missing_field"), ("topic", "orders"))] == 41
    assert found["impactd_dead_letters_total", (three, ("reason", "orphan"))] == 42
    assert found["impactd_plans_total", (three, ("reason", "minute"), ("status", "active"))] == 43
    assert found["impactd_alerts_total", (("kind", "halt"), three)] == 44
    assert found["impactd_rebalances_total", ()] == 46
    assert found["impactd_log_lines_suppressed_total", ()] == 47
    assert found["impactd_solve_seconds_count", ()] == 1
    assert found["impactd_solve_seconds_bucket", (("le", "0.0025"),)] == 0
    assert found["impactd_solve_seconds_bucket", (("le", "0.005"),)] == 1
    assert found["impactd_solve_seconds_sum", ()] == 0.003
    assert found["impactd_event_loop_delay_max_seconds", ()] == 0.25
    assert found["impactd_ready", ()] == 1


def test_exposition_before_the_first_assignment_has_no_partition() -> None:
    found = samples(exposition(reading(Status())))
    assert not [labels for _, labels in found if ("partition", "3") in labels]
    assert found["impactd_partitions_owned", ()] == 0


def test_snapshot_does_not_move_with_its_original() -> None:
    status = full_status()
    before = exposition(reading(status.snapshot()))
    copy = status.snapshot()
    status.partitions[3].positions[Topic.TICKS] = 99
    status.partitions[3].refused["x"] += 1
    status.totals[3].dead["orphan"] += 1
    status.totals[3].commits += 1
    status.durations["solve"].observe(1.0)

    def without_memory(text: bytes) -> list[bytes]:
        return [line for line in text.splitlines() if b"resident" not in line]

    assert without_memory(exposition(reading(copy))) == without_memory(before)


def test_durations_quantile_is_the_bound_of_its_bucket() -> None:
    timed = Durations()
    assert timed.quantile(0.5) is None
    for seconds in (0.001, 0.002, 0.004, 500.0):
        timed.observe(seconds)
    assert timed.quantile(0.5) == 0.0025
    assert timed.quantile(0.25) == 0.001
    assert timed.quantile(1.0) == float("inf")
    assert timed.cumulative()[-1] == timed.count == 4
    assert len(timed.cumulative()) == len(BOUNDS_S) + 1


def test_resident_bytes_where_the_system_does_not_state_is_none(tmp_path: Path) -> None:
    assert resident_bytes(tmp_path / "none") is None
    (tmp_path / "statm").write_text("100 25 3\n")
    found = resident_bytes(tmp_path / "statm")
    assert found is not None
    assert found % 25 == 0
