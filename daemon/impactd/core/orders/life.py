"""What events do to a parent order: new, replace, cancel, fill, correct, bust, done.

The life of an order is a table, `TRANSITIONS`: from its status and the type
of the event to the function that applies it.  An event that is not in the table
is counted as ignored and changes nothing.

Rules that hold after every event:

- while an order is active, ``order_qty = cum_qty + leaves_qty`` exactly;
- an execution counts once, however often it is delivered; another one under its
  exec_id is refused.  The quantity of a
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
  A later replace to no more than is filled changes it, also once the order has
  ended as filled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from impactd.core.base.instrument import Instrument
from impactd.core.base.limits import LAST_NS, MAX_RISK_AVERSION
from impactd.core.base.quantity import MAX_QUANTA, format_qty
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
from impactd.core.orders.order import MAX_IDS, MAX_REPLACES, ApplyContext, Execution, Order, Status, in_lots
from impactd.core.outputs.counts import EventOutcome


class Change(NamedTuple):
    """A fill that an event has added or amended, what it was before, and the assumed quanta that it has replaced."""

    exec_id: str
    before: Execution | None
    replaced: int


class Outcome(NamedTuple):
    """The result of applying an event to an order."""

    kind: EventOutcome
    #: Reason of the plan that is due now; None if none is.
    replan: str | None = None
    #: Kind and text of an alert.
    alert: tuple[str, str] | None = None
    change: Change | None = None


def same_order(known: NewOrder, again: NewOrder) -> bool:
    """Return whether a second `new` has the content of the first; ts_event may differ."""
    return dataclasses.replace(again, ts_event=known.ts_event) == known


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
        return (
            f"venues: {unknown[0]} is not a known venue of this symbol ({known}); send others, or name it in [[venues]]"
        )
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
    changes = dict(event.changes)
    terms = in_lots(order.terms.changed(changes), order.instrument)
    reduces = terms.order_qty <= order.cum_qty
    if not order.active and not (reduces and "order_qty" in changes):
        return _ended(order)
    # Other terms than a quantity that is filled already come into force where a bust reopens the order.
    if not reduces or changes.keys() != {"order_qty"}:
        why = refusal(terms, order.side, at, order.instrument)
        if why is not None:
            return _rejected(why)
    if {"alpha_bps", "alpha_half_life_s"} & changes.keys():
        order.view_from = event.ts_event
    order.terms = terms
    order.impact_scale = []  # of the quantity and window before
    if reduces:
        order.reduced = True
        if order.active:
            order.finish(Status.DONE, at.now, "replaced to at most the filled quantity")
    return Outcome(EventOutcome.APPLIED, "replace")


def _replace_ended(order: Order, event: ReplaceOrder, _at: ApplyContext) -> Outcome:
    return Outcome(EventOutcome.DUPLICATE) if _repeats(order, event) else _ended(order)


def _ended(order: Order) -> Outcome:
    return _rejected(f"the order is {order.status}; send a new order")


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


def _content(event: ExecutionEvent) -> int:
    """Return a digest of what an execution reports, without its time and the order's id: a resend may have others."""
    said: tuple[Any, ...] = (getattr(event, "exec_ref_id", None), type(event).__name__)
    if not isinstance(event, Bust):
        said += (event.last_qty, event.last_px)
    if isinstance(event, Fill):
        said += (event.last_liquidity_ind, event.venue)
    return zlib.crc32(repr(said).encode())


def _again(order: Order, event: ExecutionEvent) -> Outcome | None:
    """Return what a second report under an exec_id comes to; None for a first one."""
    known = order.executions.get(event.exec_id)
    if known is None:
        return None
    return Outcome(EventOutcome.DUPLICATE if known.content == _content(event) else EventOutcome.CONFLICT)


def _fill(order: Order, event: Fill, at: ApplyContext) -> Outcome:
    if (again := _again(order, event)) is not None:
        return again
    if len(order.executions) >= at.max_executions:
        return Outcome(EventOutcome.EXECUTIONS_FULL)
    if order.cum_qty + event.last_qty > MAX_QUANTA:
        return Outcome(EventOutcome.TOO_LARGE)
    auction = event.last_liquidity_ind == "auction"
    order.executions[event.exec_id] = Execution(
        len(order.executions), event.last_qty, event.last_px, event.ts_event, auction=auction, content=_content(event)
    )
    return _trade(order, event.ts_event, event.exec_id, None, event.last_qty, "fill", at, auction=auction)


def _amend_fill(order: Order, event: Correct | Bust, at: ApplyContext) -> Outcome:
    if (again := _again(order, event)) is not None:
        return again
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
    order.executions[event.exec_id] = Execution(
        len(order.executions), 0, px, event.ts_event, fill_id, content=_content(event)
    )
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
    (Status.DONE, ReplaceOrder): _replace,
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
    """
    apply = TRANSITIONS.get((order.status, type(event)))
    return Outcome(EventOutcome.IGNORED) if apply is None else apply(order, event, at)
