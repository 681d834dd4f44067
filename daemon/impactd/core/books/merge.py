"""One book out of the books of a symbol's venues.

The symbol at each of its venues has a row of its own in the `Store`, with its own clock; the symbol itself, the
*whole*, has another one, whose book is merged from theirs whenever one of them changes:

- levels of one price are one level of the merged book, and a venue with one side only gives that side;
- each venue's book is in it until it is older than that venue allows, and not from before a halt;
- the merged book changes at the latest time that any venue has shown, so a venue whose clock lags delays nothing;
- venues may be locked or crossed against each other, which is no fault of either.  A crossed part is priced at the mid
  of the best prices: the mid and the depth stay as they are, and no size is taken to pay less than nothing.

A book that becomes too old leaves at that very time, although no row states it: `settle_whole` accounts for the whole
piece by piece, and `MinuteAggregator.prevailing` merges at the time that is asked for.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel, uncounted_kernel
from impactd.core.books.settling import settle
from impactd.core.books.store import FOREVER, NEVER
from impactd.core.books.walk import ASKS, BIDS
from impactd.core.inputs.ticks import Float, Int

#: `Family.whole` of a symbol without venues, and of a whole.
ALONE: Final = -1
WHOLE: Final = -2


class Family(NamedTuple):
    """How the rows of a `Store` belong together; follows from their names and the settings."""

    #: Shape (S,). Row of the whole that a venue's row belongs to; `ALONE` or `WHOLE`.
    whole: Int
    #: Shape (S,). First venue of a whole, and the venue after a venue, by name; -1 for none.
    first: Int
    after: Int
    #: Shape (S,). How long a book prevails at most, ns.
    stand_ns: Int


@uncounted_kernel
def _merged_side(
    symbol: npt.NDArray[np.void], levels: Float, family: Family, s: int, at: int, out: Float, o: int, side: int
) -> int:
    """Merge one side of the venues' books that prevail after `at` into ``out[o]``; return its number of levels."""
    sign = -1.0 if side == BIDS else 1.0
    n = 0
    c = family.first[s]
    while c >= 0:
        row = symbol[c]
        count = row.n_bid if side == BIDS else row.n_ask
        if row.book_ns + family.stand_ns[c] <= at or row.book_ns < row.halt_ns <= at:
            count = 0
        k = 0
        for j in range(count):
            px, sz = levels[c, side, j], levels[c, side + 1, j]
            while k < n and sign * (out[o, side, k] - px) < 0.0:
                k += 1
            if k < n and out[o, side, k] == px:
                out[o, side + 1, k] += sz
                continue
            for m in range(n, k, -1):
                out[o, side, m] = out[o, side, m - 1]
                out[o, side + 1, m] = out[o, side + 1, m - 1]
            out[o, side, k] = px
            out[o, side + 1, k] = sz
            n += 1
        c = family.after[c]
    return n


@uncounted_kernel
def _priced_at(out: Float, o: int, side: int, n: int, mid: float) -> int:
    """Price the levels of a side that cross `mid`, and one at it, at `mid`; return the number of levels."""
    sign = -1.0 if side == BIDS else 1.0
    crossing = 0
    total = 0.0
    while crossing < n and sign * (out[o, side, crossing] - mid) <= 0.0:
        total += out[o, side + 1, crossing]
        crossing += 1
    out[o, side, 0] = mid
    out[o, side + 1, 0] = total
    for m in range(crossing, n):
        out[o, side, m - crossing + 1] = out[o, side, m]
        out[o, side + 1, m - crossing + 1] = out[o, side + 1, m]
    return n - crossing + 1


@uncounted_kernel
def merge_books(
    symbol: npt.NDArray[np.void], levels: Float, family: Family, s: int, at: int, out: Float, o: int
) -> tuple[int, int]:
    """Merge the books of a whole's venues that prevail after `at` (ns) into ``out[o]``; return the levels of each side.

    Parameters
    ----------
    levels : ndarray of float64, shape (S, 4, L)
        The venues' books; wide enough for all levels of all of them.
    s : int
        Row of the whole.
    out : ndarray of float64, shape (n, 4, L)
        May be `levels`.
    """
    bids = _merged_side(symbol, levels, family, s, at, out, o, BIDS)
    asks = _merged_side(symbol, levels, family, s, at, out, o, ASKS)
    if bids > 0 and asks > 0 and out[o, BIDS, 0] > out[o, ASKS, 0]:
        mid = 0.5 * (out[o, BIDS, 0] + out[o, ASKS, 0])
        bids = _priced_at(out, o, BIDS, bids, mid)
        asks = _priced_at(out, o, ASKS, asks, mid)
    return bids, asks


@inner_kernel
def remerge(symbol: npt.NDArray[np.void], levels: Float, family: Family, s: int, at: int) -> None:
    """Rebuild the book of whole `s` from what prevails after `at`, ns."""
    row = symbol[s]
    if row.n_sizes > 0:
        row.n_bid, row.n_ask = merge_books(symbol, levels, family, s, at, levels, s)
    row.book_ns = at


@uncounted_kernel
def _next_end(symbol: npt.NDArray[np.void], family: Family, s: int) -> int:
    """Return when the next venue's book in the merged one becomes too old, ns; `FOREVER` if none does."""
    since = symbol[s].book_ns
    end = FOREVER
    c = family.first[s]
    while c >= 0:
        row = symbol[c]
        if row.book_ns != NEVER and row.n_bid + row.n_ask > 0:
            until = row.book_ns + family.stand_ns[c]
            if since < until < end:
                end = until
        c = family.after[c]
    return end


@uncounted_kernel
def settle_whole(
    symbol: npt.NDArray[np.void],
    levels: Float,
    sizes: Float,
    slippage_ns: Float,
    held_ns: Int,
    bound_ns: Float,
    family: Family,
    s: int,
    until: int,
    scratch: Float,
) -> None:
    """Account for the merged book of whole `s` up to `until`, ns, without each venue's from when it is too old."""
    stand_ns = family.stand_ns[s]
    while True:
        end = _next_end(symbol, family, s)
        if end >= until:
            break
        settle(
            symbol, levels, sizes, slippage_ns, held_ns, bound_ns, s, max(end, symbol[s].settled_ns), stand_ns, scratch
        )
        remerge(symbol, levels, family, s, end)
    settle(symbol, levels, sizes, slippage_ns, held_ns, bound_ns, s, until, stand_ns, scratch)
