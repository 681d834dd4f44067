"""Alerts about orders, and dead letters of events that could not be applied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from impactd.core.base.quantity import QUANTA, format_qty
from impactd.core.base.settings import SECOND_NS, PlanSettings
from impactd.core.base.topics import Topic
from impactd.core.inputs.events import REFUSED, Received
from impactd.core.orders.costs import COST_QUANTA
from impactd.core.orders.early import topic_of
from impactd.core.orders.order import Order
from impactd.core.outputs.counts import EventOutcome
from impactd.core.outputs.messages import Alert, DeadLetter
from impactd.core.outputs.outbox import Outbox

#: Outcomes of an execution that cannot be counted, with the detail of its dead letter.
UNCOUNTED: Final = {
    EventOutcome.TOO_LARGE: "last_qty: {filled} filled before it, and the sum is larger than any order",
    EventOutcome.CONFLICT: "exec_id: reported before with other content, which counts; send a correct that names it in "
    "exec_ref_id, or another exec_id",
    EventOutcome.EXECUTIONS_FULL: "exec_id: the order has reached plans.max_executions; this fill is not counted, so "
    "an active order is halted: raise the limit, redrive, then resume it",
}


class OrderAlerts:
    """Publishes each condition of an order once, when it begins to hold."""

    def __init__(self, settings: PlanSettings, outbox: Outbox) -> None:
        self._settings = settings
        self._outbox = outbox

    def alert(self, kind: str, symbol: str | None, cl_ord_id: str | None, now: int, text: str) -> None:
        """Publish an alert at event time `now`, ns."""
        self._outbox.publish(Topic.ALERTS, symbol, Alert(kind, symbol, cl_ord_id, now, text))

    def warn(self, order: Order, now: int, kind: str, text: str | None) -> None:
        """Alert once when a condition begins to hold; `text` is None while it does not."""
        if text is None:
            order.alerted.discard(kind)
        elif kind not in order.alerted:
            order.alerted.add(kind)
            self.alert(kind, order.symbol, order.cl_ord_id, now, text)

    def opposite(self, order: Order, orders: Iterable[Order], now: int) -> None:
        """Alert that one of `orders` works the other side of the same symbol."""
        for other in orders:
            if other.active and other.side != order.side:
                text = f"{other.cl_ord_id} works the other side of {order.symbol}; the two are not netted"
                self.warn(order, now, "opposite_side", text)

    def missing(self, order: Order, silence: int | None, now: int) -> None:
        """Alert that the symbol of an order has had no tick, or none lately while the order works.

        Parameters
        ----------
        silence : int or None
            Time without a tick while the market was open, ns; None if there was never one.
        """
        text = None
        if silence is None:
            text = f"no tick for {order.symbol} yet: the order is planned without price or volume"
        elif order.terms.start <= now and silence > self._settings.missing_ticks_ns:
            text = f"no tick for {silence // SECOND_NS} s"
        self.warn(order, now, "missing_ticks", text)

    def progress(self, order: Order, volume: float, minutes: float, mid: float | None, now: int) -> None:
        """Alert if an order is off its participation band, the price has drifted, or its fills are off their cost band.

        Parameters
        ----------
        volume : float
            Continuous volume of the minute, shares.
        minutes : float
            Since the order began to work.
        mid : float or None
            Price.
        """
        self.warn(order, now, "off_band", _off_band(order, max(volume, order.market_volume / max(minutes, 1.0))))
        drift = None
        if self._settings.alert_drift_bps is not None and mid is not None and order.arrival_px:
            drift = (mid - order.arrival_px) / abs(order.arrival_px) * 1e4
        beyond = drift is not None and abs(drift) > (self._settings.alert_drift_bps or 0.0)
        text = f"the mid is {drift:.1f} bps from the arrival price" if beyond else None
        self.warn(order, now, "price_drift", text)
        self.warn(order, now, "cost_off_band", _off_cost(order))

    def uncounted(self, received: Received[Any], order: Order, outcome: EventOutcome, now: int) -> None:
        """Send an execution that cannot be counted to the dead letters, for an outcome of `UNCOUNTED`."""
        self.dead(received, outcome.value, UNCOUNTED[outcome].format(filled=format_qty(order.cum_qty)), now)

    def orphan(self, received: Received[Any], now: int) -> None:
        """Send a held event to the dead letters: its order or execution never arrived."""
        waited = self._settings.hold_ns // SECOND_NS
        detail = f"cl_ord_id: no such order or execution within {waited} s; redrive it once it exists"
        self.dead(received, "orphan", detail, now)

    def dead(self, received: Received[Any], reason: str, detail: str, now: int, topic: Topic | None = None) -> None:
        """Send an event to the dead letters with its original bytes, and alert; `topic`: where it is not its own."""
        topic, event = topic or topic_of(received), received.event
        letter = DeadLetter(topic, received.offset, reason, detail, received.codec, received.raw, received.key)
        self._outbox.publish(Topic.DLQ, None, letter)
        self.alert(REFUSED[topic], event.symbol, getattr(event, "cl_ord_id", None), now, f"{reason}: {detail}")


def _off_band(order: Order, volume: float) -> str | None:
    """Return how far an order is behind its minimum rate or ahead of its maximum, or None.

    One lot and the allowance of one minute (this one, or an average one if larger) are tolerated: a minute's volume is
    unknown while it trades, and a later plan makes up for a minute below its forecast.

    Parameters
    ----------
    volume : float
        Of this minute or of an average one, whichever is larger, shares.
    """
    terms, done = order.terms, order.cum_qty - order.auction_qty
    before, now = max(order.market_volume - volume, 0.0), order.market_volume
    if terms.least_rate is not None and order.leaves_qty:
        due = int(terms.least_rate * before * QUANTA) - terms.lot_size
        if done < due:
            whole = format_qty(-(-due // terms.lot_size) * terms.lot_size)
            return f"behind: {format_qty(done)} traded, {whole} due at the minimum rate {terms.least_rate:g}"
    if terms.most_rate is not None and not terms.must_complete:
        most = int(terms.most_rate * (now + volume) * QUANTA) + terms.lot_size
        if done > most:
            whole = format_qty(most // terms.lot_size * terms.lot_size)
            return f"ahead: {format_qty(done)} traded, {whole} allowed at the maximum rate {terms.most_rate:g}"
    return None


def _off_cost(order: Order) -> str | None:
    """Return how the fills of a half-filled order differ in cost from its first plan's band, or None."""
    costs, band = order.costs, order.cost_band
    if band is None or costs.unmarked or not costs.qty or 2 * costs.qty < order.order_qty:
        return None
    paid = (costs.spread + costs.impact) / costs.qty / (COST_QUANTA / QUANTA)
    if band[0] <= paid <= band[1]:
        return None
    where = "above" if paid > band[1] else "below"
    return f"fills cost {paid:.6g} per share over mid, {where} the first plan's band {band[0]:.6g} to {band[1]:.6g}"
