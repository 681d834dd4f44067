"""Writes down what one owned partition does.

Everything is written on the event loop's thread.  What the engine times in a
worker thread is kept by its `Stopwatch` until the commit that it belongs to.

What is counted by contents (ticks, plans, alerts, dead letters) is counted
when its commit stands: memory that was dropped has counted nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import Alert, DeadLetter, Plan
from impactd.shell.kafka.status import OpenPlan

if TYPE_CHECKING:
    from impactd.core.engine import Engine
    from impactd.core.inputs.ticks import Refused
    from impactd.core.state.commit import Commit
    from impactd.shell.kafka.status import PartitionStatus, Status

#: How the engine's counters of rows are named: ``rows.accepted``, ``rows.late``, ``rows.rejected.crossed``.
_ROWS: Final = "rows."

#: And those of shadow plans: ``shadows.60`` ended, ``shadows.60.0.8`` were held by their band.
_SHADOWS: Final = "shadows."
#: And those of the guard's trials: ``trials.ended``; what they saved, lost and might have saved, bps of TWAP's cost.
_TRIALS: Final = "trials."


class Stopwatch:
    """Times what the engine says that it does; used by one thread at a time."""

    def __init__(self) -> None:
        self._timed: list[tuple[str, float]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._timed.append((stage, time.perf_counter() - started))

    def taken(self) -> list[tuple[str, float]]:
        """Return what was timed since the last call: stage and seconds."""
        timed, self._timed = self._timed, []
        return timed


class Meter:
    """Keeps the numbers of one owned partition.

    Parameters
    ----------
    status : PartitionStatus
        Of the partition; both are written.
    engine : Engine
        Restored; read between its commits.
    stopwatch : Stopwatch
        The engine's.
    """

    def __init__(self, process: Status, status: PartitionStatus, engine: Engine, stopwatch: Stopwatch) -> None:
        self._status = status
        self._durations = process.durations
        self._totals = process.totals_of(status.partition)
        self._engine = engine
        self._stopwatch = stopwatch
        self._counted = Counter(engine.counters)
        status.clock = engine.clocks[Topic.TICKS]
        status.orders, status.halted = engine.order_counts()
        status.halts = _halts(engine)
        status.too_many_invalid = engine.invalid.over

    def decoded(self, topic: Topic, seconds: float, refused: Iterable[Refused], skipped: int) -> None:
        """Note that a fetch was decoded."""
        reasons = Counter(item.reason for item in refused)
        self._durations["decode"].observe(seconds)
        self._status.decode_seconds_total += seconds
        self._status.refused.update(reasons)
        self._status.skipped_unknown += skipped
        self._totals.refused.update({(topic.value, reason): count for reason, count in reasons.items()})
        self._totals.skipped_unknown += skipped

    def applied(self, seconds: float) -> None:
        """Note that the engine has applied what a commit takes in."""
        self._durations["apply"].observe(seconds)
        self._status.apply_seconds_total += seconds

    def committed(self, commit: Commit, records: int, rows: int, seconds: float, *, idle: bool) -> None:
        """Note that a commit stands."""
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
        status.commit_seconds = seconds
        status.commit_seconds_total += seconds
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
        self._count_rows()

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
            # No order begins, ends or halts without a plan or an alert that says so.
            self._status.orders, self._status.halted = self._engine.order_counts()
            self._status.halts = _halts(self._engine)

    def _keep(self, plan: Plan) -> None:
        """Note that `plan` is what its order goes by now."""
        if plan.status != "active":
            self._status.plans.pop(plan.cl_ord_id, None)
            return
        # The generic prior alone gives no price worth stating.
        priced = plan.model is not None and plan.model.as_of is not None
        cost, twap_cost = (plan.expected_cost or 0.0, plan.twap_cost or 0.0) if priced else (0.0, 0.0)
        self._status.plans[plan.cl_ord_id] = OpenPlan(cost, twap_cost, short=plan.shortfall_qty > 0)

    def _count_rows(self) -> None:
        now = self._engine.counters
        for name, count in (now - self._counted).items():
            if name.startswith(_ROWS):
                result, _, reason = name.removeprefix(_ROWS).partition(".")
                self._totals.ticks[result, reason] += count
            elif name.startswith(_TRIALS):
                self._totals.trials[name.removeprefix(_TRIALS)] += count
            elif name.startswith(_SHADOWS):
                n, _, level = name.removeprefix(_SHADOWS).partition(".")
                if level:
                    self._totals.shadows_held[n, level] += count
                else:
                    self._totals.shadows[n] += count
        self._totals.minutes += now["minutes"] - self._counted["minutes"]
        self._totals.withheld += now["withheld"] - self._counted["withheld"]
        self._counted = Counter(now)


def _halts(engine: Engine) -> dict[str, str]:
    """Return what is halted, by scope, with its reason."""
    switch = engine.halts.kill_switch
    return dict(engine.halts.scopes) | ({} if switch is None else {"kill switch": switch})
