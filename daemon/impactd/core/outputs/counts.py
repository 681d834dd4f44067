"""Counts of one commit; metrics and summaries add them up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class EventOutcome(StrEnum):
    """What became of an order, execution or control event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    #: Waits for the order or execution that it refers to.
    HELD = "held"
    #: Changes nothing in the order's status, such as a cancel of an ended order.
    IGNORED = "ignored"
    #: An execution whose exec_id was reported with other content.
    CONFLICT = "conflict"
    #: The filled quantity would exceed what any order can have.
    TOO_LARGE = "too_large"
    #: The order has as many executions as plans.max_executions allows.
    EXECUTIONS_FULL = "executions_full"


@dataclass(slots=True)
class Counts:
    """Counts of one commit, complete once the commit is taken from the outbox."""

    ticks: int = 0
    refused: int = 0
    minutes: int = 0
    refits: int = 0
    #: Plans for which no solver passed its certificate.
    unsolved: int = 0
    #: Plans that the gate withheld.
    withheld: int = 0
    #: Tick rows of closed minutes that were used, and that came after their minute had closed.
    rows_accepted: int = 0
    rows_late: int = 0
    #: Tick rows of closed minutes that the book checks rejected, by reason.
    rows_rejected: Counter[str] = field(default_factory=Counter)
    events: Counter[EventOutcome] = field(default_factory=Counter)
    #: Shadow plans that ended, by number of intervals.
    shadows: Counter[int] = field(default_factory=Counter)
    #: Those whose cost lay in the band stated at their start, by number of intervals and nominal coverage.
    shadows_held: Counter[tuple[int, float]] = field(default_factory=Counter)
    trials: int = 0
    #: What they saved, lost and could have saved, basis points of TWAP's cost.
    trials_saved_bps: int = 0
    trials_lost_bps: int = 0
    trials_possible_bps: int = 0
