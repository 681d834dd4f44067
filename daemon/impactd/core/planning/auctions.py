"""An order's part in auctions.

An order that takes part in the open or the close enters `auction_rate` of the auction's expected volume
(`impactd.core.model.auction`), in whole lots and never more than is left of it.  Auctions have no spread and an impact
of their own, so they are filled before continuous trading is planned; what is left of the order is planned as ever.

- Until its cutoff, an entry is found again with each plan.
- From the cutoff on it is out: it can be neither changed nor withdrawn, and the order does not trade its quantity
  elsewhere.
- Fills that say ``auction`` count towards it.  What it has not filled `PlanSettings.auction_report_ns` after the
  auction returns to the plan; at the end of the window it is the order's shortfall.
"""

from __future__ import annotations

from collections.abc import Sequence

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import PlanSettings
from impactd.core.market.symbol import SideView
from impactd.core.orders.auction import Entry, entered
from impactd.core.orders.order import Order


def auction_entries(order: Order, now: int, market: SideView, settings: PlanSettings) -> tuple[Entry, ...]:
    """Return an order's entries at event time `now`, ns, in order of time."""
    terms, rate = order.terms, order.terms.auction_rate
    found = list(pending(order.auctions, now, settings))
    left = order.leaves_qty - entered(found)
    if terms.auctions is None or rate is None:
        return tuple(found)
    cutoffs = {"open": settings.auction_open_cutoff_ns, "close": settings.auction_close_cutoff_ns}
    for kind, at, volume in market.auctions(max(now, terms.start), terms.end):
        cutoff = at - cutoffs[kind]
        shut = any(begin <= at < end for begin, end in terms.closed()) or at > terms.trades_until
        if terms.auctions not in {kind, "both"} or cutoff <= now or shut:
            continue
        share = 0 if volume is None else min(int(rate * volume * QUANTA), left)
        qty = left if share >= left else share // terms.lot_size * terms.lot_size
        if terms.min_clip_qty is not None and qty < min(terms.min_clip_qty, left):
            qty = 0
        left -= qty
        found.append(Entry(kind, at, cutoff, qty, 0, volume, rate))
    return tuple(found)


def pending(entries: Sequence[Entry], now: int, settings: PlanSettings) -> tuple[Entry, ...]:
    """Return the entries that are out at `now`, ns, and not yet filled or given up."""
    return tuple(e for e in entries if e.cutoff <= now < e.at + settings.auction_report_ns and e.left > 0)
