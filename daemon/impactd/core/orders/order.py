"""Parent orders: new, replace, cancel, fill, correct, bust, done.

The life of an order is a table, `TRANSITIONS`: from its status and the type
of the event to the function that applies it.  What is not in the table is
counted as ignored and changes nothing.

Rules that hold after every event:

- while an order is active, ``order_qty = cum_qty + leaves_qty`` exactly;
- an execution counts once, whatever the number of its deliveries;
- executions apply to an ended order too, since the venue has already traded;
- an order that ended by its window or by a cancel never becomes active again;
  one that ended as filled does, if a bust reopens it inside its window, and
  after its window counts as expired with what the bust took back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from impactd.core.base.quantity import MAX_QUANTA, QUANTA, format_qty
from impactd.core.base.topics import Side
from impactd.core.inputs.events import (
    Bust,
    CancelOrder,
    Correct,
    ExecutionEvent,
    Fill,
    NewOrder,
    OrderEvent,
    ReplaceOrder,
)
from impactd.core.inputs.terms import Terms
from impactd.core.orders.costs import Costs, Mark
from impactd.core.orders.schedule import Schedule
from impactd.core.outputs.counts import EventOutcome


class Status(StrEnum):
    """Where an order stands; ``halted`` is a plan's status only, over an active order."""

    ACTIVE = "active"
    DONE = "done"
    EXPIRED = "expired"
    CANCELED = "canceled"
    REJECTED = "rejected"


class Execution(NamedTuple):
    """What an exec_id contributes now: 0 quanta once busted, or for a bust's own id; and where the market stood."""

    qty: int
    px: float
    mark: Mark | None = None


class Outcome(NamedTuple):
    """The result of applying an event to an order.

    Attributes
    ----------
    kind : EventOutcome
    replan : str or None
        Reason of the plan that is due now; None if none is.
    alert : tuple of (str, str) or None
        Kind and text of an alert.
    """

    kind: EventOutcome
    replan: str | None = None
    alert: tuple[str, str] | None = None


@dataclass(slots=True)
class Order:
    """One parent order and all that is known of it. Quantities in quanta, times in ns."""

    new: NewOrder
    terms: Terms
    status: Status = Status.ACTIVE
    text: str | None = None
    cum_qty: int = 0
    plan_version: int = 0
    #: The latest event time that the order has been planned or amended at.
    clock: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    #: Start of the interval that the latest fills fell into, and their sum, whatever was busted since.
    interval_start: int = 0
    interval_qty: int = 0
    #: Continuous volume of the market in closed minutes since `works_from`, shares.
    market_volume: float = 0.0
    #: Conditions that have been alerted and still hold, so that each is said once.
    alerted: set[str] = field(default_factory=set)
    executions: dict[str, Execution] = field(default_factory=dict)
    #: Whether the last published plan was a halted one.
    halted: bool = False
    ended_at: int | None = None
    #: The mid when it began to work and when it ended, prices (`impactd.core.orders.costs`).
    arrival_px: float | None = None
    end_px: float | None = None
    #: Turnover (currency) and continuous volume of the market while it worked, of minutes whose average is known.
    vwap_turnover: float = 0.0
    vwap_volume: float = 0.0
    #: What its fills have cost.
    costs: Costs = field(default_factory=Costs)
    #: When it ended, ns, and what not trading the rest has cost (`impactd.core.orders.costs`); None while it works.
    closed: tuple[int, int] | None = None
    #: Whether the latter is unknown, for want of a mid on arrival or at the end; it counts as 0 then.
    unpriced: bool = False
    #: What is left at `displaced_at` (ns) of the displacement by its own fills, and what a share adds to it now, both
    #: with the square root of depth (`impactd.core.planning.transient`); 0 where no impact lasts.
    displacement: float = 0.0
    displaced_at: int = 0
    depth_root: float = 0.0

    @classmethod
    def open(cls, new: NewOrder, now: int) -> Order:
        """Return the order that `new` describes, active, at event time `now`."""
        return cls(new=new, terms=new.terms, clock=now)

    @property
    def order_qty(self) -> int:
        """Quantity of the order."""
        return self.terms.order_qty

    @property
    def cl_ord_id(self) -> str:
        """Name of the parent order, for life."""
        return self.new.cl_ord_id

    @property
    def symbol(self) -> str:
        """Symbol it trades."""
        return self.new.symbol

    @property
    def side(self) -> Side:
        """Side it trades on."""
        return self.new.side

    @property
    def active(self) -> bool:
        """Whether it can still trade."""
        return self.status is Status.ACTIVE

    @property
    def leaves_qty(self) -> int:
        """What is still to trade: nothing once the order has ended."""
        return max(self.order_qty - self.cum_qty, 0) if self.active else 0

    @property
    def works_from(self) -> int:
        """When it begins to work: at its window's start, or when it was sent into a window that had begun, ns."""
        return max(self.terms.start, self.new.ts_event)

    @property
    def off_plan(self) -> bool:
        """Whether fills have left the path of the schedule in force."""
        under_way = self.schedule.qty[0] if self.schedule.qty else 0
        left = sum(self.schedule.qty) - self.schedule.filled_qty + self.schedule.shortfall_qty
        return not 0 <= self.schedule.filled_qty <= under_way or left != self.leaves_qty

    def displace(self, qty: int, at: ApplyContext) -> None:
        """Have `qty` quanta of the interval under way displace the market; dated at its start, as plans charge it."""
        if at.half_life_ns is None or qty <= 0:
            return
        since = max(at.now // at.interval_ns * at.interval_ns, self.works_from, self.displaced_at)
        self.displacement *= 0.5 ** ((since - self.displaced_at) / at.half_life_ns)
        self.displacement += self.depth_root * qty / QUANTA
        self.displaced_at = since

    def finish(self, status: Status, now: int, text: str | None = None) -> None:
        """End the order at event time `now`."""
        self.status = status
        self.text = text
        self.ended_at = now
        self.schedule = Schedule()


#: A time beyond this (the year 2116) is no time: sums with it would leave int64.
LAST_NS: Final = 2**62

#: Far beyond any use (Almgren and Chriss 2000 have 1e-6), and every risk term stays a finite number.
MAX_RISK_AVERSION: Final = 1e9


def same_order(known: NewOrder, again: NewOrder) -> bool:
    """Return whether a second `new` repeats the first, whenever it was sent."""
    return dataclasses.replace(again, ts_event=known.ts_event) == known


class ApplyContext(NamedTuple):
    """When an event applies, and the limits that it applies under.

    Attributes
    ----------
    now : int
        Event time, ns.
    interval_ns : int
        Length of an interval.
    max_intervals : int
        Longest window allowed, in intervals.
    max_executions : int
        Most executions that an order remembers.
    half_life_ns : int or None
        Of impact that lasts; None where none does.
    """

    now: int
    interval_ns: int
    max_intervals: int
    max_executions: int
    half_life_ns: int | None = None


def refusal(terms: Terms, at: ApplyContext) -> str | None:
    """Return why an order with these terms cannot be worked, or None."""
    if terms.end > LAST_NS:
        return f"end {terms.end} lies after the year 2116; send nanoseconds since the epoch"
    if terms.risk_aversion > MAX_RISK_AVERSION:
        return f"risk_aversion {terms.risk_aversion:g} is above {MAX_RISK_AVERSION:g}; check its unit, 1/currency"
    if terms.end <= terms.start:
        return f"end {terms.end} is not after start {terms.start}"
    if terms.end <= at.now:
        return f"the window ended at {terms.end}, and it is {at.now}"
    clip, limit = terms.min_clip_qty, terms.max_interval_qty
    if clip is not None and limit is not None and clip > limit:
        return "min_clip_qty is above max_interval_qty, so that no interval may trade; lower it, or raise the other"
    if terms.end - max(terms.start, at.now) > at.max_intervals * at.interval_ns:
        return (
            f"the window spans more than {at.max_intervals} intervals; shorten it or raise plans.max_horizon_intervals"
        )
    return None


def _replace(order: Order, event: ReplaceOrder, at: ApplyContext) -> Outcome:
    terms = order.terms.changed(dict(event.changes))
    if terms.order_qty <= order.cum_qty:
        # FIX: an OrderQty below CumQty is taken as CumQty, and the order is filled.
        order.terms = terms.changed({"order_qty": order.cum_qty})
        order.finish(Status.DONE, at.now, "replaced to no more than was filled")
        return Outcome(EventOutcome.APPLIED, "replace")
    why = refusal(terms, at)
    if why is not None:
        return Outcome(EventOutcome.REJECTED, None, ("order_rejected", f"replace rejected: {why}"))
    order.terms = terms
    return Outcome(EventOutcome.APPLIED, "replace")


def _replace_ended(order: Order, _event: ReplaceOrder, _at: ApplyContext) -> Outcome:
    text = f"replace rejected: the order is {order.status}"
    return Outcome(EventOutcome.REJECTED, None, ("order_rejected", text))


def _cancel(order: Order, _event: CancelOrder, at: ApplyContext) -> Outcome:
    order.finish(Status.CANCELED, at.now)
    return Outcome(EventOutcome.APPLIED, "cancel")


def _fill(order: Order, event: Fill, at: ApplyContext) -> Outcome:
    if event.exec_id in order.executions:
        return Outcome(EventOutcome.DUPLICATE)
    if len(order.executions) >= at.max_executions:
        return Outcome(EventOutcome.EXECUTIONS_FULL)
    if order.cum_qty + event.last_qty > MAX_QUANTA:
        return Outcome(EventOutcome.TOO_LARGE)
    order.executions[event.exec_id] = Execution(event.last_qty, event.last_px)
    return _trade(order, event.last_qty, "fill", at)


def _amend_fill(order: Order, event: Correct | Bust, at: ApplyContext) -> Outcome:
    if event.exec_id in order.executions:
        return Outcome(EventOutcome.DUPLICATE)
    known = order.executions.get(event.exec_ref_id)
    if known is None:
        return Outcome(EventOutcome.HELD)
    if len(order.executions) >= at.max_executions:
        return Outcome(EventOutcome.EXECUTIONS_FULL)
    qty, px = (event.last_qty, event.last_px) if isinstance(event, Correct) else (0, known.px)
    corrected = known._replace(qty=qty, px=px)
    if order.cum_qty + corrected.qty - known.qty > MAX_QUANTA:
        return Outcome(EventOutcome.TOO_LARGE)
    order.executions[event.exec_ref_id] = corrected
    order.executions[event.exec_id] = Execution(0, corrected.px)
    reason = "correct" if isinstance(event, Correct) else "bust"
    return _trade(order, corrected.qty - known.qty, reason, at)


def _trade(order: Order, qty: int, reason: str, at: ApplyContext) -> Outcome:
    """Apply a change of the filled quantity and say what follows from it."""
    order.cum_qty += qty
    interval = at.now // at.interval_ns * at.interval_ns
    if interval != order.interval_start:
        order.interval_start, order.interval_qty = interval, 0
    order.interval_qty += max(qty, 0)
    order.displace(qty, at)
    over = order.cum_qty - order.order_qty
    alert = None
    if over > 0 and qty > 0:
        text = f"filled {format_qty(over)} more than ordered"
        alert = ("overfill", text)
    if order.active:
        order.schedule.filled_qty += qty
        if over >= 0:
            order.finish(Status.DONE, at.now)
            return Outcome(EventOutcome.APPLIED, reason, alert)
        return Outcome(EventOutcome.APPLIED, reason if order.off_plan else None, alert)
    if order.status is Status.DONE and over < 0:
        if at.now < order.terms.end:
            order.status, order.text, order.ended_at = Status.ACTIVE, None, None
            return Outcome(EventOutcome.APPLIED, reason)
        order.finish(Status.EXPIRED, at.now)
        text = f"the window has ended, and {format_qty(-over)} of it were taken back"
        return Outcome(EventOutcome.APPLIED, reason, ("shortfall", text))
    if alert is None and qty > 0:
        alert = ("late_fill", f"a fill of {format_qty(qty)} came after the order was {order.status}")
    return Outcome(EventOutcome.APPLIED, reason, alert)


_Apply = Callable[[Order, Any, ApplyContext], Outcome]

#: (status, type of event) -> what it does.
TRANSITIONS: Final[dict[tuple[Status, type], _Apply]] = {
    (Status.ACTIVE, ReplaceOrder): _replace,
    (Status.DONE, ReplaceOrder): _replace_ended,
    (Status.EXPIRED, ReplaceOrder): _replace_ended,
    (Status.CANCELED, ReplaceOrder): _replace_ended,
    (Status.ACTIVE, CancelOrder): _cancel,
    (Status.ACTIVE, Fill): _fill,
    (Status.DONE, Fill): _fill,
    (Status.EXPIRED, Fill): _fill,
    (Status.CANCELED, Fill): _fill,
    (Status.ACTIVE, Correct): _amend_fill,
    (Status.DONE, Correct): _amend_fill,
    (Status.EXPIRED, Correct): _amend_fill,
    (Status.CANCELED, Correct): _amend_fill,
    (Status.ACTIVE, Bust): _amend_fill,
    (Status.DONE, Bust): _amend_fill,
    (Status.EXPIRED, Bust): _amend_fill,
    (Status.CANCELED, Bust): _amend_fill,
}


def apply_event(order: Order, event: OrderEvent | ExecutionEvent, at: ApplyContext) -> Outcome:
    """Apply `event` to `order` and return what follows.

    Parameters
    ----------
    order : Order
        Changed in place.
    event : ReplaceOrder, CancelOrder, Fill, Correct or Bust
    at : ApplyContext
        Event time and limits.
    """
    apply = TRANSITIONS.get((order.status, type(event)))
    return Outcome(EventOutcome.IGNORED) if apply is None else apply(order, event, at)
