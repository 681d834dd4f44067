"""Metrics of one owned partition.

Everything is written on the event loop's thread.  Durations that the engine
measures in a worker thread are kept by its `Stopwatch` until its commit.

Ticks, plans, alerts and dead letters are counted once their commit has
succeeded: memory that was dropped has counted nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from impactd.core.base.topics import Topic
from impactd.core.outputs.counts import Counts
from impactd.core.outputs.messages import Alert, DeadLetter, Plan
from impactd.shell.kafka.status import OpenPlan

if TYPE_CHECKING:
    from impactd.core.engine import Engine
    from impactd.core.inputs.ticks import Refused
    from impactd.core.state.commit import Commit
    from impactd.shell.kafka.status import PartitionStatus, Status


class Stopwatch:
    """Times the stages that the engine names; used by one thread at a time."""

    def __init__(self) -> None:
        #: Stage, start and seconds.
        self._timed: list[tuple[str, float, float]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._timed.append((stage, started, time.perf_counter() - started))

    def taken(self) -> list[tuple[str, float]]:
        """Return stages and seconds timed since the last call."""
        timed, self._timed = self._timed, []
        return [(stage, seconds) for stage, _, seconds in timed]

    def of(self, stage: str) -> list[tuple[float, float]]:
        """Return start and seconds of one stage's times, which stay."""
        return [(started, seconds) for name, started, seconds in self._timed if name == stage]


class Meter:
    """Writes the metrics of one owned partition.

    Parameters
    ----------
    status : PartitionStatus
        Of the partition; both are written.
    engine : Engine
        Restored; read between its commits.
    """

    def __init__(self, process: Status, status: PartitionStatus, engine: Engine, stopwatch: Stopwatch) -> None:
        self._status = status
        self._durations = process.durations
        self._totals = process.totals_of(status.partition)
        self._engine = engine
        self._stopwatch = stopwatch
        status.clock = engine.clocks[Topic.TICKS]
        status.orders, status.halted = engine.orders.active()
        status.halts = _halts(engine)
        status.too_many_invalid = engine.invalid.over

    def decoded(self, topic: Topic, seconds: float, refused: Iterable[Refused], skipped: int) -> None:
        """Note a decoded fetch."""
        reasons = Counter(item.reason for item in refused)
        self._durations["decode"].observe(seconds)
        self._status.refused.update(reasons)
        self._status.skipped_unknown += skipped
        self._totals.refused.update({(topic.value, reason): count for reason, count in reasons.items()})
        self._totals.skipped_unknown += skipped

    def applied(self, seconds: float) -> None:
        """Note that the engine has applied the inputs of a commit."""
        self._durations["apply"].observe(seconds)

    def committed(self, commit: Commit, records: int, rows: int, seconds: float, *, idle: bool) -> None:
        """Note a successful commit."""
        status, totals, engine = self._status, self._totals, self._engine
        status.commits += 1
        status.commit_seq = engine.commit_seq
        status.positions = dict(engine.positions)
        status.clock = engine.clocks[Topic.TICKS]
        status.records += records
        status.rows += rows
        status.idle_moves += idle
        status.outputs.update(output.topic for output in commit.outputs)
        status.too_many_invalid = engine.invalid.over
        status.last_commit = time.monotonic()
        status.failing = None
        totals.commits += 1
        totals.records += records
        totals.rows += rows
        totals.idle_moves += idle
        self._durations["transaction"].observe(seconds)
        for stage, taken_s in self._stopwatch.taken():
            self._durations[stage].observe(taken_s)
        self._count_outputs(commit)
        self._count(commit.counts)

    def solves(self) -> list[tuple[float, float]]:
        """Return start (`time.perf_counter`) and seconds of the schedules since the last commit."""
        return self._stopwatch.of("solve")

    def _count_outputs(self, commit: Commit) -> None:
        totals = self._totals
        orders_moved = False
        for output in commit.outputs:
            totals.outputs[output.topic.value] += 1
            match output.message:
                case Plan() as plan if output.topic is Topic.PLANS:
                    totals.plans[plan.reason, plan.status] += 1
                    self._keep(plan)
                    orders_moved = True
                case Alert() as alert:
                    totals.alerts[alert.kind] += 1
                    orders_moved = True
                case DeadLetter() as letter:
                    totals.dead[letter.reason] += 1
                case _:
                    pass
        if orders_moved:
            # Every order that begins, ends or halts publishes a plan or an alert.
            self._status.orders, self._status.halted = self._engine.orders.active()
            self._status.halts = _halts(self._engine)

    def _keep(self, plan: Plan) -> None:
        """Note that `plan` is its order's current plan."""
        if plan.status != "active":
            self._status.plans.pop(plan.cl_ord_id, None)
            return
        # The generic prior alone gives no price worth stating.
        priced = plan.model is not None and plan.model.as_of is not None
        cost, twap_cost = (plan.expected_cost or 0.0, plan.twap_cost or 0.0) if priced else (0.0, 0.0)
        self._status.plans[plan.cl_ord_id] = OpenPlan(cost, twap_cost, short=plan.shortfall_qty > 0)

    def _count(self, counts: Counts) -> None:
        totals = self._totals
        totals.minutes += counts.minutes
        totals.withheld += counts.withheld
        totals.ticks["accepted", ""] += counts.rows_accepted
        totals.ticks["late", ""] += counts.rows_late
        totals.ticks.update({("rejected", reason): count for reason, count in counts.rows_rejected.items()})
        totals.shadows.update({str(n): count for n, count in counts.shadows.items()})
        totals.shadows_held.update({(str(n), f"{level:g}"): held for (n, level), held in counts.shadows_held.items()})
        totals.trials["ended"] += counts.trials
        totals.trials["saved"] += counts.trials_saved_bps
        totals.trials["lost"] += counts.trials_lost_bps
        totals.trials["possible"] += counts.trials_possible_bps


def _halts(engine: Engine) -> dict[str, str]:
    """Return the reasons of halts by scope."""
    switch = engine.halts.kill_switch
    return dict(engine.halts.scopes) | ({} if switch is None else {"kill switch": switch})
