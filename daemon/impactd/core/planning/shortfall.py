"""Which limits leave a part of an order unplanned, by the names of the order's fields.

A limit is named where more could be planned without it, the others being as they are.  Where several
overlap so that no one alone is the cause, each is named that by itself cannot hold the whole.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.bounds import NO_CAP, Int
from impactd.core.base.jit import kernel
from impactd.core.orders.order import Order
from impactd.core.planning.caps import Limits
from impactd.core.planning.intervals import Intervals

Bools = npt.NDArray[np.bool_]

#: No interval of the window lies wholly in an open session.
SESSION: Final = "session"
#: The window has no interval left.
WINDOW: Final = "window"


@kernel
def _held(lots: int, lot: int, cap: Int, high: Int) -> int:
    """Return how many of `lots` caps and bounds of the running sum (quanta, shape (N,)) hold."""
    done = np.int64(0)
    for t in range(cap.shape[0]):
        done = min(done + min(cap[t] // lot, lots - done), max(done, high[t] // lot))
    return int(done)


def binding(
    order: Order,
    leaves: int,
    shortfall: int,
    grid: Intervals,
    begin: int,
    open_: Bools,
    bounds: Limits,
    price_caps: Int | None,
) -> tuple[str, ...]:
    """Return the names of the limits that leave `shortfall` of `leaves` unplanned, quanta.

    Parameters
    ----------
    grid : Intervals
        Whole intervals, in which the limits lie.
    begin : int
        Where the order's remaining window begins, ns.
    open_ : ndarray of bool, shape (N,)
        Whether the market is open.
    bounds : Limits
        Of this order alone.
    price_caps : ndarray of int64, shape (N,), or None
        What the limit price leaves of each interval, quanta.
    """
    terms, n = order.terms, grid.start.size
    # Less than a lot is left where the last trade, which need not be whole lots, does not fit.
    lot = terms.lot_size if shortfall >= terms.lot_size else 1
    lots = leaves // lot
    begins, ends = np.maximum(grid.start, begin), np.minimum(grid.end, terms.end)
    inside = ends > begins
    caps = {SESSION: np.where(open_, NO_CAP, 0)}
    for name, windows in (("blackouts", terms.blackouts), ("last_trade", terms.closed()[len(terms.blackouts) :])):
        barred = np.zeros(n, np.bool_)
        for start, end in windows:
            barred |= (begins < end) & (ends > start)
        caps[name] = np.where(barred, 0, NO_CAP)
    if terms.max_interval_qty is not None:
        most = np.full(n, terms.max_interval_qty)
        if inside.any():
            most[np.argmax(inside)] -= min(order.filled_in.get(int(grid.start[0]), 0), terms.max_interval_qty)
        caps["max_interval_qty"] = most
    if price_caps is not None:
        caps["limit_px" if terms.limit_px is not None else "limit_offset_bps"] = price_caps
    highs: dict[str, Int] = {}
    if terms.most_rate is not None:
        highs["participation_rate" if terms.participation_rate is not None else "target_participation_rate"] = (
            bounds.high[0]
        )

    def held(*names: str) -> int:
        """Return the lots that the window and these limits hold."""
        cap = np.where(inside, NO_CAP, 0)
        high = np.full(n, NO_CAP)
        for name in names:
            cap = np.minimum(cap, caps.get(name, NO_CAP))
            high = np.minimum(high, highs.get(name, NO_CAP))
        return int(_held(lots, lot, cap, high))

    names = (*caps, *highs)
    whole = held(*names)
    found = [name for name in names if held(*(one for one in names if one != name)) > whole]
    if not found and whole < lots:
        found = [name for name in names if held(name) < lots]
    if whole > lots - shortfall // lot and terms.min_clip_qty is not None:
        found.append("min_clip_qty")
    return tuple(found) or (WINDOW if lot == terms.lot_size else "lot_size",)
