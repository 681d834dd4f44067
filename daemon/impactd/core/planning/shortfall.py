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
def _held(lots: int, inside: Bools, caps: Int, high: Int, without: int, alone: int) -> int:
    """Return how many of `lots` the limits hold: all but number `without`, or only number `alone` where that is no -1.

    The first limits are `caps`, shape (K, N), the last one is `high`, the bounds of the running sum, shape (N,); lots.
    """
    done, last = np.int64(0), caps.shape[0]
    for t in range(inside.shape[0]):
        if inside[t]:
            room = np.int64(lots - done)
            for k in range(last):
                if k != without and alone in (-1, k):
                    room = min(room, caps[k, t])
            if last != without and alone in (-1, last):
                room = min(room, high[t] - done)
            done += max(room, np.int64(0))
    return int(done)


@kernel
def _named(lots: int, lot: int, inside: Bools, caps: Int, high: Int) -> tuple[int, Bools]:
    """Return the lots that all limits (quanta) hold, and which limits are to be named, shape (K + 1,)."""
    caps, high = caps // lot, high // lot
    n = caps.shape[0] + 1
    whole = _held(lots, inside, caps, high, -1, -1)
    found = np.zeros(n, np.bool_)
    for k in range(n):
        found[k] = _held(lots, inside, caps, high, k, -1) > whole
    if not found.any() and whole < lots:
        for k in range(n):
            found[k] = _held(lots, inside, caps, high, -1, k) < lots
    return whole, found


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
    rate = "participation_rate" if terms.participation_rate is not None else "target_participation_rate"
    caps = {SESSION: np.where(open_, NO_CAP, 0)}
    for name, windows in (("blackouts", terms.blackouts), ("last_trade", terms.closed()[len(terms.blackouts) :])):
        if windows:
            caps[name] = np.full(n, NO_CAP)
        for start, end in windows:
            caps[name][(begins < end) & (ends > start)] = 0
    if terms.max_interval_qty is not None:
        caps["max_interval_qty"] = most = np.full(n, terms.max_interval_qty)
        if inside.any():
            most[np.argmax(inside)] -= min(order.filled_in.get(int(grid.start[0]), 0), terms.max_interval_qty)
    if price_caps is not None:
        caps["limit_px" if terms.limit_px is not None else "limit_offset_bps"] = price_caps
    high = np.full(n, NO_CAP) if terms.most_rate is None else bounds.high[0]
    whole, named = _named(lots, lot, inside, np.array(list(caps.values())), high)
    found = [name for name, is_named in zip((*caps, rate), named.tolist(), strict=True) if is_named]
    if whole > lots - shortfall // lot and terms.min_clip_qty is not None:
        found.append("min_clip_qty")
    return tuple(found) or (WINDOW if lot == terms.lot_size else "lot_size",)
