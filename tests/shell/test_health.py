"""Readiness: each reason appears when, and only when, it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from impactd.config.operation import HealthSection
from impactd.core.base.settings import CoreSettings, SessionRule
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.health import KINDS, open_for, unready
from impactd.shell.kafka.status import PartitionStatus, Phase, Status

NOW = 1_000.0
NOON_NS = 1_743_681_600_000_000_000  # 2025-04-03 12:00 UTC
HOUR_NS = 3_600_000_000_000
LIMITS = HealthSection(max_lag=100, max_tick_age_s=60.0)
ALWAYS = open_for(CoreSettings())


def running() -> PartitionStatus:
    return PartitionStatus(
        1,
        token=1,
        phase=Phase.RUNNING,
        positions={Topic.TICKS: 50},
        high_watermarks=dict.fromkeys(INPUT_TOPICS, 0) | {Topic.TICKS: 50},
        stable_offsets={Topic.TICKS: 50},
        owned_since=NOW - 500.0,
        last_tick=NOW - 1.0,
        clock=NOON_NS,
    )


def status() -> Status:
    return Status(partitions={1: running()}, rebalances=1)


def kinds(found: Status, session: Callable[[int], float | None] = ALWAYS, wall_ns: int = NOON_NS) -> list[str]:
    return [reason.kind for reason in unready(found, LIMITS, NOW, wall_ns, session)]


def test_unready_of_a_working_process_has_no_reason() -> None:
    assert kinds(status()) == []


def test_unready_of_a_process_that_stands_by_has_no_reason() -> None:
    assert kinds(Status(rebalances=1)) == []


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"rebalances": 0}, "starting"),
        ({"draining": True}, "draining"),
        ({"error": "the topics are gone"}, "failed"),
        ({"broker_answers": False}, "broker_away"),
    ],
)
def test_unready_of_the_process_names_its_reason(changes: dict[str, object], kind: str) -> None:
    assert kinds(replace(status(), **changes)) == [kind]  # type: ignore[arg-type]  # one field each


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"phase": Phase.ACQUIRING}, "acquiring"),
        ({"phase": Phase.RESTORING}, "restoring"),
        ({"phase": Phase.LEAVING}, "leaving"),
        ({"high_watermarks": {Topic.TICKS: 50}}, "restoring"),
        ({"failing": "no answer", "stable_offsets": {Topic.TICKS: 51}}, "failing"),
        ({"lost": {Topic.ORDERS: 3}}, "position_lost"),
        ({"high_watermarks": dict.fromkeys(INPUT_TOPICS, 0) | {Topic.TICKS: 151}}, "lag"),
        ({"last_tick": NOW - 61.0}, "stale_input"),
        ({"last_tick": None, "owned_since": NOW - 61.0}, "stale_input"),
        ({"too_many_invalid": True}, "invalid_ratio"),
    ],
)
def test_unready_of_a_partition_names_its_reason(changes: dict[str, object], kind: str) -> None:
    found = status()
    found.partitions[1] = replace(running(), **changes)  # type: ignore[arg-type]  # one or two fields each
    (reason,) = unready(found, LIMITS, NOW, NOON_NS, ALWAYS)
    assert (reason.kind, reason.partition) == (kind, 1)
    assert reason.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"high_watermarks": dict.fromkeys(INPUT_TOPICS, 0) | {Topic.TICKS: 150}},
        {"last_tick": NOW - 60.0},
        {"last_tick": None, "owned_since": NOW - 59.0},
        {"last_tick": NOW - 61.0, "clock": 0},
        {"last_tick": NOW - 61.0, "high_watermarks": dict.fromkeys(INPUT_TOPICS, 0) | {Topic.TICKS: 51}},
        {"failing": "no answer"},
        {"halted": 3, "orders": 3},
        {"paused": True},
    ],
)
def test_unready_within_its_limits_has_no_reason(changes: dict[str, object]) -> None:
    found = status()
    found.partitions[1] = replace(running(), **changes)  # type: ignore[arg-type]  # one or two fields each
    assert kinds(found) == []


def test_unready_stale_input_counts_open_sessions_only() -> None:
    found = status()
    found.partitions[1] = replace(running(), last_tick=NOW - 400.0)
    office = open_for(CoreSettings(session=SessionRule(open_s=9 * 3_600, close_s=17 * 3_600)))
    assert kinds(found, office, NOON_NS) == ["stale_input"]
    assert kinds(found, office, NOON_NS + 6 * HOUR_NS) == []
    # Half a minute after the open nobody has been silent for a whole one yet.
    assert kinds(found, office, NOON_NS - 3 * HOUR_NS + 30_000_000_000) == []
    assert kinds(found, office, NOON_NS - 3 * HOUR_NS + 90_000_000_000) == ["stale_input"]


def test_unready_stale_input_counts_the_days_of_a_market_that_is_open_around_the_clock() -> None:
    found = status()
    found.partitions[1] = replace(running(), last_tick=NOW - 400.0)
    monday_ns = 4 * 24 * HOUR_NS
    week = open_for(CoreSettings(session=SessionRule(days=(0, 1, 2, 3, 4))))
    assert kinds(found, week, monday_ns - HOUR_NS) == []
    assert kinds(found, week, monday_ns + 30_000_000_000) == []
    assert kinds(found, week, monday_ns + 90_000_000_000) == ["stale_input"]
    # At a midnight between two days of the session nothing begins anew.
    assert kinds(found, week, monday_ns + 24 * HOUR_NS) == ["stale_input"]


def test_unready_stale_input_of_a_recorded_day_is_none() -> None:
    found = status()
    found.partitions[1] = replace(running(), last_tick=NOW - 400.0)
    assert kinds(found, open_for(CoreSettings(apply="in_event_time"))) == []


def test_unready_several_reasons_are_all_named() -> None:
    found = replace(status(), draining=True, broker_answers=False)
    found.partitions[1] = replace(running(), phase=Phase.LEAVING, lost={Topic.TICKS: 1})
    assert set(kinds(found)) == {"draining", "broker_away", "leaving", "position_lost"}
    assert set(kinds(found)) <= set(KINDS)
