"""Compiled kernel: the prevailing book of one symbol into the accumulators of its minute."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel
from impactd.core.books.walk import ASKS, BIDS, BUY, walk_side
from impactd.core.inputs.ticks import Float, Int


@inner_kernel
def settle(
    symbol: npt.NDArray[np.void],
    levels: Float,
    sizes: Float,
    slippage_ns: Float,
    held_ns: Int,
    bound_ns: Float,
    s: int,
    until: int,
    stand_ns: int,
    scratch: Float,
) -> None:
    """Account for the prevailing book of symbol `s` up to `until`.

    Parameters
    ----------
    symbol, levels, sizes, slippage_ns, held_ns, bound_ns
        The arrays of the `Store`.
    until : int
        ns, not before what is settled already.
    stand_ns : int
        The book prevails no longer than this after its ts_event, nor into a halt.
    scratch : ndarray of float64, shape (K,)
    """
    row = symbol[s]
    end = min(until, row.book_ns + stand_ns)
    if row.book_ns < row.halt_ns:
        end = min(end, row.halt_ns)
    begin = row.settled_ns
    row.settled_ns = until
    if row.n_bid == 0 or row.n_ask == 0 or end <= begin:
        return
    stood = end - begin
    weight = np.float64(stood)
    bid = levels[s, BIDS, 0]
    ask = levels[s, ASKS, 0]
    half_spread = 0.5 * (ask - bid)
    row.covered_ns += stood
    row.mid_ns += 0.5 * (bid + ask) * weight
    row.half_spread_ns += half_spread * weight
    n_sizes = row.n_sizes
    for side in range(2):
        if side == BUY:
            held, depth = walk_side(levels, s, ASKS, row.n_ask, half_spread, sizes, n_sizes, scratch)
            row.ask_depth_ns += depth * weight
        else:
            held, depth = walk_side(levels, s, BIDS, row.n_bid, half_spread, sizes, n_sizes, scratch)
            row.bid_depth_ns += depth * weight
        for k in range(held):
            slippage_ns[s, side, k] += scratch[k] * weight
            held_ns[s, side, k] += stood
        for k in range(n_sizes):
            bound_ns[s, side, k] += scratch[k] * weight
