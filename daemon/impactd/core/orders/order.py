"""Parent orders: new, replace, cancel, fill, correct, bust, done.

The life of an order is a table, `TRANSITIONS`: from its status and the type
of the event to the function that applies it.  An event that is not in the table
is counted as ignored and changes nothing.

Rules that hold after every event:

- while an order is active, ``order_qty = cum_qty + leaves_qty`` exactly;
- an execution counts once, however often it is delivered.  The quantity of a
  fill is that of its latest amendment: a correction or bust that names the
  latest one before it, or whose ts_event is not older, in any order of delivery;
- a fill counts in the interval of its own ts_event, and so does every amendment
  of it, whenever they arrive;
- executions apply to an ended order too, since the venue has already traded;
- an order that ended by its window or by a cancel never becomes active again.
  One that ended as filled does if a bust reopens it inside its window; after its
  window it counts as expired with the quantity that the bust took back;
- a replace to no more than is filled ends the order as filled, and its
  `order_qty` is then `cum_qty` (FIX).  The quantity that was asked for is kept:
  if busts bring `cum_qty` below it, the order is worked up to it and no further.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from impactd.core.base.instrument import UNDEFINED, Instrument
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
from impactd.core.orders.auction import Entry, entered
from impactd.core.orders.costs import Costs, Mark
from impactd.core.orders.schedule import Schedule
from impactd.core.outputs.counts import EventOutcome


class Status(StrEnum):
    """Status of an order; ``halted`` is a plan's status only, over an active order."""

    ACTIVE = "active"
    DONE = "done"
    EXPIRED = "expired"
    CANCELED = "canceled"
    REJECTED = "rejected"


class Execution(NamedTuple):
    """An execution as it counts now.

    Attributes
    ----------
    n : int
        Position among the order's executions, in order of arrival.
    qty : int
        Quanta; of a fill, as its latest amendment has it; 0 for the amendments themselves.
    px : float
    ts_event : int
        Its own event time, ns.
    fill_id : str or None
        The fill that it amends; None for a fill.
    latest : str or None
        exec_id of a fill's latest amendment; None if it has none.
    amended_at : int
        ts_event of that amendment, ns; 0 if there is none.
    auction : bool
        Whether a fill is one of an auction.
    mark : Mark or None
        The market at the arrival of a fill.
    """

    n: int
    qty: int
    px: float
    ts_event: int
    fill_id: str | None = None
    latest: str | None = None
    amended_at: int = 0
    auction: bool = False
    mark: Mark | None = None


class Change(NamedTuple):
    """A fill that an event has added or amended, what it was before, and the assumed quanta that it has replaced."""

    exec_id: str
    before: Execution | None
    replaced: int


class Outcome(NamedTuple):
    """The result of applying an event to an order.

    Attributes
    ----------
    kind : EventOutcome
    replan : str or None
        Reason of the plan that is due now; None if none is.
    alert : tuple of (str, str) or None
        Kind and text of an alert.
    change : Change or None
        The fill that has changed.
    """

    kind: EventOutcome
    replan: str | None = None
    alert: tuple[str, str] | None = None
    change: Change | None = None


#: Bounds that keep an order's state value below 256 kB: ids of the chain after the first, replaces that are
#: remembered, and intervals whose quantity was assumed.
MAX_IDS: Final = 256
MAX_REPLACES: Final = 256
MAX_ASSUMED: Final = 2_000

#: Intervals from that of `Order.clock` on whose fills are kept; more than one where ticks lag.
_MAX_OPEN: Final = 64


@dataclass(slots=True)
class Order:
    """One parent order with its state. Quantities in quanta, times in ns."""

    new: NewOrder
    terms: Terms
    status: Status = Status.ACTIVE
    text: str | None = None
    cum_qty: int = 0
    plan_version: int = 0
    #: The latest event time that the order has been planned or amended at.
    clock: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    #: Ids of the chain after the first, oldest first.
    later_ids: list[str] = field(default_factory=list)
    #: Digests of the latest replaces, to recognise one that is delivered again.
    replaces: list[str] = field(default_factory=list)
    #: Whether a replace has asked for less than was filled.
    reduced: bool = False
    #: Whether it was canceled once it was done: what a bust takes back is then not worked again.
    cancel_asked: bool = False
    #: Net fills by start of the interval of their ts_event, from the interval of `clock` on.
    filled_in: dict[int, int] = field(default_factory=dict)
    #: With ``fills = "scheduled"``: the quantity that counts as filled without a report, by start of its interval.
    assumed: dict[int, int] = field(default_factory=dict)
    #: Continuous volume of the market in closed minutes since `works_from`, shares.
    market_volume: float = 0.0
    #: Start of the last interval in which it may trade, ns, as it was last planned; 0 where it may not.
    last_start: int = 0
    #: Its entries in auctions (`impactd.core.planning.auctions`), and what auctions have filled, quanta.
    auctions: tuple[Entry, ...] = ()
    auction_qty: int = 0
    #: Lowest and highest cost of a share, price, by the band at 0.95 of the first plan that had one.
    cost_band: tuple[float, float] | None = None
    #: Where the market was about its limit and would price when it was planned (`impactd.core.planning.price_watch`).
    zones: str = ""
    #: When its drift view was sent, ns (`impactd.core.planning.alpha`).
    view_from: int = 0
    #: With an urgency: impact of an interval at an even pace over the squared pace, price per share, the number of the
    #: interval after the one it was last planned in, and the same from there on (`impactd.core.planning.urgency`).
    impact_scale: list[float] = field(default_factory=list)
    #: Conditions that have been alerted and still hold, so that each is alerted once.
    alerted: set[str] = field(default_factory=set)
    executions: dict[str, Execution] = field(default_factory=dict)
    #: Whether it was last planned by itself, to be planned with its group later.
    single: bool = False
    #: Whether the last published plan was a halted one, and whether its schedule was made without a tick.
    halted: bool = False
    blind: bool = False
    ended_at: int | None = None
    #: Mid when it began to work and when it ended, prices (`impactd.core.orders.costs`).
    arrival_px: float | None = None
    end_px: float | None = None
    #: Turnover (currency) and continuous volume of the market while it worked, over minutes with a VWAP.
    vwap_turnover: float = 0.0
    vwap_volume: float = 0.0
    #: Cost of its fills.
    costs: Costs = field(default_factory=Costs)
    #: When it ended, ns, and its opportunity cost (`impactd.core.orders.costs`); None while it works.
    closed: tuple[int, int] | None = None
    #: Whether the latter is unknown, for lack of a mid on arrival or at the end; it counts as 0 then.
    unpriced: bool = False
    #: Displacement by its own fills that is left at `displaced_at` (ns), and what a share adds to it now, both times
    #: the square root of depth (`impactd.core.planning.transient`); 0 without transient impact.
    displacement: float = 0.0
    displaced_at: int = 0
    depth_root: float = 0.0
    #: The definition under which it was taken.
    instrument: Instrument = UNDEFINED

    @classmethod
    def open(cls, new: NewOrder, now: int, instrument: Instrument = UNDEFINED) -> Order:
        """Return the order that `new` describes, active, at event time `now`."""
        terms = _in_lots(new.terms, instrument)
        return cls(new=new, terms=terms, clock=now, view_from=new.ts_event, instrument=instrument)

    @property
    def order_qty(self) -> int:
        """Quantity of the order; what is filled if a replace has asked for less."""
        return max(self.terms.order_qty, self.cum_qty) if self.reduced else self.terms.order_qty

    @property
    def cl_ord_id(self) -> str:
        """First id of the chain: names the order for life."""
        return self.new.cl_ord_id

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id of the order's chain, oldest first."""
        return (self.cl_ord_id, *self.later_ids)

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
        """What is left to trade; 0 once the order has ended."""
        left = self.terms.order_qty - self.cum_qty if self.active else 0
        return max(left, 0)

    def limit(self, mid: float | None) -> float | None:
        """Return the limit price; None without one, or where a relative one has nothing to be relative to.

        Until the order has its arrival price, a relative limit is about `mid`, the mid now.
        """
        terms = self.terms
        if terms.limit_offset_bps is None:
            return terms.limit_px
        base = mid if self.arrival_px is None else self.arrival_px
        return None if base is None else base * (1.0 + self.side.sign * terms.limit_offset_bps / 1e4)

    def would(self, mid: float | None) -> float | None:
        """Return its would price, or its limit where that is the better one; None without a would price."""
        would, limit = self.terms.would_px, self.limit(mid)
        if would is None or limit is None:
            return would
        return min(would, limit) if self.side is Side.BUY else max(would, limit)

    @property
    def works_from(self) -> int:
        """When it begins to work: at its window's start, or when it was sent into a window that had begun, ns."""
        return max(self.terms.start, self.new.ts_event)

    @property
    def entered_qty(self) -> int:
        """What its entries in auctions may still fill, quanta."""
        return entered(self.auctions)

    @property
    def continuous_qty(self) -> int:
        """What is left to trade outside of auctions, quanta."""
        return max(self.leaves_qty - self.entered_qty, 0)

    @property
    def off_plan(self) -> bool:
        """Whether executions deviate from the current schedule."""
        return not self.schedule.on_path or self.schedule.left_qty + self.entered_qty != self.leaves_qty

    def fill(self, ts_event: int, qty: int, at: ApplyContext, *, auction: bool = False) -> int:
        """Add a change of the filled quantity at the interval of `ts_event`; return the quanta that it replaces.

        A fill of an auction counts towards the latest entry that was to be there by then.  A report for an interval
        whose quantity was assumed replaces the assumption as far as it goes.
        """
        interval = ts_event // at.interval_ns * at.interval_ns
        replaced = min(self.assumed.get(interval, 0), max(qty, 0))
        if replaced:
            self.assumed[interval] -= replaced
            if not self.assumed[interval]:
                del self.assumed[interval]
        self.cum_qty += qty - replaced
        if auction:
            self.enter(ts_event, qty - replaced)
            return replaced
        self._note_filled(interval, qty - replaced, at.interval_ns)
        self.displace(ts_event, qty - replaced, at)
        self.schedule.fill(ts_event, qty - replaced, at.interval_ns)
        return replaced

    def enter(self, ts_event: int, qty: int) -> None:
        """Count `qty` quanta as filled by the latest auction whose cutoff was by `ts_event`, ns."""
        self.auction_qty += qty
        due = [k for k, entry in enumerate(self.auctions) if entry.cutoff <= ts_event]
        if due:
            entries = list(self.auctions)
            entries[due[-1]] = entries[due[-1]]._replace(filled=entries[due[-1]].filled + qty)
            self.auctions = tuple(entries)

    def assume(self, ts: int, qty: int, at: ApplyContext) -> None:
        """Count the unfilled quantity of the closed interval that holds `ts` as filled."""
        interval = ts // at.interval_ns * at.interval_ns
        self.assumed[interval] = self.assumed.get(interval, 0) + qty
        if len(self.assumed) > MAX_ASSUMED:
            del self.assumed[min(self.assumed)]
        self.cum_qty += qty
        self.displace(ts, qty, at)

    def take(self, ts: int, qty: int, at: ApplyContext) -> None:
        """Count a slice that was published at `ts` as filled: a part of its interval's plan, as a fill is."""
        self.assume(ts, qty, at)
        self._note_filled(ts // at.interval_ns * at.interval_ns, qty, at.interval_ns)
        self.schedule.fill(ts, qty, at.interval_ns)

    def displace(self, ts_event: int, qty: int, at: ApplyContext) -> None:
        """Add the displacement of `qty` quanta filled at `ts_event`, dated at the start of its interval as in plans."""
        if at.half_life_ns is None or qty <= 0:
            return
        since = max(ts_event // at.interval_ns * at.interval_ns, self.works_from, self.displaced_at)
        self.displacement *= 0.5 ** ((since - self.displaced_at) / at.half_life_ns)
        self.displacement += self.depth_root * qty / QUANTA
        self.displaced_at = since

    def _note_filled(self, interval: int, qty: int, interval_ns: int) -> None:
        """Add to the net fills of an interval; those before the interval of `clock` are no longer planned."""
        first = self.clock // interval_ns * interval_ns
        kept = {start: filled for start, filled in self.filled_in.items() if start >= first}
        if interval >= first:
            kept[interval] = kept.get(interval, 0) + qty
        self.filled_in = dict(sorted(kept.items())[-_MAX_OPEN:])

    def finish(self, status: Status, now: int, text: str | None = None) -> None:
        """End the order at event time `now`."""
        self.status = status
        self.text = text
        self.ended_at = now
        self.schedule = Schedule()


#: Times beyond this (the year 2116) are refused: sums with them would leave int64.
LAST_NS: Final = 2**62

#: Far above any use (Almgren and Chriss 2000 have 1e-6); keeps every risk term finite.
MAX_RISK_AVERSION: Final = 1e9


def same_order(known: NewOrder, again: NewOrder) -> bool:
    """Return whether a second `new` has the content of the first; ts_event may differ."""
    return dataclasses.replace(again, ts_event=known.ts_event) == known


class ApplyContext(NamedTuple):
    """The event time at which an event applies, and the limits.

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
        Of transient impact; None without it.
    auctions : bool
        Whether the symbol's market opens and closes, so that it has auctions.
    venues : tuple of str
        Venues that are known of the symbol.
    sliced : bool
        Whether orders are worked in slices, which take the merged book of all venues.
    """

    now: int
    interval_ns: int
    max_intervals: int
    max_executions: int
    half_life_ns: int | None = None
    auctions: bool = True
    venues: tuple[str, ...] = ()
    sliced: bool = False


def _in_lots(terms: Terms, instrument: Instrument) -> Terms:
    """Return the terms with the instrument's lot where they state none."""
    return terms if terms.lot_size else terms.changed({"lot_size": instrument.lot})


def _unfit(terms: Terms, instrument: Instrument) -> str | None:
    """Return why the terms cannot be those of an order on the instrument, or None."""
    if (why := instrument.refuses(terms.order_qty)) is not None:
        return why
    for name, px in {"limit_px": terms.limit_px, "would_px": terms.would_px}.items():
        if px is not None and px <= 0.0 and not instrument.negative_px:
            return f"{name} {px:g} is not positive; send the price, or set negative_px of the instrument"
    if terms.limit_offset_bps is not None and instrument.negative_px:
        return "limit_offset_bps: prices of the instrument may be at or below zero; send limit_px"
    if terms.alpha_bps and instrument.negative_px:
        return "alpha_bps: prices of the instrument may be at or below zero, so basis points say nothing; leave it out"
    return None


def refusal(  # one reason after the other
    terms: Terms, side: Side, at: ApplyContext, instrument: Instrument
) -> str | None:
    """Return why an order with these terms cannot be worked, or None."""
    if (why := _unfit(terms, instrument)) is not None:
        return why
    if terms.end > LAST_NS:
        return f"end {terms.end} lies after the year 2116; send nanoseconds since the epoch"
    if terms.risk_aversion > MAX_RISK_AVERSION:
        return f"risk_aversion {terms.risk_aversion:g} is above {MAX_RISK_AVERSION:g}; check its unit, 1/currency"
    if terms.end <= terms.start:
        return f"end {terms.end} is not after start {terms.start}"
    if terms.end <= at.now:
        return f"the window ended at {terms.end}; event time is {at.now}"
    clip, limit = terms.min_clip_qty, terms.max_interval_qty
    if clip is not None and limit is not None and clip > limit:
        return "min_clip_qty is above max_interval_qty, so no interval may trade; lower it, or raise max_interval_qty"
    if terms.auctions is not None and not at.auctions:
        return "auctions: the market of this symbol never closes, so it has none; leave it out, or set session.calendar"
    if terms.venues and at.sliced:
        return "venues: slices take the book of all venues together; leave it out, or set plans.act = minute"
    unknown = [name for name in terms.venues if name not in at.venues]
    if unknown:
        known = ", ".join(at.venues) or "none yet"
        return f"venues: {unknown[0]} is not known of this symbol ({known}); send others, or name it in [[venues]]"
    if (why := terms.contradiction(side)) is not None:
        return why
    if terms.end - max(terms.start, at.now) > at.max_intervals * at.interval_ns:
        return (
            f"the window spans more than {at.max_intervals} intervals; shorten it or raise plans.max_horizon_intervals"
        )
    return None


def _repeats(order: Order, event: ReplaceOrder) -> bool:
    """Return whether a replace was delivered before, and remember it; one that was rejected stays rejected."""
    digest = hashlib.blake2b(repr(event).encode(), digest_size=8).hexdigest()
    if digest in order.replaces:
        return True
    order.replaces = [*order.replaces[1 - MAX_REPLACES :], digest]
    return False


def _replace(order: Order, event: ReplaceOrder, at: ApplyContext) -> Outcome:
    if _repeats(order, event):
        return Outcome(EventOutcome.DUPLICATE)
    if event.orig_cl_ord_id is not None and event.cl_ord_id in order.later_ids:
        return _rejected(f"{event.cl_ord_id} is the id of an earlier request; send a new one")
    if event.orig_cl_ord_id is not None and len(order.later_ids) >= MAX_IDS:
        return _rejected(f"the order has {MAX_IDS} ids; cancel it and send a new order")
    terms = _in_lots(order.terms.changed(dict(event.changes)), order.instrument)
    if terms.order_qty <= order.cum_qty:
        order.terms = terms
        order.reduced = True
        order.finish(Status.DONE, at.now, "replaced to at most the filled quantity")
        return Outcome(EventOutcome.APPLIED, "replace")
    why = refusal(terms, order.side, at, order.instrument)
    if why is not None:
        return _rejected(why)
    if {"alpha_bps", "alpha_half_life_s"} & dict(event.changes).keys():
        order.view_from = event.ts_event
    order.terms = terms
    order.impact_scale = []  # of the quantity and window before
    return Outcome(EventOutcome.APPLIED, "replace")


def _replace_ended(order: Order, event: ReplaceOrder, _at: ApplyContext) -> Outcome:
    return Outcome(EventOutcome.DUPLICATE) if _repeats(order, event) else _rejected(f"the order is {order.status}")


def _rejected(why: str) -> Outcome:
    return Outcome(EventOutcome.REJECTED, None, ("order_rejected", f"replace rejected: {why}"))


def _cancel(order: Order, _event: CancelOrder, at: ApplyContext) -> Outcome:
    order.finish(Status.CANCELED, at.now)
    return Outcome(EventOutcome.APPLIED, "cancel")


def _cancel_done(order: Order, _event: CancelOrder, _at: ApplyContext) -> Outcome:
    if order.cancel_asked:
        return Outcome(EventOutcome.DUPLICATE)
    order.cancel_asked = True
    return Outcome(EventOutcome.APPLIED)


def _fill(order: Order, event: Fill, at: ApplyContext) -> Outcome:
    if event.exec_id in order.executions:
        return Outcome(EventOutcome.DUPLICATE)
    if len(order.executions) >= at.max_executions:
        return Outcome(EventOutcome.EXECUTIONS_FULL)
    if order.cum_qty + event.last_qty > MAX_QUANTA:
        return Outcome(EventOutcome.TOO_LARGE)
    auction = event.last_liquidity_ind == "auction"
    order.executions[event.exec_id] = Execution(
        len(order.executions), event.last_qty, event.last_px, event.ts_event, auction=auction
    )
    return _trade(order, event.ts_event, event.exec_id, None, event.last_qty, "fill", at, auction=auction)


def _amend_fill(order: Order, event: Correct | Bust, at: ApplyContext) -> Outcome:
    if event.exec_id in order.executions:
        return Outcome(EventOutcome.DUPLICATE)
    named = order.executions.get(event.exec_ref_id)
    if named is None:
        return Outcome(EventOutcome.HELD)
    if len(order.executions) >= at.max_executions:
        return Outcome(EventOutcome.EXECUTIONS_FULL)
    fill_id = named.fill_id or event.exec_ref_id
    known = order.executions[fill_id]
    qty, px = (event.last_qty, event.last_px) if isinstance(event, Correct) else (0, known.px)
    if order.cum_qty + qty - known.qty > MAX_QUANTA:
        return Outcome(EventOutcome.TOO_LARGE)
    order.executions[event.exec_id] = Execution(len(order.executions), 0, px, event.ts_event, fill_id)
    if event.exec_ref_id != (known.latest or fill_id) and event.ts_event < known.amended_at:
        return Outcome(EventOutcome.APPLIED)  # delivered after a later amendment
    order.executions[fill_id] = known._replace(qty=qty, px=px, latest=event.exec_id, amended_at=event.ts_event)
    reason = "correct" if isinstance(event, Correct) else "bust"
    return _trade(order, known.ts_event, fill_id, known, qty - known.qty, reason, at, auction=known.auction)


def _trade(
    order: Order,
    ts_event: int,
    fill_id: str,
    known: Execution | None,
    qty: int,
    reason: str,
    at: ApplyContext,
    *,
    auction: bool,
) -> Outcome:
    """Apply a change of the filled quantity in the interval of `ts_event` and return what follows from it."""
    before, ordered = order.cum_qty, order.order_qty
    change = Change(fill_id, known, order.fill(ts_event, qty, at, auction=auction))
    return _traded(order, qty, order.cum_qty - before, order.cum_qty - ordered, reason, at)._replace(change=change)


def _traded(order: Order, qty: int, added: int, over: int, reason: str, at: ApplyContext) -> Outcome:
    """Return what follows from a change by `qty`: `added` to what is filled, `over` more than was ordered."""
    alert = None
    if over > 0 and added > 0:
        alert = ("overfill", f"filled {format_qty(over)} more than ordered")
    if order.active:
        if over >= 0:
            order.finish(Status.DONE, at.now)
            return Outcome(EventOutcome.APPLIED, reason, alert)
        # An amendment that changes the quantity is never part of a plan; a fill is while it stays on its path.
        replan = order.off_plan or (reason != "fill" and qty != 0)
        return Outcome(EventOutcome.APPLIED, reason if replan else None, alert)
    short = order.terms.order_qty - order.cum_qty
    if order.status is Status.DONE and short > 0:
        order.reduced = False
        if order.cancel_asked:
            order.finish(Status.CANCELED, at.now, "canceled once it was done; fills were reversed after that")
            return Outcome(EventOutcome.APPLIED, reason)
        if at.now < order.terms.end:
            order.status, order.text, order.ended_at = Status.ACTIVE, None, None
            return Outcome(EventOutcome.APPLIED, reason)
        order.finish(Status.EXPIRED, at.now)
        text = f"fills of {format_qty(short)} were reversed after the window had ended"
        return Outcome(EventOutcome.APPLIED, reason, ("shortfall", text))
    if alert is None and added > 0:
        alert = ("late_fill", f"a fill of {format_qty(added)} came after the order was {order.status}")
    return Outcome(EventOutcome.APPLIED, reason, alert)


_Apply = Callable[[Order, Any, ApplyContext], Outcome]

#: (status, type of event) -> what it does.
TRANSITIONS: Final[dict[tuple[Status, type], _Apply]] = {
    (Status.ACTIVE, ReplaceOrder): _replace,
    (Status.DONE, ReplaceOrder): _replace_ended,
    (Status.EXPIRED, ReplaceOrder): _replace_ended,
    (Status.CANCELED, ReplaceOrder): _replace_ended,
    (Status.ACTIVE, CancelOrder): _cancel,
    (Status.DONE, CancelOrder): _cancel_done,
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
    """Apply `event` to `order` and return the outcome.

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
