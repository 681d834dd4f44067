"""The stuck detector: a partition that could move and does not, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.kafka.status import PartitionStatus, Phase
from impactd.shell.kafka.stuck import LOOK_S, StuckDetector

AFTER_S = 30.0


def lagging(**changes: object) -> PartitionStatus:
    """Return a partition that runs, with ten ticks to read."""
    status = PartitionStatus(
        0,
        token=1,
        phase=Phase.RUNNING,
        positions=dict.fromkeys(INPUT_TOPICS, 5),
        taken_in=dict.fromkeys(INPUT_TOPICS, 5),
        stable_offsets=dict.fromkeys(INPUT_TOPICS, 5) | {Topic.TICKS: 15},
        high_watermarks=dict.fromkeys(INPUT_TOPICS, 5) | {Topic.TICKS: 15},
    )
    for name, value in changes.items():
        setattr(status, name, value)
    return status


def found_after(
    status: PartitionStatus,
    each_look: Callable[[PartitionStatus, int], None] = lambda _status, _look: None,
    *,
    in_event_time: bool = False,
    look_s: float = LOOK_S,
    looks: int = 200,
) -> float | None:
    """Return after how many seconds the partition is found stuck; None if it is not."""
    detector = StuckDetector(AFTER_S, in_event_time=in_event_time)
    for look in range(looks):
        each_look(status, look)
        if detector.look({0: status}, look * look_s) is not None:
            return look * look_s
    return None


def test_partition_with_lag_that_never_moves_is_stuck_when_the_time_is_up() -> None:
    assert found_after(lagging()) == AFTER_S


def test_partition_paused_without_progress_is_stuck() -> None:
    assert found_after(lagging(paused=True)) == AFTER_S


@pytest.mark.parametrize("phase", [Phase.ACQUIRING, Phase.RESTORING])
def test_restore_that_never_moves_is_stuck(phase: Phase) -> None:
    assert found_after(lagging(phase=phase, positions={}, stable_offsets={})) == AFTER_S


def test_partition_that_fails_again_and_again_is_stuck() -> None:
    def fail(status: PartitionStatus, look: int) -> None:
        status.failures += 1
        status.phase = (Phase.ACQUIRING, Phase.RESTORING, Phase.RUNNING)[look % 3]

    assert found_after(lagging(), fail) == AFTER_S


def test_orders_that_wait_on_arrival_are_stuck() -> None:
    ends = dict.fromkeys(INPUT_TOPICS, 5) | {Topic.ORDERS: 6}
    assert found_after(lagging(stable_offsets=ends, taken_in=ends)) == AFTER_S


def _commit_slowly(status: PartitionStatus, look: int) -> None:
    if look % 25 == 0:
        status.commit_seq += 1


def _catch_up_paused(status: PartitionStatus, look: int) -> None:
    status.paused = True
    if look % 20 == 0:
        status.positions[Topic.TICKS] += 1
        status.stable_offsets[Topic.TICKS] += 5


def _restore_slowly(status: PartitionStatus, look: int) -> None:
    status.phase = Phase.RESTORING
    status.restored_to = look // 20


def _nothing_to_read(status: PartitionStatus, _look: int) -> None:
    status.stable_offsets[Topic.TICKS] = 5


def _change_owner(status: PartitionStatus, look: int) -> None:
    status.token = look // 20


@pytest.mark.parametrize(
    "each_look", [_commit_slowly, _catch_up_paused, _restore_slowly, _nothing_to_read, _change_owner]
)
def test_partition_that_moves_or_has_nothing_to_do_is_not_stuck(
    each_look: Callable[[PartitionStatus, int], None],
) -> None:
    assert found_after(lagging(), each_look) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"broker_answers": False},
        {"phase": Phase.LEAVING},
        {"lost": {Topic.TICKS: 5}},
    ],
)
def test_partition_that_cannot_move_is_not_stuck(changes: dict[str, object]) -> None:
    assert found_after(lagging(**changes)) is None


def test_restore_begun_again_and_again_is_stuck() -> None:
    def restart(status: PartitionStatus, look: int) -> None:
        status.phase = Phase.RESTORING
        status.restored_to = max(status.restored_to, look % 10)

    assert found_after(lagging(), restart) == 9 + AFTER_S


def test_events_that_wait_for_their_time_are_not_stuck() -> None:
    ends = dict.fromkeys(INPUT_TOPICS, 5) | {Topic.ORDERS: 6}
    assert found_after(lagging(stable_offsets=ends, taken_in=ends), in_event_time=True) is None
    assert found_after(lagging(stable_offsets=ends), in_event_time=True) == AFTER_S


def test_broker_that_comes_back_gives_the_whole_time_again() -> None:
    def away(status: PartitionStatus, look: int) -> None:
        status.broker_answers = not 20 <= look < 60

    assert found_after(lagging(), away) == 59 + AFTER_S


def test_process_that_was_stopped_does_not_count_the_time() -> None:
    # Looks half an hour apart: each counts as two seconds.
    assert found_after(lagging(), look_s=1_800.0, looks=15) is None
    assert found_after(lagging(), look_s=1_800.0) == 15 * 1_800.0


def test_look_forgets_partitions_that_have_gone() -> None:
    detector = StuckDetector(2.0, in_event_time=False)
    status = lagging()
    for now in (0.0, 1.0):
        assert detector.look({0: status}, now) is None
    assert detector.look({}, 2.0) is None
    assert detector.look({0: status}, 3.0) is None
    assert detector.look({0: status}, 4.0) is None
    assert detector.look({0: status}, 5.0) is status
